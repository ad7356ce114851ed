//! Finds the trace context of a log record.
