//! Which labels of a row a query needs, so that parsers need not find the others.

use std::collections::BTreeSet;

use super::labels::RowLabels;
use super::symbols::{EXTRACTED, SPECIAL, Symbol, Symbols};
use crate::ast::{LabelChoice, LabelFilter, LabelSource, Stage, Unwrap};

/// The labels that a query needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Nothing if all of them are.
    pub names: Option<BTreeSet<String>>,
    /// Whether the query looks at what went wrong: rows with errors are counted then.
    pub errors: bool,
}

impl Wanted {
    /// What the stages need, and `output`, the labels of the result: nothing if that is all of them.
    pub(crate) fn of(stages: &[Stage], unwrap: Option<&Unwrap>, output: Option<&[String]>) -> Wanted {
        let mut asked = Asked { names: BTreeSet::new(), any: output.is_none() };
        asked.names.extend(output.unwrap_or_default().iter().cloned());
        for stage in stages {
            asked.stage(stage);
        }
        if let Some(unwrap) = unwrap {
            asked.names.insert(unwrap.label.clone());
            unwrap.filters.iter().for_each(|filter| asked.filter(filter));
        }
        let errors = asked.names.contains(SPECIAL[0]);
        // A name that was taken is found under that name.
        let taken = asked.names.iter().filter_map(|name| name.strip_suffix(EXTRACTED).map(str::to_owned));
        let taken: Vec<String> = taken.collect();
        asked.names.extend(taken);
        Wanted { names: (!asked.any).then_some(asked.names), errors }
    }

    /// Whether no label is needed.
    pub(crate) fn is_none(&self) -> bool {
        self.names.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

struct Asked {
    names: BTreeSet<String>,
    any: bool,
}

impl Asked {
    fn stage(&mut self, stage: &Stage) {
        match stage {
            Stage::LabelFilter(filter) => self.filter(filter),
            Stage::LineFormat(template) => self.template(template.fields()),
            Stage::LabelFormat(formats) => {
                for format in formats {
                    match &format.source {
                        LabelSource::Rename(source) => {
                            self.names.insert(source.clone());
                        }
                        LabelSource::Template(template) => self.template(template.fields()),
                    }
                }
            }
            Stage::Drop(choices) | Stage::Keep(choices) => {
                for choice in choices {
                    if let LabelChoice::Matching(matcher) = choice {
                        self.names.insert(matcher.name().to_owned());
                    }
                }
            }
            Stage::LineFilter(_)
            | Stage::Json(_)
            | Stage::Logfmt(_)
            | Stage::Regexp(_)
            | Stage::Pattern(_)
            | Stage::Unpack
            | Stage::Decolorize => {}
        }
    }

    fn template(&mut self, fields: Option<&BTreeSet<String>>) {
        match fields {
            Some(fields) => self.names.extend(fields.iter().cloned()),
            None => self.any = true,
        }
    }

    fn filter(&mut self, filter: &LabelFilter) {
        match filter {
            LabelFilter::Match(matcher) => {
                self.names.insert(matcher.name().to_owned());
            }
            LabelFilter::Compare { label, .. } | LabelFilter::Ip { label, .. } => {
                self.names.insert(label.clone());
            }
            LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
                self.filter(left);
                self.filter(right);
            }
        }
    }
}

/// [`Wanted`] in a pipeline.
#[derive(Debug)]
pub(super) struct WantedLabels {
    all: bool,
    names: Vec<Symbol>,
    /// By symbol: those that are wanted are among the first.
    flags: Vec<bool>,
    /// The names themselves.
    texts: Vec<String>,
    /// A bit for each length of a name; the longest share the last.
    lengths: u64,
    errors: bool,
}

impl WantedLabels {
    pub(super) fn new(wanted: &Wanted, symbols: &mut Symbols) -> WantedLabels {
        let names: Vec<Symbol> = wanted.names.iter().flatten().map(|name| symbols.intern(name)).collect();
        let mut flags = Vec::new();
        for name in &names {
            let at = name.0 as usize;
            if flags.len() <= at {
                flags.resize(at + 1, false);
            }
            if let Some(flag) = flags.get_mut(at) {
                *flag = true;
            }
        }
        let texts: Vec<String> = wanted.names.iter().flatten().cloned().collect();
        let lengths = texts.iter().fold(0, |bits, text| bits | 1 << text.len().min(63));
        WantedLabels { all: wanted.names.is_none(), names, flags, texts, lengths, errors: wanted.errors }
    }

    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    pub(super) fn has(&self, name: Symbol) -> bool {
        self.all || self.flags.get(name.0 as usize).copied().unwrap_or(false)
    }

    /// Whether a wanted name may have so many bytes.
    pub(super) fn has_length(&self, bytes: usize) -> bool {
        self.lengths >> bytes.min(63) & 1 == 1
    }

    /// Whether a wanted name begins with this one and an underscore.
    pub(super) fn has_below(&self, name: &str) -> bool {
        let below = |text: &String| text.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
        self.all || self.texts.iter().any(below)
    }

    pub(super) fn preserves_errors(&self) -> bool {
        self.errors
    }

    /// How many labels a parser could still find in a row: it need not go on when it has them. Labels of the stream and metadata
    /// count as if they could be found, so that whether a mistake further on is seen does not depend on them.
    pub(super) fn missing(&self, labels: &RowLabels) -> usize {
        if self.all {
            return usize::MAX;
        }
        self.names.iter().filter(|name| !labels.is_extracted(**name)).count()
    }
}
