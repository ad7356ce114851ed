//! Compare: what one set of traces has in common that another lacks.
//!
//! From each trace the traits of all its spans are taken: attributes, resource attributes, operations, status messages, and the
//! patterns of its log records. As in [`crate::contrast`] a trait counts once per trace. Every trait that is more frequent in the
//! selection is ranked by how sure that is, then by how much more frequent it is.
//!
//! How sure: one-sided, by Fisher's exact test, the chance that so many of the selection would show the trait if both sets were
//! drawn from one; times the number of traits that were looked at, for the more are looked at the more differ by chance
//! (Bonferroni). The confidence is one minus that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contrast::{Trait, TraitKind, Traits, body_text, pattern, text_of};
use crate::trace_view::TraceView;

/// Differences in one answer.
pub const DIFFERENCES_MAX: usize = 50;
/// What is less sure than this is not told from chance.
pub const CONFIDENCE_MIN: f64 = 0.95;
/// Traits of one trace: those beyond are not looked at.
pub const TRAITS_PER_TRACE: usize = 20_000;
/// Longer values are texts, not dimensions.
const VALUE_BYTES_MAX: usize = 200;

/// The traits of a set of traces, one entry for each.
#[derive(Clone, Debug, Default)]
pub struct Side {
    traits: Vec<Traits>,
    /// How many traces had more traits than are looked at.
    pub cut: usize,
}

/// A trait that is more frequent in the selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The trait.
    #[serde(flatten)]
    pub what: Trait,
    /// How many traces of the selection show it.
    pub selection: usize,
    /// Of how many.
    pub selection_total: usize,
    /// How many traces of the baseline show it.
    pub baseline: usize,
    /// Of how many.
    pub baseline_total: usize,
    /// How sure it is that this is no chance, 0 to 1.
    pub confidence: f64,
}

impl Ranked {
    /// Share of the selection minus share of the baseline.
    pub fn gap(&self) -> f64 {
        let share = |count: usize, total: usize| count as f64 / total.max(1) as f64;
        share(self.selection, self.selection_total) - share(self.baseline, self.baseline_total)
    }
}

impl Side {
    /// How many traces.
    pub fn len(&self) -> usize {
        self.traits.len()
    }

    /// Whether there is no trace.
    pub fn is_empty(&self) -> bool {
        self.traits.is_empty()
    }

    /// Takes a trace.
    pub fn add(&mut self, view: &TraceView) {
        let mut traits = Traits::new();
        let of_trace = view.logs.iter().map(|log| (log.service.as_str(), log));
        let of_spans = view.spans.iter().flat_map(|at| at.logs.iter().map(|log| (log.service.as_str(), log)));
        for (service, log) in of_trace.chain(of_spans) {
            let text = body_text(log);
            let key = log.pattern_id.map_or_else(String::new, |id| id.to_string());
            put(&mut traits, TraitKind::Log, service, key, pattern(&text));
        }
        for at in &view.spans {
            let span = &at.span;
            put(&mut traits, TraitKind::Operation, &span.service, String::new(), span.name.clone());
            if let Some(error) = at.effective_error.as_ref().filter(|error| !error.message.is_empty()) {
                put(&mut traits, TraitKind::Status, &span.service, String::new(), pattern(&error.message));
            }
            for (kind, map) in
                [(TraitKind::Attribute, &span.attributes), (TraitKind::Resource, &span.resource)]
            {
                for (key, value) in map {
                    put(&mut traits, kind, &span.service, key.clone(), text_of(value));
                }
            }
            if traits.len() >= TRAITS_PER_TRACE {
                self.cut += 1;
                break;
            }
        }
        self.traits.push(traits);
    }
}

fn put(traits: &mut Traits, kind: TraitKind, service: &str, key: String, value: String) {
    if value.len() <= VALUE_BYTES_MAX && traits.len() < TRAITS_PER_TRACE {
        traits.insert(Trait { kind, service: service.to_owned(), key, value });
    }
}

