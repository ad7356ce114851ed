//! Operators between vectors: which series meet, and what is an error.
//!
//! Series are put into match groups once. Within a group each series of the "many" side meets the series of the
//! "one" side; that there is only one of those at a step is checked step by step, because series come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use throughline_exec::{Labels, LabelsMap, METRIC_NAME};

use super::drops_name;
use super::element::{Combined, Complaint, Operation, Side};
use crate::ast::{Cardinality, Matching};
use crate::eval::{Evaluator, QueryError, map_parallel, merge_equal, occupied_steps};
use crate::value::{Column, StepSeries, StepSet, Steps};

/// The labels of a series by which it is matched.
pub(super) fn signature(matching: &Matching, labels: &Labels) -> Labels {
    if matching.on {
        return labels.only(&matching.labels);
    }
    let mut ignored: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
    ignored.push(METRIC_NAME);
    labels.without(&ignored)
}

/// Whether a label is one by which series are matched.
fn is_matched(matching: &Matching, name: &str) -> bool {
    let is_named = matching.labels.iter().any(|known| known == name);
    if matching.on { is_named } else { !is_named && name != METRIC_NAME }
}

/// A series by the labels of its [`signature`], which are not put together for it.
struct Matched<'a> {
    matching: &'a Matching,
    labels: &'a Labels,
    hash: u64,
}

impl<'a> Matched<'a> {
    fn new(matching: &'a Matching, labels: &'a Labels) -> Matched<'a> {
        let hash = labels.hash_of(|name| is_matched(matching, name));
        Matched { matching, labels, hash }
    }
}

impl PartialEq for Matched<'_> {
    fn eq(&self, other: &Self) -> bool {
        let matched = |labels: &'_ Labels, other: &'_ Labels| {
            let kept = |(name, _): &(&str, &str)| is_matched(self.matching, name);
            labels.iter().filter(kept).eq(other.iter().filter(kept))
        };
        self.hash == other.hash && matched(self.labels, other.labels)
    }
}

impl Eq for Matched<'_> {}

impl Hash for Matched<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Series that match each other, as indexes.
#[derive(Default)]
struct MatchGroup {
    /// The labels of one of them.
    labels: Labels,
    many: Vec<usize>,
    one: Vec<usize>,
}

/// Both vectors, told apart by how many of their series may be in a group.
struct Sides<'a> {
    many: &'a [StepSeries],
    one: &'a [StepSeries],
    /// What stands in for a missing series.
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    /// Whether the "many" side is the right one.
    swapped: bool,
}

pub(super) fn combine(
    evaluator: &Evaluator<'_>,
    operation: &Operation<'_>,
    matching: &Matching,
    lhs: &[StepSeries],
    rhs: &[StepSeries],
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let swapped = matching.card == Cardinality::OneToMany;
    let (fill_left, fill_right) = (matching.fill_left, matching.fill_right);
    // Prometheus does not turn the fills around with the sides: `fill_left` always stands in for the "many" side.
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let sides = Sides { many, one, fill_many: fill_left, fill_one: fill_right, swapped };
    // Where one vector is empty nothing is compared, unless something is filled in.
    let mut relevant = StepSet::all(steps.count);
    if fill_left.is_none() && fill_right.is_none() {
        relevant.intersect(&occupied_steps(lhs, steps.count));
        relevant.intersect(&occupied_steps(rhs, steps.count));
    }
    let groups = groups(matching, &sides);
    let weight = steps.count * (lhs.len() + rhs.len()) / groups.len().max(1);
    let combined = map_parallel(groups, evaluator.options.threads, weight, |group| {
        evaluator.budget.check()?;
        check_one_side(matching, &sides, &group, &relevant)?;
        combine_group(operation, matching, &sides, &group, steps)
    });
    // Of what there is to say of a step, Prometheus says the last: of a pair that something was filled in for, if any.
    let (mut found, mut last_words) = (Vec::new(), BTreeMap::new());
    let parts = combined.into_iter().collect::<Result<Vec<_>, QueryError>>()?;
    for (_, complaints, _) in &parts {
        last_words.extend(complaints.iter().copied());
    }
    for (series, _, complaints) in parts {
        last_words.extend(complaints);
        found.extend(series);
    }
    last_words.into_values().collect::<BTreeSet<_>>().into_iter().for_each(|last| operation.complain(last));
    merge_equal(found)
}

