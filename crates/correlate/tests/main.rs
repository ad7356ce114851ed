//! Investigations over stored telemetry: made-up incidents of every kind, none at all, and real ones.

mod filled;
mod incidents;
mod made_up;
