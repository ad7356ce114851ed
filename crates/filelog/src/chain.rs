//! Operators in their order, and entries on their way through them.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::{Entry, Origin};
use crate::operator::container::Parsed;
use crate::operator::recombine::{Recombine, Recombiner};
use crate::operator::{Action, Operator, Output, set_scope_name};

/// The most operators of one receiver.
const OPERATORS_MAX: usize = 1000;

/// Settled operators without a circle.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<Vec<Operator>>);

/// What cannot be a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainError {
    /// The operator that it is about.
    pub index: usize,
    /// What is wrong.
    pub reason: String,
}

impl Chain {
    /// Settles operators; entries enter at the first.
    pub fn new(operators: Vec<Operator>) -> Result<Chain, ChainError> {
        if operators.len() > OPERATORS_MAX {
            let reason = format!("there are more than {OPERATORS_MAX} operators");
            return Err(ChainError { index: OPERATORS_MAX, reason });
        }
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut state = vec![State::New; operators.len()];
        for start in 0..operators.len() {
            // Depth first, with a stack of our own: a circle leads back to an operator whose outputs are still being followed.
            open.push((start, 0));
            while let Some((at, next)) = open.pop() {
                if next == 0 && state[at] == State::Done {
                    continue;
                }
                state[at] = State::Open;
                match outputs(&operators[at]).nth(next) {
                    None => state[at] = State::Done,
                    Some(output) => {
                        open.push((at, next + 1));
                        let Output::Operator(to) = output else { continue };
                        match state.get(to) {
                            Some(State::New) => open.push((to, 0)),
                            Some(State::Done) => {}
                            Some(State::Open) => {
                                let reason =
                                    format!("its output leads back to it through {}", operators[to].id);
                                return Err(ChainError { index: at, reason });
                            }
                            None => {
                                let reason = "its output is no operator of this receiver".to_owned();
                                return Err(ChainError { index: at, reason });
                            }
                        }
                    }
                }
            }
        }
        Ok(Chain(Arc::new(operators)))
    }

    /// How many operators there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn outputs(operator: &Operator) -> impl Iterator<Item = Output> {
    let (routes, default) = match &operator.action {
        Action::Router(routes, default) => (routes.as_slice(), default.as_slice()),
        _ => (&[][..], &[][..]),
    };
    let routed = routes.iter().flat_map(|route| &route.outputs).chain(default);
    operator.outputs.iter().chain(routed).copied()
}

/// Something that went wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The id of the operator.
    pub operator: String,
    /// What happened.
    pub reason: String,
    /// Whether nobody wants to know.
    pub is_quiet: bool,
}

/// What came of some entries.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that go to the store.
    pub entries: Vec<Entry>,
    /// How many a filter or a router dropped.
    pub filtered: u64,
    /// How many were dropped because an operator failed.
    pub failed: u64,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

/// A chain at work, with the entries that wait in it.
#[derive(Debug)]
pub struct Running {
    chain: Chain,
    waiting: Vec<Recombiner>,
}

impl Running {
    /// A chain in which nothing waits.
    #[must_use]
    pub fn new(chain: Chain) -> Running {
        let waiting = (0..chain.len()).map(|_| Recombiner::default()).collect();
        Running { chain, waiting }
    }

    /// Takes an entry. `now` is monotonic time.
    pub fn push(&mut self, entry: Entry, now: Duration, outcome: &mut Outcome) {
        let first = if self.chain.is_empty() { Output::Store } else { Output::Operator(0) };
        self.run(vec![(first, entry)], now, outcome);
    }