fn groups(matching: &Matching, sides: &Sides<'_>) -> Vec<MatchGroup> {
    let mut known: LabelsMap<Matched<'_>, usize> = LabelsMap::default();
    let mut groups: Vec<MatchGroup> = Vec::new();
    let series = sides.many.iter().map(|series| (series, true));
    let series = series.chain(sides.one.iter().map(|series| (series, false)));
    let (mut many, mut one) = (0.., 0..);
    for (StepSeries { labels, .. }, is_many) in series {
        let new = groups.len();
        let index = *known.entry(Matched::new(matching, labels)).or_insert(new);
        if index == new {
            groups.push(MatchGroup { labels: labels.clone(), ..MatchGroup::default() });
        }
        let group = &mut groups[index];
        if is_many { group.many.extend(many.next()) } else { group.one.extend(one.next()) }
    }
    groups
}

/// Refuses two series on the "one" side at one step.
fn check_one_side(
    matching: &Matching,
    sides: &Sides<'_>,
    group: &MatchGroup,
    relevant: &StepSet,
) -> Result<(), QueryError> {
    if group.one.len() < 2 {
        return Ok(());
    }
    for (index, at) in group.one.iter().enumerate() {
        let mut occupied = sides.one[*at].column.occupied();
        occupied.intersect(relevant);
        for earlier in &group.one[..index] {
            let mut common = sides.one[*earlier].column.occupied();
            common.intersect(&occupied);
            if common.is_empty() {
                continue;
            }
            return Err(QueryError::ManyToMany {
                group: matched_labels(matching, &signature(matching, &group.labels)).to_string(),
                side: if sides.swapped { "left" } else { "right" },
                first: sides.one[*earlier].labels.to_string(),
                second: sides.one[*at].labels.to_string(),
            });
        }
    }
    Ok(())
}

/// The labels of a signature without what is there for technical reasons.
fn matched_labels(matching: &Matching, signature: &Labels) -> Labels {
    if matching.on { signature.clone() } else { signature.without_metric_name() }
}

fn combine_group(
    operation: &Operation<'_>,
    matching: &Matching,
    sides: &Sides<'_>,
    group: &MatchGroup,
    steps: Steps,
) -> Result<(Vec<StepSeries>, Complaints, Complaints), QueryError> {
    let mut outcome = Outcome {
        operation,
        matching,
        sides,
        found: Vec::new(),
        matched: LabelsMap::default(),
        is_one_pair: group.many.len() <= 1 && group.one.len() <= 1 && sides.fill_many.is_none(),
        complaints: Vec::new(),
        steps,
    };
    let occupied_by = |series: &[StepSeries], members: &[usize]| {
        let mut set = StepSet::none(steps.count);
        members.iter().for_each(|at| set.union(&series[*at].column.occupied()));
        set
    };
    let one_occupied = occupied_by(sides.one, &group.one);
    for many in &group.many {
        let many = &sides.many[*many];
        for one in &group.one {
            let one = &sides.one[*one];
            outcome.add_pair(many, one)?;
        }
        if let Some(fill) = sides.fill_one {
            let mut alone = many.column.occupied();
            alone.subtract(&one_occupied);
            let mut column = many.column.clone();
            column.retain(&alone);
            outcome.add_filled(many, &column, Filled::One(fill), &group.labels)?;
        }
    }
    let of_pairs = std::mem::take(&mut outcome.complaints);
    if let Some(fill) = sides.fill_many {
        let met = outcome.met();
        for one in &group.one {
            let one = &sides.one[*one];
            let mut alone = one.column.occupied();
            alone.subtract(&met);
            let mut column = one.column.clone();
            column.retain(&alone);
            outcome.add_filled(one, &column, Filled::Many(fill), &group.labels)?;
        }
    }
    Ok((outcome.found, of_pairs, outcome.complaints))
}

