//! Investigations over stored telemetry: made-up incidents of every kind, whole and sampled, none at all, and real ones; the doctor over what sampling
//! has left.

mod doctor;
mod filled;
mod incidents;
mod made_up;
mod sampled;
