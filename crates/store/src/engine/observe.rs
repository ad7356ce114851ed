//! What watches the store: every stored batch, once each, in the order of the log, while it is written and again when
//! it is replayed.
//!
//! Whoever keeps totals of what is stored needs to know, after a crash, which of it they count already. They keep the
//! LSN up to which they counted beside their totals. The engine promises that a frame which a replay does not show any
//! more was settled before ([`Observer::settle`]): nothing is missed, and what is shown twice has the same LSN.

use std::sync::Arc;

use throughline_model::Batch;

use crate::error::Error;

use crate::sample::Sampling;

/// Somebody who watches what is stored. Exact retries and what is rejected are not shown.
pub trait Observer: Send + Sync {
    /// A batch was stored under this LSN. It is called with a lock held that acknowledgements wait for: whoever has work
    /// to do keeps a clone, which shares its columns with the memtable, and does it elsewhere.
    fn stored(&self, lsn: u64, received_at: i64, batch: &Batch);

    /// The replay is over; the next frame has this LSN, or a higher one.
    fn recovered(&self, next_lsn: u64);

    /// Frames below this LSN are about to be removed from the log: what is to survive of them must be durable when this
    /// returns. After an error they stay, and it is called again.
    fn settle(&self, lsn: u64) -> Result<(), Error>;
}

/// Nobody watches.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn stored(&self, _: u64, _: i64, _: &Batch) {}

    fn recovered(&self, _: u64) {}

    fn settle(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// What a store is put together with.
pub struct Parts {
    /// What watches every frame.
    pub observer: Arc<dyn Observer>,
    /// What decides which traces stay; all of them do without.
    pub sampling: Option<Sampling>,
}

impl Default for Parts {
    fn default() -> Self {
        Parts { observer: Arc::new(Unobserved), sampling: None }
    }
}
