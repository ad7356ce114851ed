//! The receiver's counters as metrics.

use throughline_api::metrics::{Family, label};
use throughline_receive::{ReceiveStats, SignalStats};

/// All of them.
pub fn families(stats: &ReceiveStats) -> Vec<Family> {
    let of = |read: fn(&SignalStats) -> u64| {
        stats.signals.iter().map(|signal| (labels(signal), read(signal) as f64)).collect::<Vec<_>>()
    };
    let mut refusals: Vec<(String, f64)> = Vec::new();
    for signal in &stats.signals {
        let each = signal.refusals.iter();
        refusals.extend(
            each.map(|(cause, n)| (format!("{},{}", labels(signal), label("cause", cause)), *n as f64)),
        );
    }
    for (transport, cause, n) in &stats.unrouted {
        let transport = label("transport", transport.name());
        refusals.push((format!("signal=\"\",{transport},{}", label("cause", cause)), *n as f64));
    }
    let refused = "Connections that were closed at once because there were too many.";
    let timed_out = "Connections that were closed because they were slow or idle.";
    vec![
        Family::counter("throughline_receiver_requests_total", "Requests that began.", of(|s| s.requests)),
        Family::counter(
            "throughline_receiver_accepted_items_total",
            "Items that are stored.",
            of(|s| s.accepted_items),
        ),
        Family::counter(
            "throughline_receiver_refused_items_total",
            "Items rejected one by one.",
            of(|s| s.refused_items),
        ),
        Family::counter(
            "throughline_receiver_body_bytes_total",
            "Bytes of bodies as they came.",
            of(|s| s.bytes),
        ),
        Family::gauge("throughline_receiver_requests_in_flight", "Requests in work.", of(|s| s.in_flight)),
        Family::counter("throughline_receiver_refusals_total", "Requests refused whole, by cause.", refusals),
        Family::value(
            "throughline_receiver_in_flight_bytes",
            "Bytes of requests in work.",
            stats.in_flight_bytes as f64,
        ),
        Family::value(
            "throughline_receiver_in_flight_bytes_max",
            "The most there may be.",
            stats.in_flight_bytes_max as f64,
        ),
        Family::value("throughline_receiver_connections", "Open connections.", stats.connections as f64),
        Family::value(
            "throughline_receiver_connections_max",
            "The most there may be.",
            stats.connections_max as f64,
        ),
        Family::total(
            "throughline_receiver_connections_refused_total",
            refused,
            stats.connections_refused as f64,
        ),
        Family::total(
            "throughline_receiver_connections_timed_out_total",
            timed_out,
            stats.connections_timed_out as f64,
        ),
    ]
}

fn labels(stats: &SignalStats) -> String {
    format!("{},{}", label("signal", stats.signal.name()), label("transport", stats.transport.name()))
}
