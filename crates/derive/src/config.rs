//! What the derivation is told: plain structs, built by the server.

use std::time::Duration;

/// Values of labels are cut to so many bytes: names of spans and services that are longer are texts, and a series keeps
/// each of them.
pub const LABEL_BYTES_MAX: usize = 512;
/// Histograms have at most so many bounds: each is a series of its own for every set of labels.
pub const BUCKETS_MAX: usize = 64;
/// At most so many dimensions: each multiplies the number of series.
pub const DIMENSIONS_MAX: usize = 16;

/// What is derived from spans, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct DeriveConfig {
    /// How often the values are written.
    pub interval: Duration,
    /// Attributes that become labels of the span metrics, beside service, name, kind and status.
    pub dimensions: Vec<Dimension>,
    /// The upper bounds of the latency histogram, in seconds, ascending.
    pub histogram_buckets: Vec<f64>,
    /// A metric has at most so many sets of labels; what comes beyond is counted under one that says so.
    pub cardinality_limit: usize,
    /// The service graph, if it is wanted.
    pub service_graph: Option<GraphConfig>,
}

/// An attribute that becomes a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// Its key. A span's attribute comes before its resource's.
    pub name: String,
    /// The label's value where neither has it; without one there is no label.
    pub default: Option<String>,
}

/// How requests between services are found.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphConfig {
    /// How long one side of a request waits for the other.
    pub wait: Duration,
    /// How many sides may wait at once.
    pub store_limit: usize,
    /// Attributes that become labels, with `client_` and `server_` before their names. A resource's attribute comes
    /// before a span's.
    pub dimensions: Vec<String>,
    /// Attributes of a client's span that name the other side, where that sends no spans; the first that is there.
    pub peer_attributes: Vec<String>,
    /// The upper bounds of the histograms, in seconds, ascending.
    pub histogram_buckets: Vec<f64>,
}

impl DeriveConfig {
    /// 15 s: what dashboards that scrape Prometheus' way expect of a counter.
    pub const INTERVAL: Duration = Duration::from_secs(15);
    /// 10,000: some 170,000 series of classic histograms, 10 MB of memory, and far more routes than a healthy system
    /// has.
    pub const CARDINALITY_LIMIT: usize = 10_000;
}

impl Default for DeriveConfig {
    fn default() -> Self {
        DeriveConfig {
            interval: Self::INTERVAL,
            dimensions: Vec::new(),
            histogram_buckets: doubling(0.002, 14),
            cardinality_limit: Self::CARDINALITY_LIMIT,
            service_graph: Some(GraphConfig::default()),
        }
    }
}

impl GraphConfig {
    /// 10 s: a client's span ends after the server's, and both senders collect for some seconds.
    pub const WAIT: Duration = Duration::from_secs(10);
    /// 100,000: 10,000 requests a second whose other side never comes; about 20 MB.
    pub const STORE_LIMIT: usize = 100_000;
    /// What names a peer, the surest first.
    pub const PEER_ATTRIBUTES: [&str; 5] =
        ["peer.service", "messaging.destination.name", "messaging.system", "server.address", "net.peer.name"];
}

impl Default for GraphConfig {
    fn default() -> Self {
        GraphConfig {
            wait: Self::WAIT,
            store_limit: Self::STORE_LIMIT,
            dimensions: Vec::new(),
            peer_attributes: Self::PEER_ATTRIBUTES.map(str::to_owned).to_vec(),
            histogram_buckets: doubling(0.1, 8),
        }
    }
}

/// Bounds that double.
fn doubling(first: f64, count: i32) -> Vec<f64> {
    (0..count).map(|n| first * 2f64.powi(n)).collect()
}

/// A label's value, cut where it is too long.
pub(crate) fn label_value(text: &str) -> &str {
    if text.len() <= LABEL_BYTES_MAX {
        return text;
    }
    text.get(..text.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or_default()
}
