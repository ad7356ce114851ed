//! Names of labels as small numbers: rows compare and find labels by them.

use std::collections::HashMap;

/// The name of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(pub u32);

/// What went wrong with a row.
pub(crate) const ERROR: Symbol = Symbol(0);
/// The message of it.
pub(crate) const ERROR_DETAILS: Symbol = Symbol(1);
/// Says that a row with an error may be counted.
pub(crate) const PRESERVE_ERROR: Symbol = Symbol(2);

/// The names of [`ERROR`], [`ERROR_DETAILS`] and [`PRESERVE_ERROR`].
pub(crate) const SPECIAL: [&str; 3] = ["__error__", "__error_details__", "__preserve_error__"];

/// What is put behind a name that is taken.
pub(crate) const EXTRACTED: &str = "_extracted";

/// All names that a query has met.
#[derive(Debug)]
pub(crate) struct Symbols {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, Symbol, ahash::RandomState>,
    /// Of each name, the same with [`EXTRACTED`], once it was needed.
    extracted: Vec<Option<Symbol>>,
    /// An estimate of the memory of all names.
    bytes: u64,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols =
            Symbols { names: Vec::new(), numbers: HashMap::default(), extracted: Vec::new(), bytes: 0 };
        for name in SPECIAL {
            symbols.intern(name);
        }
        symbols
    }
}

impl Symbols {
    pub(crate) fn intern(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.numbers.get(name) {
            return *symbol;
        }
        let symbol = Symbol(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(name.into());
        self.extracted.push(None);
        self.numbers.insert(name.into(), symbol);
        self.bytes += 2 * name.len() as u64 + 64;
        symbol
    }

    pub(crate) fn find(&self, name: &str) -> Option<Symbol> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, symbol: Symbol) -> &str {
        self.names.get(symbol.0 as usize).map_or("", |name| name)
    }

    /// The name to use where this one is taken.
    pub(crate) fn extracted(&mut self, symbol: Symbol) -> Symbol {
        if let Some(Some(known)) = self.extracted.get(symbol.0 as usize) {
            return *known;
        }
        let name = format!("{}{EXTRACTED}", self.name(symbol));
        let extracted = self.intern(&name);
        if let Some(slot) = self.extracted.get_mut(symbol.0 as usize) {
            *slot = Some(extracted);
        }
        extracted
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
