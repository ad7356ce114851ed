//! The derivation's counters as metrics.

use throughline_api::metrics::{Family, label};
use throughline_derive::Status;

/// All of them.
pub fn families(status: &Status) -> Vec<Family> {
    let series = status.series.iter().map(|(metric, n)| (label("metric", metric), *n as f64)).collect();
    let overflowed = status.overflowed.iter().map(|(metric, attribute, n)| {
        (format!("{},{}", label("metric", metric), label("attribute", attribute)), *n as f64)
    });
    let sides = [
        ("paired", status.sides.paired * 2),
        ("expired", status.sides.expired),
        ("unpaired", status.sides.unpaired),
        ("dropped", status.sides.dropped),
    ];
    let sides = sides.map(|(outcome, n)| (label("outcome", outcome), n as f64)).to_vec();
    let emissions = vec![
        (label("outcome", "stored"), status.emissions as f64),
        (label("outcome", "failed"), status.failed_emissions as f64),
    ];
    vec![
        Family::total(
            "throughline_derive_spans_total",
            "Spans that metrics were derived from.",
            status.spans as f64,
        ),
        Family::gauge("throughline_derive_series", "Sets of labels of derived metrics.", series),
        Family::counter(
            "throughline_derive_overflow_total",
            "What was counted in overflow series, by metric and the attribute with most values.",
            overflowed.collect(),
        ),
        Family::counter(
            "throughline_derive_sides_total",
            "Spans of one side of a request, by what became of them.",
            sides,
        ),
        Family::value(
            "throughline_derive_waiting_sides",
            "Spans that wait for the other side of their request.",
            status.waiting_sides as f64,
        ),
        Family::value(
            "throughline_derive_waiting_batches",
            "Stored batches that are not counted yet.",
            status.waiting_batches as f64,
        ),
        Family::value(
            "throughline_derive_checkpoint_bytes",
            "The size of the last checkpoint.",
            status.checkpoint_bytes as f64,
        ),
        Family::counter(
            "throughline_derive_emissions_total",
            "Times that derived metrics were written, by outcome.",
            emissions,
        ),
        Family::total(
            "throughline_derive_samples_total",
            "Samples of derived metrics that were stored.",
            status.samples as f64,
        ),
    ]
}
