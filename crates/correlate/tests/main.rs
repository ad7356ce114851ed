//! Investigations over stored telemetry: made-up incidents of every kind, whole and sampled, with the evidence for each, none at all, and real ones; the doctor over what sampling
//! has left.

mod doctor;
mod evidence;
mod filled;
mod incidents;
mod made_up;
mod sampled;
