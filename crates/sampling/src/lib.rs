//! Tail sampling: which traces stay, decided over a whole trace and what refers to it.
//!
//! Policies are those of the Collector's `tail_sampling` processor, and five of our own ([`policy`]). [`Sampler`] decides
//! as the processor does: a `drop` policy that fires has the last word, else the trace stays if any other policy wants it.
//! It reads no clock and draws no lots: chance is a hash of the trace's id, time is a parameter, and what it remembers is
//! how much of a rate is spent. So that what stays can be counted, a decision says how many traces the one that stays
//! stands for.
//!
//! Who holds the spans decides when to ask and what to read: [`Sampler::needs`] says which parts of spans the policies
//! look at. [`routes`] are the durations that "slow for its route" compares with.

pub mod ottl;
pub mod policy;
pub mod routes;
pub mod sampler;

pub use policy::{Kind, Policy, PolicyError, production};
pub use routes::{Durations, Routes};
pub use sampler::{Decision, Evidence, Hold, Needs, Sampler, Trace};
