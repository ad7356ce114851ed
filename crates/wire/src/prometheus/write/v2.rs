//! Remote write 2.0: texts stand once per request, in a table of symbols; metadata is with each series.

use throughline_model::label;
use throughline_model::protobuf::{Field, Malformed, Reader};

use super::v1::{metric_type, text};
use super::{Contents, Layout, Walk};
use crate::prometheus::refusal::Refusal;
use crate::prometheus::sink::{Metadata, Sink};

const LAYOUT: Layout = Layout { samples: 2, histograms: 3, exemplars: 4, refuses_empty: true };
const LABELS: u32 = 1;
const METADATA: u32 = 5;

pub(super) fn walk(body: &[u8], walk: &mut Walk<'_>) -> Result<(), Malformed> {
    let symbols = Symbols::read(body)?;
    let mut labels = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (5, Field::Bytes(message)) = (number, field) else { continue };
        labels.clear();
        let (contents, metadata) = split(message, &symbols)?;
        match symbols.write_labels(message, &mut labels, &mut walk.sink)?.and_then(|()| symbols.check()) {
            Ok(()) => {
                let write = |exemplar: &[u8], written: &mut Vec<u8>, sink: &mut Sink<'_>| {
                    symbols.write_labels(exemplar, written, sink)
                };
                walk.take(message, &labels, contents, &LAYOUT, &metadata, write)?;
            }
            Err(refusal) => walk.refuse_series(contents, refusal),
        }
        walk.index += 1;
    }
    Ok(())
}

/// What a series has beside its labels.
#[inline]
fn split<'a>(message: &[u8], symbols: &Symbols<'a>) -> Result<(Contents, Metadata<'a>), Malformed> {
    let (mut contents, mut metadata) = (Contents::default(), Metadata::default());
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (METADATA, Field::Bytes(bytes)) => read_metadata(bytes, symbols, &mut metadata)?,
            (number, Field::Bytes(_)) => contents.count(number, &LAYOUT),
            _ => {}
        }
    }
    Ok((contents, metadata))
}

fn read_metadata<'a>(
    message: &[u8],
    symbols: &Symbols<'a>,
    metadata: &mut Metadata<'a>,
) -> Result<(), Malformed> {
    let mut fields = Reader::new(message);
    while let Some((number, field)) = fields.next_field()? {
        match (number, field) {
            (1, Field::Varint(code)) => metadata.metric_type = metric_type(code),
            (3, Field::Varint(reference)) => metadata.help = symbols.describing(reference),
            (4, Field::Varint(reference)) => metadata.unit = symbols.describing(reference),
            _ => {}
        }
    }
    Ok(())
}

/// The longest help text or unit that is kept: it is checked and copied with each series that refers to it.
const DESCRIBING_BYTES_MAX: usize = 4 << 10;

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

    #[inline]
    fn get(&self, reference: u64) -> Result<&'a [u8], Refusal> {
        let found = usize::try_from(reference).ok().and_then(|at| self.texts.get(at));
        found.copied().ok_or(Refusal::SymbolReference { reference, symbols: self.texts.len() })
    }

    fn describing(&self, reference: u64) -> &'a str {
        let bytes = self.get(reference).unwrap_or_default();
        if bytes.len() > DESCRIBING_BYTES_MAX { "" } else { text(bytes) }
    }

    /// Writes labels as `Label` messages. References are field 1 of a series and of an exemplar: name, value, name,
    /// value.
    #[inline]
    fn write_labels(
        &self,
        message: &[u8],
        out: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> Result<Result<(), Refusal>, Malformed> {
        let mut pairs = Pairs { symbols: self, out, sink, name: None, count: 0, result: Ok(()) };
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (LABELS, Field::Bytes(packed)) => {
                    let mut references = Reader::new(packed);
                    while !references.rest().is_empty() {
                        pairs.take(references.varint()?);
                    }
                }
                (LABELS, Field::Varint(reference)) => pairs.take(reference),
                _ => {}
            }
        }
        Ok(pairs.finish())
    }
}

/// References on their way to labels.
struct Pairs<'p, 'a, 's> {
    symbols: &'p Symbols<'a>,
    out: &'p mut Vec<u8>,
    sink: &'p mut Sink<'s>,
    name: Option<&'a [u8]>,
    count: usize,
    result: Result<(), Refusal>,
}

impl Pairs<'_, '_, '_> {
    #[inline]
    fn take(&mut self, reference: u64) {
        self.count += 1;
        if self.result.is_err() {
            return;
        }
        match (self.symbols.get(reference), self.name.take()) {
            (Ok(text), None) => self.name = Some(text),
            (Ok(value), Some(name)) => {
                // Counted before it is copied: a reference of a byte may be to a text of a megabyte.
                self.result = self.sink.count_text(name.len() + value.len());
                if self.result.is_ok() {
                    label::push(self.out, name, value);
                }
            }
            (Err(refusal), _) => self.result = Err(refusal),
        }
    }

    fn finish(self) -> Result<(), Refusal> {
        if self.count % 2 == 1 {
            return Err(Refusal::OddReferences { count: self.count });
        }
        self.result
    }
}
