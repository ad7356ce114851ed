//! Operators between vectors: which series meet, and what is an error.
//!
//! Series are put into match groups once. Within a group each series of the "many" side meets the series of the
//! "one" side; that there is only one of those at a step is checked step by step, because series come and go.

use std::collections::HashMap;

use throughline_exec::{Labels, METRIC_NAME};

use super::drops_name;
use super::element::{Operation, Side};
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

/// Series that match each other, as indexes.
#[derive(Default)]
struct MatchGroup {
    signature: Labels,
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
    let sides = if swapped {
        Sides { many: rhs, one: lhs, fill_many: fill_right, fill_one: fill_left, swapped }
    } else {
        Sides { many: lhs, one: rhs, fill_many: fill_left, fill_one: fill_right, swapped }
    };
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
    let mut found = Vec::new();
    for part in combined {
        found.extend(part?);
    }
    merge_equal(found)
}

fn groups(matching: &Matching, sides: &Sides<'_>) -> Vec<MatchGroup> {
    let mut by_signature: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<MatchGroup> = Vec::new();
    let mut group_of = |labels: &Labels| {
        let signature = signature(matching, labels);
        let new = groups.len();
        let index = *by_signature.entry(signature.clone()).or_insert(new);
        if index == new {
            groups.push(MatchGroup { signature, ..MatchGroup::default() });
        }
        index
    };
    let many: Vec<usize> = sides.many.iter().map(|series| group_of(&series.labels)).collect();
    let one: Vec<usize> = sides.one.iter().map(|series| group_of(&series.labels)).collect();
    many.into_iter().enumerate().for_each(|(at, group)| groups[group].many.push(at));
    one.into_iter().enumerate().for_each(|(at, group)| groups[group].one.push(at));
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
                group: matched_labels(matching, &group.signature).to_string(),
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
) -> Result<Vec<StepSeries>, QueryError> {
    let mut outcome =
        Outcome { operation, matching, sides, found: Vec::new(), matched: StepSet::none(steps.count), steps };
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
            outcome.add_filled(many, &column, Filled::One(fill), &group.signature)?;
        }
    }
    if let Some(fill) = sides.fill_many {
        let many_occupied = occupied_by(sides.many, &group.many);
        for one in &group.one {
            let one = &sides.one[*one];
            let mut alone = one.column.occupied();
            alone.subtract(&many_occupied);
            let mut column = one.column.clone();
            column.retain(&alone);
            outcome.add_filled(one, &column, Filled::Many(fill), &group.signature)?;
        }
    }
    Ok(outcome.found)
}

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
    /// Without grouping, the steps at which two series have met.
    matched: StepSet,
    steps: Steps,
}

impl Outcome<'_> {
    fn add_pair(&mut self, many: &StepSeries, one: &StepSeries) -> Result<(), QueryError> {
        let mut both = many.column.occupied();
        both.intersect(&one.column.occupied());
        self.only_once(&both)?;
        let column = self.column(Side::Column(&many.column), Side::Column(&one.column));
        if column.is_empty() {
            return Ok(());
        }
        let labels = self.result_labels(&many.labels, &one.labels);
        self.add(labels, many.drop_name, column)
    }

    /// A series that has no partner at the steps of `column`; the partner's labels are those of the match group.
    fn add_filled(
        &mut self,
        series: &StepSeries,
        column: &Column,
        filled: Filled,
        signature: &Labels,
    ) -> Result<(), QueryError> {
        let partner = matched_labels(self.matching, signature);
        self.only_once(&column.occupied())?;
        let (column, labels, drop_name) = match filled {
            Filled::One(value) => (
                self.column(Side::Column(column), Side::Filled(value)),
                self.result_labels(&series.labels, &partner),
                series.drop_name,
            ),
            Filled::Many(value) => (
                self.column(Side::Filled(value), Side::Column(column)),
                self.result_labels(&partner, &series.labels),
                false,
            ),
        };
        if column.is_empty() { Ok(()) } else { self.add(labels, drop_name, column) }
    }

    fn column(&self, many: Side<'_>, one: Side<'_>) -> Column {
        let (lhs, rhs) = if self.sides.swapped { (one, many) } else { (many, one) };
        self.operation.combine(lhs, rhs, lhs, self.steps)
    }

    /// Without grouping one series of each side may meet at a step, whether or not there is a result.
    fn only_once(&mut self, pairs: &StepSet) -> Result<(), QueryError> {
        if self.matching.card != Cardinality::OneToOne {
            return Ok(());
        }
        let mut twice = pairs.clone();
        twice.intersect(&self.matched);
        if !twice.is_empty() {
            return Err(QueryError::ManyToOne);
        }
        self.matched.union(pairs);
        Ok(())
    }

    fn add(&mut self, labels: Labels, drop_name: bool, column: Column) -> Result<(), QueryError> {
        let occupied = column.occupied();
        if self.matching.card != Cardinality::OneToOne {
            for before in self.found.iter().filter(|before| before.labels == labels) {
                let mut both = before.column.occupied();
                both.intersect(&occupied);
                if !both.is_empty() {
                    return Err(QueryError::GroupNotUnique);
                }
            }
        }
        // A filter between vectors gives a name back that its left side was to lose in the end: Prometheus does.
        let drop_name = if self.operation.op.is_comparison() {
            self.operation.return_bool
        } else {
            drop_name || self.operation.return_bool
        };
        self.found.push(StepSeries { labels, drop_name, column });
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
