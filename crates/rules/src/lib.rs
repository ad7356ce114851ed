//! Recording and alerting rules as Prometheus evaluates them, and notifications of alerts.
//!
//! 1. [`definition`]: what a rule file says, and what is wrong with it.
//! 2. [`group`]: one evaluation: queries through [`Querier`], [`recording`] and [`alerting`] rules in order, results
//!    through [`Sink`]. [`schedule`] says when.
//! 3. [`outbox`]: notifications that wait for their receivers; [`notification`] is their JSON.
//! 4. [`state`]: alerts and waiting notifications in one small file, so that `kill -9` loses neither.
//! 5. [`overview`]: all of it as plain data, for whoever serves it.
//!
//! No threads, timers, sockets or clocks: whoever assembles the server brings them. The order that makes notifications
//! durable is [`group::Group::evaluate`], then [`state::save`], then [`outbox::Outbox::release`].

pub mod alerting;
pub mod definition;
pub mod duration;
mod expand;
pub mod group;
pub mod notification;
pub mod outbox;
pub mod overview;
pub mod recording;
mod restore;
pub mod sample;
pub mod schedule;
pub mod sink;
pub mod state;

pub use definition::{GroupDefinition, Problem, RuleDefinition};
pub use sample::{Cited, FoundExemplar, Number, Querier, Sample, Sink};

#[cfg(test)]
mod tests;
