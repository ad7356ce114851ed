//! The patterns of a block: of its records, and counted.

use ahash::AHashMap as HashMap;
use throughline_model::PatternId;

use super::{Block, Columns};
use crate::error::Error;
use crate::patterns::learner::own_id;
use crate::patterns::shape;
use crate::patterns::table::PatternTable;

/// The pattern of each shape that is not the first of one, or why they cannot be read.
pub(super) type Aliases = Result<HashMap<PatternId, PatternId>, String>;

impl Block {
    /// The block's table of patterns; `None` in a block from before there were any, and where there are no log records.
    pub(crate) fn pattern_table(&self) -> Result<Option<PatternTable>, Error> {
        let Some(file) = &self.patterns else { return Ok(None) };
        let bytes = file.read(0, usize::try_from(file.bytes()).unwrap_or(usize::MAX))?;
        PatternTable::decode(file.path(), &bytes).map(Some)
    }

    /// Whether it has log records of whose patterns nothing is known.
    pub(crate) fn lacks_patterns(&self) -> bool {
        self.patterns.is_none() && self.meta.rows.logs > 0
    }

    /// The pattern of a record; none where it has no body. Where the table is damaged, a line that joined a pattern has the
    /// id of its own shape, and [`Block::pattern_damage`] says so.
    pub(super) fn pattern_id(&self, columns: &Columns<'_>, row: usize) -> Option<PatternId> {
        let masked = columns.text("pattern", row).filter(|masked| !masked.is_empty())?;
        let mut text = String::new();
        shape::write(masked, &mut text);
        let own = own_id(columns.text("service", row).unwrap_or_default(), &text);
        let aliases = self.aliases().as_ref().ok();
        Some(aliases.and_then(|aliases| aliases.get(&own).copied()).unwrap_or(own))
    }

    /// What joined other patterns, read once.
    pub(super) fn aliases(&self) -> &Aliases {
        self.aliases.get_or_init(|| {
            let table = self.pattern_table().map_err(|error| error.to_string())?;
            Ok(table.map(|table| table.aliases).unwrap_or_default())
        })
    }

    /// Why the pattern ids of records that were read may be wrong.
    pub(crate) fn pattern_damage(&self) -> Option<String> {
        self.aliases().as_ref().err().cloned()
    }
}
