//! Pins: traces that stay until somebody unpins them. They are in the manifest.

use throughline_model::TraceId;

use super::{Engine, lock};
use crate::error::Error;
use crate::sample::{Decisions, PINS_MAX, Pin};

impl Engine {
    /// Pins a trace; a note of before is replaced. Whether the trace is here is for the caller to ask.
    pub fn pin(&self, trace_id: TraceId, note: &str) -> Result<Pin, Error> {
        let known = lock(&self.manifest).manifest.decisions.pins.clone();
        let is_known = known.iter().any(|pin| pin.trace_id == trace_id);
        if known.len() >= PINS_MAX && !is_known {
            return Err(Error::TooManyPins { limit: PINS_MAX });
        }
        let pin = Pin { trace_id, at: self.clock.now(), note: note.to_owned() };
        let added = pin.clone();
        self.edit_manifest(
            |manifest| {
                let pins = &mut manifest.decisions.pins;
                pins.retain(|pin| pin.trace_id != trace_id);
                pins.push(added);
            },
            Vec::new(),
            |_| {},
        )?;
        Ok(pin)
    }

    /// Unpins a trace; false if it was not pinned. It goes when policies say so, or with the next block that retention removes.
    pub fn unpin(&self, trace_id: TraceId) -> Result<bool, Error> {
        let is_pinned = |pin: &Pin| pin.trace_id == trace_id;
        if !lock(&self.manifest).manifest.decisions.pins.iter().any(is_pinned) {
            return Ok(false);
        }
        self.edit_manifest(
            |manifest| manifest.decisions.pins.retain(|pin| !is_pinned(pin)),
            Vec::new(),
            |_| {},
        )?;
        Ok(true)
    }

    /// What sampling dropped and what is held.
    pub fn decisions(&self) -> Decisions {
        lock(&self.manifest).manifest.decisions.clone()
    }
}