/// What the selection shows more often than the baseline, the surest first.
pub fn compare(selection: &Side, baseline: &Side) -> Vec<Ranked> {
    let mut counts: BTreeMap<&Trait, (usize, usize)> = BTreeMap::new();
    for one in selection.traits.iter().flatten() {
        counts.entry(one).or_default().0 += 1;
    }
    // What only the baseline shows is not asked for; what one trace alone shows is nothing in common.
    counts.retain(|_, (count, _)| *count >= 2);
    for one in baseline.traits.iter().flatten() {
        if let Some((_, count)) = counts.get_mut(one) {
            *count += 1;
        }
    }
    let (selection_total, baseline_total) = (selection.len(), baseline.len());
    let factorials = LogFactorials::new(selection_total + baseline_total);
    let tests = counts.len().max(1) as f64;
    let rank = |(what, (selection, baseline)): (&Trait, (usize, usize))| {
        let chance = factorials.chance(selection, selection_total, baseline, baseline_total);
        Ranked {
            what: what.clone(),
            selection,
            selection_total,
            baseline,
            baseline_total,
            confidence: (1.0 - chance * tests).max(0.0),
        }
    };
    let mut found: Vec<Ranked> = counts
        .into_iter()
        .map(rank)
        .filter(|ranked| ranked.gap() > 0.0 && ranked.confidence >= CONFIDENCE_MIN)
        .collect();
    found.sort_by(|a, b| {
        // Where both are as good as sure the wider gap tells more.
        let rounded = |ranked: &Ranked| (ranked.confidence * 1e4).round();
        rounded(b).total_cmp(&rounded(a)).then(b.gap().total_cmp(&a.gap())).then_with(|| a.what.cmp(&b.what))
    });
    found.truncate(DIFFERENCES_MAX);
    found
}

/// Logarithms of factorials up to a number.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn new(up_to: usize) -> LogFactorials {
        let mut sums = vec![0.0; up_to + 1];
        for n in 1..=up_to {
            sums[n] = sums[n - 1] + (n as f64).ln();
        }
        LogFactorials(sums)
    }

    fn choose(&self, n: usize, k: usize) -> f64 {
        let at = |n: usize| self.0.get(n).copied().unwrap_or(f64::NAN);
        at(n) - at(k) - at(n - k)
    }

    /// The chance that at least `a` of `n` are among the `a + b` of `n + m` that show something, if they were drawn at random.
    fn chance(&self, a: usize, n: usize, b: usize, m: usize) -> f64 {
        let (shown, all) = (a + b, n + m);
        let whole = self.choose(all, n);
        let most = shown.min(n);
        let each = (a..=most).filter(|k| n - k <= all - shown);
        let sum: f64 =
            each.map(|k| (self.choose(shown, k) + self.choose(all - shown, n - k) - whole).exp()).sum();
        sum.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use throughline_store::TraceData;

    use super::*;
    use crate::sample::{log, object, span, trace_id};

    /// A trace of two spans with a partition and a log line.
    fn view(partition: &str, operation: &str, line: &str) -> TraceView {
        let mut query = span(2, 1, "db", operation, 1, 5);
        query.attributes = object(serde_json::json!({"db.partition": partition, "db.system": "kv"}));
        let spans = vec![span(1, 0, "web", "GET /", 0, 10), query];
        let logs = vec![log(Some(2), "db", 2, 9, line)];
        TraceView::new(trace_id(1), TraceData { spans, logs, ..TraceData::default() })
    }

    fn side(views: &[TraceView]) -> Side {
        let mut side = Side::default();
        views.iter().for_each(|view| side.add(view));
        side
    }

    #[test]
    fn what_the_selection_shares_is_found_and_what_both_share_is_not() {
        let slow: Vec<TraceView> = (0..40)
            .map(|n| view(if n < 36 { "p7" } else { "p1" }, "scan", &format!("retry {n} of 40")))
            .collect();
        let quiet: Vec<TraceView> =
            (0..60).map(|n| view(if n < 6 { "p7" } else { "p2" }, "get", "served")).collect();
        let found = compare(&side(&slow), &side(&quiet));
        let shown: Vec<(TraitKind, &str, usize, usize)> =
            found.iter().map(|r| (r.what.kind, r.what.value.as_str(), r.selection, r.baseline)).collect();
        let expected = [
            (TraitKind::Log, "retry # of #", 40, 0),
            (TraitKind::Operation, "scan", 40, 0),
            (TraitKind::Attribute, "p7", 36, 6),
        ];
        assert_eq!(shown, expected);
        assert!(found.iter().all(|ranked| ranked.confidence > 0.999), "{found:?}");
    }

    #[test]
    fn chance_is_not_told_as_a_difference() {
        let some: Vec<TraceView> = (0..6).map(|n| view(&format!("p{}", n % 3), "get", "served")).collect();
        let others: Vec<TraceView> = (0..6).map(|n| view(&format!("p{}", n % 2), "get", "served")).collect();
        assert_eq!(compare(&side(&some), &side(&others)), []);
        assert_eq!(compare(&side(&[]), &side(&others)), []);
        assert_eq!(compare(&side(&some), &side(&[])), []);
    }

    #[test]
    fn the_exact_test_is_exact() {
        let factorials = LogFactorials::new(8);
        // Fisher's tea: all four of four, of eight cups: one in seventy.
        assert!((factorials.chance(4, 4, 0, 4) - 1.0 / 70.0).abs() < 1e-12);
        assert!((factorials.chance(3, 4, 1, 4) - 17.0 / 70.0).abs() < 1e-12);
        assert!((factorials.chance(0, 4, 0, 4) - 1.0).abs() < 1e-12);
    }
}
