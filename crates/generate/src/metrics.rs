//! Metric data points: 90 series an instance, scraped every 15 seconds, one in six a histogram whose point
//! carries an exemplar that leads to a trace of the same generator.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, metric::Data, number_data_point,
};
use prost::Message as _;

use crate::batches::{Batches, Groups};
use crate::catalog::{self, CATALOG, INSTANCES, INSTANCES_PER_SERVICE, SERVICES, int, text};
use crate::plan::{MARGIN_NS, Work};
use crate::random::Random;
use crate::spans::scope;
use crate::{Generator, Request, Signal};

/// Series of one instance.
pub const SERIES_PER_INSTANCE: usize = 90;
/// All series.
pub const SERIES: usize = INSTANCES * SERIES_PER_INSTANCE;
/// Points of each series, when enough points are asked for.
pub const STEPS: u64 = 24;
/// Time between two points of a series.
const STEP_NS: u64 = 15_000_000_000;
/// How long before the first point the processes started.
const UPTIME_NS: u64 = 7_200_000_000_000;
/// The default bucket bounds of OpenTelemetry, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// How many traces are looked through for one in which the service of a histogram takes part.
const EXEMPLAR_TRIES: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// One series of a service; all of its instances have it.
struct SeriesShape {
    metric: &'static str,
    unit: &'static str,
    kind: Kind,
    attributes: Vec<KeyValue>,
}

/// The running value of one series.
#[derive(Clone, Default)]
struct State {
    value: f64,
    sum: f64,
    /// Smallest and largest value so far.
    range: Option<(f64, f64)>,
    buckets: [u64; BOUNDS.len() + 1],
}

/// A point on its way into a request.
pub struct Point {
    series: usize,
    data: PointData,
}

enum PointData {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

/// The requests of all data points, oldest first.
pub struct MetricRequests<'a> {
    generator: &'a Generator,
    shapes: Vec<Vec<SeriesShape>>,
    states: Vec<State>,
    steps: u64,
    /// Points made, and how many are wanted.
    made: u64,
    points: u64,
    batches: Batches<Point>,
}

impl<'a> MetricRequests<'a> {
    pub(crate) fn new(generator: &'a Generator, points: u64) -> MetricRequests<'a> {
        let series = (points / STEPS).clamp(1, SERIES as u64);
        MetricRequests {
            generator,
            shapes: (0..SERVICES).map(shapes).collect(),
            states: vec![State::default(); series as usize],
            steps: points.div_ceil(series),
            made: 0,
            points,
            batches: Batches::new(),
        }
    }

    fn advance(&mut self) {
        let series = (self.made % self.states.len() as u64) as usize;
        let step = self.made / self.states.len() as u64;
        let last_ns = self.generator.base_time_ns.saturating_sub(MARGIN_NS);
        let time_ns = last_ns.saturating_sub((self.steps - 1 - step) * STEP_NS);
        let start_ns = last_ns.saturating_sub(self.steps * STEP_NS + UPTIME_NS);
        let instance = series / SERIES_PER_INSTANCE;
        let shape = &self.shapes[instance / INSTANCES_PER_SERVICE][series % SERIES_PER_INSTANCE];
        let mut random = Random::of(self.generator.seed, 0x3e7, self.made);
        let attributes = shape.attributes.clone();
        let state = &mut self.states[series];
        let data = match shape.kind {
            Kind::Histogram => {
                let exemplar =
                    exemplar_of(self.generator, instance / INSTANCES_PER_SERVICE, time_ns, &mut random);
                PointData::Histogram(histogram_point(
                    state,
                    exemplar,
                    attributes,
                    start_ns,
                    time_ns,
                    &mut random,
                ))
            }
            kind => PointData::Number(number_point(state, kind, attributes, start_ns, time_ns, &mut random)),
        };
        self.made += 1;
        self.batches.push(instance, Point { series: series % SERIES_PER_INSTANCE, data });
    }

    fn encode(&self, groups: Groups<Point>) -> Request {
        let items = groups.iter().map(|(_, points)| points.len()).sum();
        let resource_metrics = groups
            .into_iter()
            .map(|(instance, points)| {
                let metrics = metrics_of(&self.shapes[instance / INSTANCES_PER_SERVICE], points);
                ResourceMetrics {
                    resource: Some(self.generator.resource(instance)),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope(instance)),
                        metrics,
                        ..ScopeMetrics::default()
                    }],
                    ..ResourceMetrics::default()
                }
            })
            .collect();
        Request {
            signal: Signal::Metrics,
            body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(),
            items,
        }
    }
}

