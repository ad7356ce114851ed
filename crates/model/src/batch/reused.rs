//! Columns that a builder fills again and again: a batch gets copies of exactly the bytes that it has, so that what waits
//! in memory has no slack, and the builder keeps its room.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Bytes of a column that are kept for the next batch: those of an ordinary request.
const KEPT_BYTES: usize = 1 << 20;

/// Empties a column; what an unusual batch made of it is given back.
pub(super) fn empty<T>(column: &mut Vec<T>) {
    column.clear();
    column.shrink_to(KEPT_BYTES / size_of::<T>());
}

/// The values of a column, which is empty afterwards.
pub(super) fn taken<T: Copy>(column: &mut Vec<T>) -> Vec<T> {
    let exact = column.as_slice().to_vec();
    empty(column);
    exact
}

/// A column of texts or bytes.
#[derive(Default)]
pub(super) struct BytesColumn {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl BytesColumn {
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as i32);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        empty(&mut self.bytes);
        empty(&mut self.ends);
    }

    /// Offsets and bytes.
    fn buffers(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        let bytes = Buffer::from_slice_ref(self.bytes.as_slice());
        self.clear();
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes)
    }

    /// Which rows are not empty; `None` if all are.
    fn present(&self) -> Option<NullBuffer> {
        let mut before = 0;
        let present = self.ends.iter().map(|end| *end != std::mem::replace(&mut before, *end));
        Some(NullBuffer::from_iter(present)).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn text(&mut self) -> ArrayRef {
        let (offsets, bytes) = self.buffers();
        Arc::new(StringArray::new(offsets, bytes, None))
    }

    pub(super) fn binary(&mut self) -> ArrayRef {
        let (offsets, bytes) = self.buffers();
        Arc::new(BinaryArray::new(offsets, bytes, None))
    }

    /// The column with nulls where no value is present.
    pub(super) fn binary_where(&mut self, present: &[bool]) -> ArrayRef {
        if !present.contains(&true) {
            self.clear();
            return Arc::new(BinaryArray::new_null(present.len()));
        }
        let nulls = Some(NullBuffer::from(present)).filter(|nulls| nulls.null_count() > 0);
        let (offsets, bytes) = self.buffers();
        Arc::new(BinaryArray::new(offsets, bytes, nulls))
    }

    /// The column with nulls in place of empty texts.
    pub(super) fn some_text(&mut self) -> ArrayRef {
        let n_rows = self.ends.len();
        if self.bytes.is_empty() {
            self.clear();
            return Arc::new(StringArray::new_null(n_rows));
        }
        let nulls = self.present();
        let (offsets, bytes) = self.buffers();
        Arc::new(StringArray::new(offsets, bytes, nulls))
    }

    /// The column with nulls in place of empty values.
    pub(super) fn some_binary(&mut self) -> ArrayRef {
        let n_rows = self.ends.len();
        if self.bytes.is_empty() {
            self.clear();
            return Arc::new(BinaryArray::new_null(n_rows));
        }
        let nulls = self.present();
        let (offsets, bytes) = self.buffers();
        Arc::new(BinaryArray::new(offsets, bytes, nulls))
    }
}

/// A column of ids, of which some may be absent.
#[derive(Default)]
pub(super) struct IdColumn<const N: usize> {
    bytes: Vec<u8>,
    present: Vec<bool>,
}

impl<const N: usize> IdColumn<N> {
    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8; N]>) {
        self.bytes.extend_from_slice(value.unwrap_or(&[0; N]));
        self.present.push(value.is_some());
    }

    pub(super) fn clear(&mut self) {
        empty(&mut self.bytes);
        empty(&mut self.present);
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = Some(NullBuffer::from(self.present.as_slice())).filter(|nulls| nulls.null_count() > 0);
        let bytes = Buffer::from_slice_ref(self.bytes.as_slice());
        self.clear();
        Arc::new(FixedSizeBinaryArray::new(N as i32, bytes, nulls))
    }
}
