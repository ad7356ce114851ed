//! The store from outside: an engine driven by hand on a simulated disk and clock.

mod damage;
mod faults;
mod fsck;
mod harness;
mod mutations;
mod observe;
mod patterns;
mod policies;
mod power_cut;
mod requests;
mod retention;
mod retries;
mod sampling;
mod scrub;
mod span_links;
mod summaries;
mod threads;