    /// Whether entries have waited long enough to go on without what they wait for.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        let mut rules = self.chain.0.iter().zip(&self.waiting);
        rules.any(|(operator, waiting)| rule(operator).is_some_and(|rule| waiting.is_due(rule, now)))
    }

    /// Lets entries go on that have waited long enough; with `everything` all that wait.
    pub fn release(&mut self, everything: bool, now: Duration, outcome: &mut Outcome) {
        let chain = self.chain.clone();
        for (index, operator) in chain.0.iter().enumerate() {
            let Some(rule) = rule(operator) else { continue };
            let mut released = Vec::new();
            if everything {
                self.waiting[index].release_all(rule, &mut released);
            } else {
                self.waiting[index].release_due(rule, now, &mut released);
            }
            self.run(onward(operator, released), now, outcome);
        }
    }

    /// The first line of a file that waits.
    #[must_use]
    pub fn earliest(&self, file: u64) -> Option<Origin> {
        self.waiting.iter().filter_map(|waiting| waiting.earliest(file)).min_by_key(|origin| origin.start)
    }

    /// Runs entries until they are out, dropped, or wait. The chain has no circle, so that each comes to an end.
    fn run(&mut self, mut work: Vec<(Output, Entry)>, now: Duration, outcome: &mut Outcome) {
        let chain = self.chain.clone();
        // The last is taken first: what comes of one entry goes before the next one.
        work.reverse();
        while let Some((output, entry)) = work.pop() {
            let Output::Operator(index) = output else {
                outcome.entries.push(entry);
                continue;
            };
            let operator = &chain.0[index];
            let mut next = self.step(index, operator, entry, now, outcome);
            next.reverse();
            work.append(&mut next);
        }
    }

    fn step(
        &mut self,
        index: usize,
        operator: &Operator,
        mut entry: Entry,
        now: Duration,
        outcome: &mut Outcome,
    ) -> Vec<(Output, Entry)> {
        match operator.condition.as_ref().map(|condition| condition.is_met(&entry)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => return onward(operator, vec![entry]),
            Some(Err(reason)) => return fail(operator, entry, reason, outcome),
        }
        let done = match &operator.action {
            Action::Parse(parse, parser) => parse.apply(parser, &mut entry),
            Action::Time(rule) => rule.apply(&mut entry),
            Action::Severity(rule) => rule.apply(&mut entry),
            Action::Trace(rule) => rule.apply(&mut entry),
            Action::ScopeName(from) => set_scope_name(from, &mut entry),
            Action::Edit(edit) => edit.apply(&mut entry),
            Action::Noop => Ok(()),
            Action::Container(container) => match container.apply(&mut entry) {
                Ok(Parsed::Whole) => Ok(()),
                Ok(Parsed::Part) => {
                    return self.recombine(index, operator, &container.recombine, entry, now, outcome);
                }
                Err(reason) => Err(reason),
            },
            Action::Recombine(rule) => return self.recombine(index, operator, rule, entry, now, outcome),
            Action::Filter(condition) => match condition.is_met(&entry) {
                Ok(true) => {
                    outcome.filtered += 1;
                    return Vec::new();
                }
                Ok(false) => Ok(()),
                Err(reason) => Err(reason),
            },
            Action::Router(..) => return route(operator, entry, outcome),
        };
        match done {
            Ok(()) => onward(operator, vec![entry]),
            Err(reason) => fail(operator, entry, reason, outcome),
        }
    }

    fn recombine(
        &mut self,
        index: usize,
        operator: &Operator,
        rule: &Recombine,
        entry: Entry,
        now: Duration,
        outcome: &mut Outcome,
    ) -> Vec<(Output, Entry)> {
        let mut whole = Vec::new();
        let failed = self.waiting[index].push(rule, entry, now, &mut whole).err();
        let mut next = onward(operator, whole);
        if let Some((entry, reason)) = failed {
            next.append(&mut fail(operator, entry, reason, outcome));
        }
        next
    }
}

fn rule(operator: &Operator) -> Option<&Recombine> {
    match &operator.action {
        Action::Recombine(rule) => Some(rule),
        Action::Container(container) => Some(&container.recombine),
        _ => None,
    }
}

fn onward(operator: &Operator, entries: Vec<Entry>) -> Vec<(Output, Entry)> {
    entries.into_iter().flat_map(|entry| to_all(&operator.outputs, entry)).collect()
}

fn to_all(outputs: &[Output], entry: Entry) -> Vec<(Output, Entry)> {
    let Some((last, others)) = outputs.split_last() else { return Vec::new() };
    let mut out: Vec<(Output, Entry)> = others.iter().map(|output| (*output, entry.clone())).collect();
    out.push((*last, entry));
    out
}

