//! Conditions on the labels of a row.

use throughline_exec::Matcher;
use throughline_exec::log::IpMatcher;

use super::labels::RowLabels;
use super::symbols::{Symbol, Symbols};
use crate::ast::{CompareOp, LabelFilter, Quantity};
use crate::convert;

const FILTER_ERROR: &str = "LabelFilterErr";

/// A condition, with its labels as symbols.
#[derive(Debug)]
pub(crate) enum Condition {
    Match(Symbol, Matcher),
    Compare(Symbol, CompareOp, Quantity),
    Ip { label: Symbol, negated: bool, addresses: IpMatcher },
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

impl Condition {
    /// Recursion is bounded by the number of conditions that a stage may have.
    pub(super) fn new(filter: &LabelFilter, symbols: &mut Symbols) -> Condition {
        match filter {
            LabelFilter::Match(matcher) => Condition::Match(symbols.intern(matcher.name()), matcher.clone()),
            LabelFilter::Compare { label, op, quantity } => {
                Condition::Compare(symbols.intern(label), *op, *quantity)
            }
            LabelFilter::Ip { label, negated, addresses } => Condition::Ip {
                label: symbols.intern(label),
                negated: *negated,
                addresses: addresses.clone(),
            },
            LabelFilter::And(left, right) => Condition::And(
                Box::new(Condition::new(left, symbols)),
                Box::new(Condition::new(right, symbols)),
            ),
            LabelFilter::Or(left, right) => Condition::Or(
                Box::new(Condition::new(left, symbols)),
                Box::new(Condition::new(right, symbols)),
            ),
        }
    }

    /// Whether it holds. A value that is not what it is compared as is an error of the row, which stays for others to see.
    pub(crate) fn holds(&self, labels: &mut RowLabels) -> bool {
        match self {
            Condition::Match(label, matcher) => matcher.matches(labels.text(*label)),
            Condition::Compare(label, op, quantity) => compare(labels, *label, *op, *quantity),
            Condition::Ip { label, negated, addresses } => {
                if labels.has_error() {
                    return true;
                }
                labels.get(*label).is_some_and(|value| addresses.is_in(value) != *negated)
            }
            // Both sides run: what goes wrong on the right is seen even if the left does not hold.
            Condition::And(left, right) => {
                let left = left.holds(labels);
                right.holds(labels) && left
            }
            Condition::Or(left, right) => left.holds(labels) || right.holds(labels),
        }
    }
}

fn compare(labels: &mut RowLabels, label: Symbol, op: CompareOp, quantity: Quantity) -> bool {
    let Some(value) = labels.get(label) else { return false };
    let compared = match quantity {
        Quantity::Number(number) => convert::float(value).map(|value| op.holds(value, number)),
        Quantity::Duration(ns) => convert::duration(value).map(|value| op.holds(value, ns)),
        Quantity::Bytes(bytes) => convert::bytes(value).map(|value| op.holds(value, bytes)),
    };
    compared.unwrap_or_else(|details| {
        // What went wrong before says more.
        if !labels.has_error() {
            labels.fail(FILTER_ERROR, &details);
        }
        true
    })
}
