//! Names as numbers, shared by both sides of a comparison, so that equal things have equal numbers.

use std::collections::HashMap;
use std::hash::Hash;

use throughline_model::Level;

use super::signature::LineKind;

/// Things by number, in the order in which they were met.
pub(super) struct Interner<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    pub(super) fn number(&mut self, item: T) -> u32 {
        if let Some(number) = self.numbers.get(&item) {
            return *number;
        }
        let number = self.items.len() as u32;
        self.items.push(item.clone());
        self.numbers.insert(item, number);
        number
    }

    /// All, by number.
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }
}

impl Interner<String> {
    /// As [`Interner::number`], without a copy of a text that is known.
    pub(super) fn text(&mut self, text: &str) -> u32 {
        match self.numbers.get(text) {
            Some(number) => *number,
            None => self.number(text.to_owned()),
        }
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.get(number).map_or("", String::as_str)
    }
}

/// A span by what it does. A span that does nothing but call another service is named with what it calls, because its own
/// name (`GET`) says too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Operation {
    pub(super) service: u32,
    pub(super) name: u32,
    /// Service and name of what it calls.
    pub(super) callee: Option<(u32, u32)>,
}

/// Something that happens within a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Feature {
    /// A kind of log line was written.
    Line(Level, LineKind),
    /// An operation was called, by its number.
    Call(u32),
    /// The span's status is error.
    Failed,
}

impl Feature {
    /// Whether it is bad by itself.
    pub(super) fn is_error(&self) -> bool {
        match self {
            Feature::Line(level, _) => *level >= Level::Error,
            Feature::Failed => true,
            Feature::Call(_) => false,
        }
    }

    /// Whether it is as it should be.
    pub(super) fn is_ordinary(&self) -> bool {
        match self {
            Feature::Line(level, _) => *level < Level::Warn,
            Feature::Call(_) => true,
            Feature::Failed => false,
        }
    }
}

/// Where time is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Spender {
    /// A service itself, in spans of a name.
    Own { service: u32, name: u32 },
    /// On the way from a service to another and back.
    Way { caller: u32, callee: u32 },
}

impl Spender {
    /// Whom the time is charged to: time on the way to the one who is called, because whoever waits is not the cause.
    pub(super) fn charged(self) -> u32 {
        match self {
            Spender::Own { service, .. } => service,
            Spender::Way { callee, .. } => callee,
        }
    }
}

/// Everything that has a number.
#[derive(Default)]
pub(super) struct Vocabulary {
    /// Services, names of spans.
    pub(super) texts: Interner<String>,
    /// Resources as JSON objects.
    pub(super) resources: Interner<String>,
    pub(super) operations: Interner<Operation>,
    pub(super) features: Interner<Feature>,
    pub(super) spenders: Interner<Spender>,
}

impl Vocabulary {
    /// An operation for people.
    pub(super) fn operation(&self, number: u32) -> String {
        let Some(operation) = self.operations.get(number) else { return String::new() };
        let name = self.texts.name(operation.name);
        match operation.callee {
            Some((service, callee)) => {
                format!("{name} → {} {}", self.texts.name(service), self.texts.name(callee))
            }
            None => name.to_owned(),
        }
    }

    /// The service of an operation.
    pub(super) fn service_of(&self, operation: u32) -> u32 {
        self.operations.get(operation).map_or(u32::MAX, |operation| operation.service)
    }
}
