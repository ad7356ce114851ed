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
    let (mut labels, mut written) = (Vec::new(), WrittenPairs::for_symbols(symbols.texts.len()));
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (5, Field::Bytes(message)) = (number, field) else { continue };
        labels.clear();
        let (contents, metadata) = split(message, &symbols)?;
        let result = symbols.write_labels(message, &mut labels, &mut written, &mut walk.sink)?;
        match result.and_then(|()| symbols.check()) {
            Ok(()) => {
                let write = |exemplar: &[u8], labels: &mut Vec<u8>, sink: &mut Sink<'_>| {
                    symbols.write_labels(exemplar, labels, &mut WrittenPairs::default(), sink)
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
        written: &mut WrittenPairs,
        sink: &mut Sink<'_>,
    ) -> Result<Result<(), Refusal>, Malformed> {
        let mut pairs = Pairs { symbols: self, out, written, sink, name: None, count: 0, result: Ok(()) };
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

/// Labels that are longer are written anew each time.
const PAIR_BYTES_MAX: usize = 256;

/// Labels that are remembered at once, and their bytes.
const PAIRS_MAX: usize = 4_096;

/// See [`PAIRS_MAX`].
const WRITTEN_BYTES_MAX: usize = 256 << 10;

/// Labels as they were written, by their references: the series of a target share most of theirs, and one copy takes a third
/// of the time of putting a label together.
#[derive(Default)]
struct WrittenPairs {
    /// By references: these, and where the label lies. A power of two, or nothing is remembered.
    places: Vec<(u32, u32, u32, u32)>,
    bytes: Vec<u8>,
}

impl WrittenPairs {
    fn for_symbols(symbols: usize) -> WrittenPairs {
        let places = symbols.next_power_of_two().clamp(64, PAIRS_MAX);
        WrittenPairs { places: vec![(0, 0, 0, 0); places], bytes: Vec::new() }
    }

    /// Where a label lies among [`WrittenPairs::places`].
    #[inline]
    fn slot(&self, name: u32, value: u32) -> usize {
        let mixed = value.wrapping_mul(0x9e37_79b1) ^ name.wrapping_mul(0x85eb_ca77);
        (mixed >> 12) as usize & self.places.len().wrapping_sub(1)
    }

    /// Appends a label with these references.
    #[inline]
    fn push(&mut self, out: &mut Vec<u8>, (name_at, name): (u64, &[u8]), (value_at, value): (u64, &[u8])) {
        // References of symbols that are there are far below 2^32: the body is.
        let (name_at, value_at) = (name_at as u32, value_at as u32);
        let slot = self.slot(name_at, value_at);
        if let Some((of_name, of_value, start, end)) = self.places.get(slot)
            && (*of_name, *of_value) == (name_at, value_at)
            && let Some(label) =
                self.bytes.get(*start as usize..*end as usize).filter(|label| !label.is_empty())
        {
            return out.extend_from_slice(label);
        }
        let start = out.len();
        label::push(out, name, value);
        let label = out.get(start..).unwrap_or_default();
        if self.bytes.len() + label.len() > WRITTEN_BYTES_MAX {
            self.bytes.clear();
            self.places.fill((0, 0, 0, 0));
        }
        let Some(place) = self.places.get_mut(slot).filter(|_| label.len() <= PAIR_BYTES_MAX) else { return };
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(label);
        *place = (name_at, value_at, start, self.bytes.len() as u32);
    }
}

/// References on their way to labels.
struct Pairs<'p, 'a, 's> {
    symbols: &'p Symbols<'a>,
    out: &'p mut Vec<u8>,
    written: &'p mut WrittenPairs,
    sink: &'p mut Sink<'s>,
    name: Option<(u64, &'a [u8])>,
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
            (Ok(text), None) => self.name = Some((reference, text)),
            (Ok(value), Some(name)) => {
                // Counted before it is copied: a reference of a byte may be to a text of a megabyte.
                self.result = self.sink.count_text(name.1.len() + value.len());
                if self.result.is_ok() {
                    self.written.push(self.out, name, (reference, value));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_remembered_are_those_that_were_written() {
        let texts: Vec<Vec<u8>> =
            (0..600usize).map(|n| vec![b'a' + (n % 26) as u8; n % 300 + n / 26]).collect();
        let mut written = WrittenPairs::for_symbols(64);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for n in 0..60_000u64 {
            let (name, value) = (n.wrapping_mul(7) % 40, n.wrapping_mul(n) % 600);
            let text = |at: u64| texts[at as usize].as_slice();
            with.clear();
            without.clear();
            written.push(&mut with, (name, text(name)), (value, text(value)));
            label::push(&mut without, text(name), text(value));
            assert_eq!(with, without, "{name} {value}");
        }
        assert!(written.bytes.len() <= WRITTEN_BYTES_MAX);
        let mut nothing = WrittenPairs::default();
        nothing.push(&mut with, (1, b"name"), (2, b"value"));
        assert!(nothing.bytes.is_empty());
    }
}