/// What there is to say, by step.
type Complaints = Vec<(usize, Complaint)>;

/// Which side a filled value stands in for.
enum Filled {
    Many(f64),
    One(f64),
}

/// The results of one match group so far.
struct Outcome<'a> {
    operation: &'a Operation<'a>,
    matching: &'a Matching,
    sides: &'a Sides<'a>,
    found: Vec<StepSeries>,
    /// The steps at which two series have met, by the labels of what they make; without grouping all under none.
    matched: LabelsMap<Labels, StepSet>,
    /// One series of each side: they meet once, and nobody asks where.
    is_one_pair: bool,
    complaints: Complaints,
    steps: Steps,
}

impl Outcome<'_> {
    fn add_pair(&mut self, many: &StepSeries, one: &StepSeries) -> Result<(), QueryError> {
        let combined = self.combine(Side::Column(&many.column), Side::Column(&one.column));
        self.add(|outcome| outcome.result_labels(&many.labels, &one.labels), combined)
    }

    /// A series that has no partner at the steps of `column`; the partner's labels are those that match in the group.
    fn add_filled(
        &mut self,
        series: &StepSeries,
        column: &Column,
        filled: Filled,
        of_group: &Labels,
    ) -> Result<(), QueryError> {
        let partner = matched_labels(self.matching, &signature(self.matching, of_group));
        match filled {
            Filled::One(value) => {
                let combined = self.combine(Side::Column(column), Side::Filled(value));
                self.add(|outcome| outcome.result_labels(&series.labels, &partner), combined)
            }
            Filled::Many(value) => {
                let combined = self.combine(Side::Filled(value), Side::Column(column));
                self.add(|outcome| outcome.result_labels(&partner, &series.labels), combined)
            }
        }
    }

    fn combine(&self, many: Side<'_>, one: Side<'_>) -> Combined {
        let (lhs, rhs) = if self.sides.swapped { (one, many) } else { (many, one) };
        self.operation.combine(lhs, rhs, lhs, self.steps)
    }

    /// The steps at which something has met.
    fn met(&self) -> StepSet {
        let mut met = StepSet::none(self.steps.count);
        self.matched.values().for_each(|steps| met.union(steps));
        met
    }

    /// Without grouping one series of each side may meet at a step, with grouping one for each result; whether or not a filter
    /// leaves the result. Samples that do not go together have not met.
    fn only_once(&mut self, labels: &Labels, met: StepSet) -> Result<(), QueryError> {
        let is_grouped = self.matching.card != Cardinality::OneToOne;
        if self.is_one_pair && !is_grouped {
            return Ok(());
        }
        let key = if is_grouped { labels.clone() } else { Labels::default() };
        let before = self.matched.entry(key).or_insert_with(|| StepSet::none(self.steps.count));
        let mut twice = met.clone();
        twice.intersect(before);
        if !twice.is_empty() {
            return Err(if is_grouped { QueryError::GroupNotUnique } else { QueryError::ManyToOne });
        }
        before.union(&met);
        Ok(())
    }

    fn add(
        &mut self,
        labels: impl FnOnce(&Self) -> Labels,
        Combined { column, met, mut complaints }: Combined,
    ) -> Result<(), QueryError> {
        self.complaints.append(&mut complaints);
        if met.is_empty() {
            return Ok(());
        }
        let labels = labels(self);
        self.only_once(&labels, met)?;
        if !column.is_empty() {
            // A name that the left side was to lose in the end is given back: Prometheus does.
            self.found.push(StepSeries { labels, drop_name: self.operation.return_bool, column });
        }
        Ok(())
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let mut labels = many.clone();
        if drops_name(self.operation.op) {
            labels = labels.without(&[METRIC_NAME, "__type__", "__unit__"]);
        }
        if matching.card == Cardinality::OneToOne {
            labels =
                if matching.on { labels.only(&matching.labels) } else { labels.without(&matching.labels) };
        }
        if matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &matching.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }
}