impl Iterator for MetricRequests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(groups) = self.batches.pop() {
                return Some(self.encode(groups));
            }
            if self.made == self.points {
                return self.batches.drain().map(|groups| self.encode(groups));
            }
            self.advance();
        }
    }
}

/// Points of the same metric that follow each other lie in one metric of the request.
fn metrics_of(shapes: &[SeriesShape], points: Vec<Point>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for point in points {
        let shape = &shapes[point.series];
        if metrics.last().is_none_or(|metric| metric.name != shape.metric) {
            let temporality = AggregationTemporality::Cumulative as i32;
            let data = match shape.kind {
                Kind::Gauge => Data::Gauge(Gauge::default()),
                Kind::Counter => Data::Sum(Sum {
                    aggregation_temporality: temporality,
                    is_monotonic: true,
                    ..Sum::default()
                }),
                Kind::Histogram => Data::Histogram(Histogram {
                    aggregation_temporality: temporality,
                    ..Histogram::default()
                }),
            };
            let (name, unit) = (shape.metric.to_owned(), shape.unit.to_owned());
            let description = format!("{} as the instrumentation library measures it", shape.metric);
            metrics.push(Metric { name, description, unit, data: Some(data), ..Metric::default() });
        }
        match (metrics.last_mut().and_then(|metric| metric.data.as_mut()), point.data) {
            (Some(Data::Gauge(gauge)), PointData::Number(point)) => gauge.data_points.push(point),
            (Some(Data::Sum(sum)), PointData::Number(point)) => sum.data_points.push(point),
            (Some(Data::Histogram(histogram)), PointData::Histogram(point)) => {
                histogram.data_points.push(point)
            }
            _ => unreachable!("a series has points of one kind only"),
        }
    }
    metrics
}

fn number_point(
    state: &mut State,
    kind: Kind,
    attributes: Vec<KeyValue>,
    start_ns: u64,
    time_ns: u64,
    random: &mut Random,
) -> NumberDataPoint {
    let (start_time_unix_nano, value) = match kind {
        Kind::Counter => {
            state.value += random.skewed(900) as f64;
            (start_ns, number_data_point::Value::AsInt(state.value as i64))
        }
        _ => {
            if state.value == 0.0 {
                state.value = (random.tail() * 400.0).round();
            }
            // Most gauges move a little between two scrapes, and many do not move at all.
            if random.chance(0.7) {
                state.value = (state.value + (random.fraction() - 0.5) * 20.0).max(1.0).round();
            }
            (0, number_data_point::Value::AsDouble(state.value))
        }
    };
    NumberDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano: time_ns,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram_point(
    state: &mut State,
    exemplar: Option<Exemplar>,
    attributes: Vec<KeyValue>,
    start_ns: u64,
    time_ns: u64,
    random: &mut Random,
) -> HistogramDataPoint {
    for _ in 0..random.skewed(40) {
        let value = random.tail() * 0.012;
        state.sum += value;
        state.range = Some(state.range.map_or((value, value), |(min, max)| (min.min(value), max.max(value))));
        state.buckets[BOUNDS.partition_point(|bound| *bound < value)] += 1;
    }
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start_ns,
        time_unix_nano: time_ns,
        count: state.buckets.iter().sum(),
        sum: Some(state.sum),
        bucket_counts: state.buckets.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        exemplars: exemplar.into_iter().collect(),
        min: state.range.map(|(min, _)| min),
        max: state.range.map(|(_, max)| max),
        ..HistogramDataPoint::default()
    }
}

