//! The write-ahead log: every accepted request as it was received, durable before it is acknowledged.
//!
//! The log is a row of *segments*, files named by their first LSN, each preallocated so that a sync has no length to
//! write. A segment holds *groups* of *frames*; a group is what one `fdatasync` makes durable, and starts on a page of
//! its own, so that writing it never touches bytes that are acknowledged already. `docs/format/wal.md` draws the bytes.
//!
//! What the reader relies on, and the writer keeps:
//!
//! - A frame's header has a checksum of its own, which covers the payload's: a damaged payload still has a length that
//!   can be trusted, and costs one record. Both are seeded with the store's salt, so that a payload cannot contain what
//!   looks like a frame.
//! - LSNs rise by one. Whatever is missing is a gap, and each frame carries the number of items before it: the loss is
//!   known exactly.
//! - A frame carries the last LSN that was synced when it was written. A gap above all of those was never acknowledged:
//!   a torn write, no loss.
//! - A segment counts only up to the first LSN of the next one. After a failed sync its file is final; what was not
//!   acknowledged is written again to a new segment that starts at the same LSN.
//!
//! Payloads are stored as they came. Compressing those that came plain (lz4, 1.4 GB/s) would cost more CPU per span than
//! the write that it saves, and the page cache takes either at memory speed.

pub mod frame;
mod read;
pub mod segment;
mod write;

pub use frame::{Frame, Kind};
pub use read::{Found, Reader, SegmentEnd};
pub(crate) use write::{Cursor, Start};
pub use write::{Group, Released, Writer};
