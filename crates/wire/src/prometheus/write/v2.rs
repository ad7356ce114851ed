//! Remote write 2.0: texts stand once per request, in a table of symbols; metadata is with each series.

use throughline_model::protobuf::{Field, Malformed, Reader};

use super::v1::{metric_type, text};
use super::{Layout, Walk};
use crate::prometheus::labels::Labels;
use crate::prometheus::refusal::Refusal;
use crate::prometheus::sink::Metadata;

const LAYOUT: Layout = Layout { samples: 2, histograms: 3, exemplars: 4 };

pub(super) fn walk<'a>(body: &'a [u8], walk: &mut Walk<'a>) -> Result<(), Malformed> {
    let symbols = Symbols::read(body)?;
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (5, Field::Bytes(message)) = (number, field) else { continue };
        walk.labels.clear();
        let checked = push_labels(message, &symbols, &mut walk.labels)?
            .and_then(|()| walk.labels.check_series(&walk.context.limits))
            .and_then(|()| symbols.check());
        match checked {
            Ok(()) => {
                let metadata = read_metadata(message, &symbols)?;
                walk.take(message, &LAYOUT, &metadata, |exemplar, labels| {
                    push_labels(exemplar, &symbols, labels)
                })?;
            }
            Err(refusal) => walk.refuse_series(message, &LAYOUT, refusal)?,
        }
        walk.index += 1;
    }
    Ok(())
}

/// The texts of a request.
struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
}

impl<'a> Symbols<'a> {
    fn read(body: &'a [u8]) -> Result<Symbols<'a>, Malformed> {
        let mut texts = Vec::new();
        let mut reader = Reader::new(body);
        while let Some((number, field)) = reader.next_field()? {
            if let (4, Field::Bytes(bytes)) = (number, field) {
                texts.push(bytes);
            }
        }
        Ok(Symbols { texts })
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.texts.first().is_some_and(|first| first.is_empty()) {
            Ok(())
        } else {
            Err(Refusal::FirstSymbol)
        }
    }

    fn get(&self, reference: u64) -> Result<&'a [u8], Refusal> {
        let found = usize::try_from(reference).ok().and_then(|at| self.texts.get(at));
        found.copied().ok_or(Refusal::SymbolReference { reference, symbols: self.texts.len() })
    }
}

/// References to labels are field 1 of a series and of an exemplar: name, value, name, value.
fn push_labels<'a>(
    message: &[u8],
    symbols: &Symbols<'a>,
    labels: &mut Labels<'a>,
) -> Result<Result<(), Refusal>, Malformed> {
    let mut name = None;
    let mut result = Ok(());
    let mut count = 0;
    let mut take = |reference: u64| {
        count += 1;
        match (symbols.get(reference), name.take()) {
            (Ok(value), Some(name)) => labels.push(name, value),
            (Ok(text), None) => name = Some(text),
            (Err(refusal), _) => result = Err(refusal),
        }
    };
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(packed)) => {
                let mut references = Reader::new(packed);
                while !references.rest().is_empty() {
                    take(references.varint()?);
                }
            }
            (1, Field::Varint(reference)) => take(reference),
            _ => {}
        }
    }
    if result.is_ok() && count % 2 == 1 {
        result = Err(Refusal::OddReferences { count });
    }
    Ok(result)
}

fn read_metadata<'a>(message: &[u8], symbols: &Symbols<'a>) -> Result<Metadata<'a>, Malformed> {
    let mut metadata = Metadata::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        let (5, Field::Bytes(bytes)) = (number, field) else { continue };
        let mut fields = Reader::new(bytes);
        while let Some((number, field)) = fields.next_field()? {
            match (number, field) {
                (1, Field::Varint(code)) => metadata.metric_type = metric_type(code),
                (3, Field::Varint(reference)) => metadata.help = symbols.get(reference).map_or("", text),
                (4, Field::Varint(reference)) => metadata.unit = symbols.get(reference).map_or("", text),
                _ => {}
            }
        }
    }
    Ok(metadata)
}