fn route(operator: &Operator, mut entry: Entry, outcome: &mut Outcome) -> Vec<(Output, Entry)> {
    let Action::Router(routes, default) = &operator.action else { return onward(operator, vec![entry]) };
    for route in routes {
        match route.condition.is_met(&entry) {
            Ok(true) => {
                for (name, template) in &route.attributes {
                    match template.value(&entry) {
                        Ok(value) => _ = entry.attributes.insert(name.clone(), value),
                        Err(reason) => note(operator, reason, outcome),
                    }
                }
                return to_all(&route.outputs, entry);
            }
            Ok(false) => {}
            Err(reason) => note(operator, reason, outcome),
        }
    }
    outcome.filtered += u64::from(default.is_empty());
    to_all(default, entry)
}

fn fail(operator: &Operator, entry: Entry, reason: String, outcome: &mut Outcome) -> Vec<(Output, Entry)> {
    note(operator, reason, outcome);
    if operator.on_error.drops() {
        outcome.failed += 1;
        return Vec::new();
    }
    onward(operator, vec![entry])
}

fn note(operator: &Operator, reason: String, outcome: &mut Outcome) {
    let is_quiet = operator.on_error.is_quiet();
    outcome.failures.push(Failure { operator: operator.id.clone(), reason, is_quiet });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Expression;
    use crate::operator::{OnError, Route};
    use crate::value::Value;

    fn operator(id: &str, action: Action, outputs: Vec<Output>) -> Operator {
        let on_error = OnError::Send { is_quiet: false };
        Operator { id: id.to_owned(), condition: None, on_error, outputs, action }
    }

    fn expression(text: &str) -> Expression {
        Expression::parse(text, &|_| None).expect("an expression")
    }

    fn entry(body: &str) -> Entry {
        Entry { body: Value::Str(body.to_owned()), ..Entry::default() }
    }

    fn bodies(outcome: &Outcome) -> Vec<String> {
        outcome.entries.iter().filter_map(|entry| entry.body.scalar()).collect()
    }

    #[test]
    fn a_circle_is_refused() {
        let to = |index| vec![Output::Operator(index)];
        let noop = |id, outputs| operator(id, Action::Noop, outputs);
        let circle = Chain::new(vec![noop("a", to(1)), noop("b", to(2)), noop("c", to(1))]);
        assert_eq!(circle.expect_err("a circle").index, 2);
        assert_eq!(Chain::new(vec![noop("a", to(7))]).expect_err("nowhere").index, 0);
        let both = vec![Output::Operator(2), Output::Operator(1)];
        let backwards = vec![noop("a", both), noop("b", to(2)), noop("c", vec![Output::Store])];
        assert!(Chain::new(backwards).is_ok(), "two ways to one operator are no circle");
    }

    #[test]
    fn entries_keep_their_order_and_are_counted() {
        let router = Action::Router(
            vec![Route {
                condition: expression("body startsWith 'x'"),
                outputs: vec![Output::Store],
                attributes: Vec::new(),
            }],
            Vec::new(),
        );
        let filter = Action::Filter(expression("body contains 'secret'"));
        let chain = vec![
            operator("filter", filter, vec![Output::Operator(1)]),
            operator("twice", Action::Noop, vec![Output::Operator(2), Output::Store]),
            operator("router", router, Vec::new()),
        ];
        let mut running = Running::new(Chain::new(chain).expect("a chain"));
        let mut outcome = Outcome::default();
        for body in ["x1", "secret", "y2"] {
            running.push(entry(body), Duration::ZERO, &mut outcome);
        }
        assert_eq!(bodies(&outcome), ["x1", "x1", "y2"]);
        assert_eq!(outcome.filtered, 2, "the filter and the router dropped one each");
        assert!(outcome.failures.is_empty());
    }

    #[test]
    fn what_fails_goes_on_or_is_dropped_as_is_said() {
        for (on_error, sent, failed) in
            [(OnError::Send { is_quiet: true }, 1, 0), (OnError::Drop { is_quiet: false }, 0, 1)]
        {
            let filter = Action::Filter(expression("body.x == 1"));
            let operator = Operator { on_error, ..operator("f", filter, vec![Output::Store]) };
            let mut running = Running::new(Chain::new(vec![operator]).expect("a chain"));
            let mut outcome = Outcome::default();
            running.push(entry("text"), Duration::ZERO, &mut outcome);
            assert_eq!((outcome.entries.len(), outcome.failed, outcome.failures.len()), (sent, failed, 1));
        }
    }
}