/// An exemplar of the 15 seconds before a point: a served request of the service, with the ids of its span.
fn exemplar_of(generator: &Generator, service: usize, time_ns: u64, random: &mut Random) -> Option<Exemplar> {
    let newest_ns = generator.base_time_ns.saturating_sub(MARGIN_NS);
    let per_step = (STEP_NS / generator.interval_ns).max(1);
    let first = newest_ns.saturating_sub(time_ns) / generator.interval_ns + 1;
    let mut found = None;
    for _ in 0..EXEMPLAR_TRIES {
        let plan = generator.plan(generator.in_pool(first + random.below(per_step)));
        let served = plan
            .spans
            .iter()
            .find(|span| span.service == service && matches!(span.work, Work::Serve { .. }))
            .map(|span| (plan.trace_id, span.id, span.duration_ns, span.start_ns + span.duration_ns));
        let root = plan.spans.first().map(|span| (plan.trace_id, span.id, span.duration_ns, span.start_ns));
        found = served.or(root);
        if served.is_some() {
            break;
        }
    }
    let (trace_id, span_id, duration_ns, end_ns) = found?;
    Some(Exemplar {
        time_unix_nano: end_ns.min(time_ns),
        span_id: span_id.to_be_bytes().to_vec(),
        trace_id: trace_id.to_vec(),
        value: Some(exemplar::Value::AsDouble(duration_ns as f64 / 1e9)),
        ..Exemplar::default()
    })
}

/// The 90 series of every instance of a service.
fn shapes(service: usize) -> Vec<SeriesShape> {
    let mut shapes = Vec::with_capacity(SERIES_PER_INSTANCE);
    let mut add =
        |metric, unit, kind, attributes| shapes.push(SeriesShape { metric, unit, kind, attributes });
    for (metric, unit, kind) in [
        ("http.server.request.duration", "s", Kind::Histogram),
        ("http.server.response.count", "{response}", Kind::Counter),
    ] {
        for (route, status) in (0..5).flat_map(|route| [200, 404, 500].map(|status| (route, status))) {
            let (method, route) = catalog::route(service, route);
            let method = text("http.request.method", method);
            add(
                metric,
                unit,
                kind,
                vec![method, text("http.route", route), int("http.response.status_code", status)],
            );
        }
    }
    let database = &CATALOG[service].database;
    for (operation, table) in
        ["SELECT", "UPDATE", "INSERT", "DELETE"].iter().flat_map(|o| database.tables.map(|t| (o, t)))
    {
        let attributes = vec![
            text("db.system.name", database.system),
            text("db.operation.name", *operation),
            text("db.collection.name", table),
            text("server.address", format!("{}-0.db.internal", database.system)),
        ];
        add("db.client.operation.count", "{operation}", Kind::Counter, attributes);
    }
    for (device, direction) in
        ["eth0", "eth1", "lo"].iter().flat_map(|d| ["receive", "transmit"].map(|x| (d, x)))
    {
        let attributes =
            vec![text("network.interface.name", *device), text("network.io.direction", direction)];
        add("system.network.io", "By", Kind::Counter, attributes);
    }
    for (pool, state) in (0..6).flat_map(|pool| ["idle", "used"].map(|state| (pool, state))) {
        let pool = text("db.client.connection.pool.name", format!("{}-{pool}", database.namespace));
        let attributes =
            vec![pool, text("db.client.connection.state", state), text("db.system.name", database.system)];
        add("db.client.connection.count", "{connection}", Kind::Gauge, attributes);
    }
    for (area, kind) in MEMORY_AREAS.iter().flat_map(|area| ["heap", "non_heap"].map(|kind| (area, kind))) {
        let attributes = vec![text("process.memory.pool.name", *area), text("process.memory.type", kind)];
        add("process.memory.used", "By", Kind::Gauge, attributes);
    }
    for queue in 0..12 {
        let attributes = vec![
            text("messaging.system", "kafka"),
            text("messaging.destination.name", format!("{}-{queue}", database.namespace)),
            text("messaging.consumer.group.name", format!("{}-workers", CATALOG[service].name)),
        ];
        add("messaging.queue.depth", "{message}", Kind::Gauge, attributes);
    }
    for state in ["running", "sleeping", "blocked", "waiting", "idle", "stopped"] {
        add("process.thread.count", "{thread}", Kind::Gauge, vec![text("process.thread.state", state)]);
    }
    debug_assert_eq!(shapes.len(), SERIES_PER_INSTANCE);
    shapes
}

const MEMORY_AREAS: [&str; 6] = ["eden", "survivor", "old", "metaspace", "code", "buffers"];
