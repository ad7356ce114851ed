//! The answer of `compare`: the two sets of traces, and a table of what tells them apart.

use serde_json::Value as Json;
use throughline_correlate::compare::Ranked;
use throughline_correlate::contrast::TraitKind;

use super::Style;
use super::style::clean;
use super::table::Table;

/// How many traces each side has, and what they were asked for by.
pub fn sides(json: &Json, style: Style) -> String {
    let side = |name: &str| {
        let count = json.pointer(&format!("/{name}/traces")).and_then(Json::as_u64).unwrap_or(0);
        let query = json.pointer(&format!("/{name}/query")).and_then(Json::as_str).unwrap_or_default();
        format!("{name:<9} {count:>4} traces  {}\n", style.dim(&clean(query)))
    };
    side("selection") + &side("baseline")
}

/// The differences in their order.
pub fn differences(found: &[Ranked]) -> Table {
    let mut table = Table::new(&[">selection", ">baseline", ">confidence", "kind", "service"]).ending("what");
    for ranked in found {
        let percent =
            |count: usize, total: usize| format!("{:.0} %", 100.0 * count as f64 / total.max(1) as f64);
        let what = match ranked.what.key.as_str() {
            "" => ranked.what.value.clone(),
            key if ranked.what.kind == TraitKind::Log => format!("{} [{key}]", ranked.what.value),
            key => format!("{key} = {}", ranked.what.value),
        };
        table.row([
            percent(ranked.selection, ranked.selection_total),
            percent(ranked.baseline, ranked.baseline_total),
            format!("{:.4}", ranked.confidence),
            format!("{:?}", ranked.what.kind).to_lowercase(),
            ranked.what.service.clone(),
            what,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use throughline_correlate::contrast::Trait;

    use super::*;

    const PLAIN: Style = Style { colour: false, width: 90 };

    fn ranked(kind: TraitKind, key: &str, value: &str, (selection, baseline): (usize, usize)) -> Ranked {
        let (service, key, value) = ("shop".to_owned(), key.to_owned(), value.to_owned());
        let what = Trait { kind, service, key, value };
        Ranked { what, selection, selection_total: 10, baseline, baseline_total: 30, confidence: 0.99987 }
    }

    #[test]
    fn both_sides_say_what_they_are() {
        let json = json!({
            "selection": {"traces": 10, "query": "{ status = error }\u{1b}[31m"}, "baseline": {"traces": 0},
        });
        assert_eq!(
            sides(&json, PLAIN),
            format!(
                "selection   10 traces  {}\nbaseline     0 traces  \n",
                clean("{ status = error }\u{1b}[31m")
            )
        );
        assert!(!sides(&json, PLAIN).contains('\u{1b}'));
    }

    #[test]
    fn what_tells_them_apart_is_a_table() {
        let found = [
            ranked(TraitKind::Attribute, "shard", "s7", (10, 0)),
            ranked(TraitKind::Resource, "host.name", "h7", (9, 1)),
            ranked(TraitKind::Operation, "", "GET /", (10, 15)),
            ranked(TraitKind::Log, "00ab", "no reply from {}", (5, 0)),
        ];
        let expected = "\
selection  baseline  confidence  kind       service  what
    100 %       0 %      0.9999  attribute  shop     shard = s7
     90 %       3 %      0.9999  resource   shop     host.name = h7
    100 %      50 %      0.9999  operation  shop     GET /
     50 %       0 %      0.9999  log        shop     no reply from {} [00ab]
";
        assert_eq!(differences(&found).render(PLAIN), expected);
    }
}
