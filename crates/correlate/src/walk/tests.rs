//! The walk over a real store.
