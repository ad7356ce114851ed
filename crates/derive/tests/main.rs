//! The derivation from outside: rules of what is counted, and restarts at any point.

mod graph;
mod restarts;
mod spans;
mod values;
