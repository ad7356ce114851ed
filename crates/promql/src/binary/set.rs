//! `and`, `or` and `unless`: a sample is kept or not by whether the other side has one in its match group.

use std::collections::HashMap;

use throughline_exec::Labels;

use super::matching::signature;
use crate::ast::{BinaryOp, Matching};
use crate::eval::{QueryError, merge_equal};
use crate::value::{StepSeries, StepSet, Steps};

pub(super) fn combine(
    op: BinaryOp,
    matching: &Matching,
    mut lhs: Vec<StepSeries>,
    mut rhs: Vec<StepSeries>,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let empty = StepSet::none(steps.count);
    if op == BinaryOp::Or {
        let there = occupied_by_signature(matching, &lhs, steps);
        for series in &mut rhs {
            let mut kept = series.column.occupied();
            kept.subtract(there.get(&signature(matching, &series.labels)).unwrap_or(&empty));
            series.column.retain(&kept);
        }
        rhs.retain(|series| !series.column.is_empty());
        lhs.append(&mut rhs);
        return merge_equal(lhs);
    }
    let there = occupied_by_signature(matching, &rhs, steps);
    for series in &mut lhs {
        let others = there.get(&signature(matching, &series.labels)).unwrap_or(&empty);
        let mut kept = series.column.occupied();
        if op == BinaryOp::And {
            kept.intersect(others);
        } else {
            kept.subtract(others);
        }
        series.column.retain(&kept);
    }
    Ok(lhs)
}

fn occupied_by_signature(
    matching: &Matching,
    series: &[StepSeries],
    steps: Steps,
) -> HashMap<Labels, StepSet> {
    let mut there: HashMap<Labels, StepSet> = HashMap::new();
    for one in series {
        let set = there.entry(signature(matching, &one.labels)).or_insert_with(|| StepSet::none(steps.count));
        set.union(&one.column.occupied());
    }
    there
}
