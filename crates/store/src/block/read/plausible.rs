//! What the footer of a table may say before anything is read or room is made by it.
//!
//! Checksums vouch for the bytes of a file and not for whoever wrote them; and the Parquet library panics over some of what
//! no writer writes. Both are damage here, like any other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::schema::types::ColumnDescPtr;

use crate::block::Table;
use crate::block::tables::LOG_GROUP_ROWS;
use crate::error::Error;

/// Rows of a row group: some times those of the largest that is written.
const GROUP_ROWS_MAX: i64 = 4 * LOG_GROUP_ROWS as i64;
/// Values of a column chunk for each row of its group: more than one where they are lists.
const VALUES_PER_ROW_MAX: i64 = 1 << 12;
/// Rows of a table: their numbers have 32 bits.
const TABLE_ROWS_MAX: i64 = u32::MAX as i64;

/// Bytes of a value of fixed size: some times those of a trace id.
const FIXED_BYTES_MAX: i32 = 64;

/// Says what is wrong with a footer of a file of so many bytes.
pub(super) fn check(metadata: &ParquetMetaData, file_bytes: u64) -> Result<(), &'static str> {
    let leaves = metadata.file_metadata().schema_descr().columns();
    let is_wide = |leaf: &ColumnDescPtr| {
        leaf.physical_type() == Type::FIXED_LEN_BYTE_ARRAY
            && !(0..=FIXED_BYTES_MAX).contains(&leaf.type_length())
    };
    if leaves.iter().any(is_wide) {
        return Err("a column has wider values than are ever written");
    }
    let mut n_rows = 0i64;
    for group in metadata.row_groups() {
        if !(0..=GROUP_ROWS_MAX).contains(&group.num_rows()) {
            return Err("a row group has more rows than are ever written");
        }
        n_rows += group.num_rows();
        if n_rows > TABLE_ROWS_MAX {
            return Err("it has more rows than can be numbered");
        }
        let values_max = group.num_rows() * VALUES_PER_ROW_MAX;
        if group.columns().iter().any(|chunk| !(0..=values_max).contains(&chunk.num_values())) {
            return Err("a column chunk has more values than its row group can have");
        }
        if !group.columns().iter().all(|chunk| lies_within(chunk, file_bytes)) {
            return Err("a column chunk lies outside of the file");
        }
    }
    Ok(())
}

/// The library asserts what is checked here.
fn lies_within(chunk: &ColumnChunkMetaData, file_bytes: u64) -> bool {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let (Ok(start), Ok(bytes)) = (u64::try_from(start), u64::try_from(chunk.compressed_size())) else {
        return false;
    };
    chunk.data_page_offset() >= 0
        && chunk.uncompressed_size() >= 0
        && start.checked_add(bytes).is_some_and(|end| end <= file_bytes)
}

/// Runs a piece of reading; where the library panics over the bytes, that is an error.
pub(super) fn guarded<T>(
    table: Table,
    action: &str,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    // What the closure leaves half done is its own and goes with it.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::Columns {
            action: format!("{action} {}", table.file_name()),
            detail: "its contents are none that a writer writes".to_owned(),
        })
    })
}
