//! Configurations that are taken, and what is said of those that are not.

use super::*;

fn read(text: &str) -> Result<Config, Vec<String>> {
    let env = |name: &str| (name == "HOST").then(|| "127.0.0.2".to_owned());
    parse(text, &env).map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

/// Every problem must be among those found, in order.
fn check(text: &str, expected: &[&str]) {
    assert_eq!(read(text).err().unwrap_or_default(), expected, "{text}");
}

#[test]
fn a_whole_file_is_taken() {
    let text = "
receivers:
  otlp/in:
    protocols:
      grpc:
        endpoint: ${env:HOST}:14317
        max_recv_msg_size_mib: 16
      http: {endpoint: 'localhost:0'}
processors: {}
service:
  pipelines:
    traces: {receivers: [otlp/in]}
    metrics: {receivers: [otlp/in]}
    logs/all:
      receivers: [otlp/in]
throughline:
  data_dir: /var/lib/throughline
  durability: os
  api: {endpoint: ':4320'}
  limits: {in_flight_size: 512MiB, future: 1m}
  memtable: {size: 32MiB, age: 10s}
  retention: {age: 30d, disk_budget: 10GiB}
";
    let config = read(text).expect("taken");
    assert_eq!(config.otlp.grpc, Some(([127, 0, 0, 2], 14317).into()));
    assert_eq!(config.otlp.http.map(|address| address.port()), Some(0));
    assert_eq!(config.otlp.request_bytes_max, 64 << 20);
    assert_eq!(config.durability, Durability::Os);
    assert_eq!(config.retention.disk_budget_bytes, Some(10 << 30));
    assert_eq!(config.retention.age, Duration::from_secs(30 * 86_400));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].starts_with("api listens on 0.0.0.0:4320, which is not loopback"));
}

#[test]
fn only_a_present_protocol_is_on() {
    let config = read("receivers: {otlp: {protocols: {grpc: }}}").expect("taken");
    assert_eq!((config.otlp.grpc, config.otlp.http), (Config::default().otlp.grpc, None));
    assert_eq!(read("receivers: {otlp: }").expect("taken").otlp, Config::default().otlp);
}

#[test]
fn receivers_of_other_systems_are_off_unless_configured() {
    assert_eq!(Config::default().otlp.spans, SpanReceivers::default());
    let text = "
receivers:
  jaeger: {protocols: {grpc: , thrift_http: {endpoint: 'localhost:0'}}}
  zipkin/old:
service: {pipelines: {traces: {receivers: [jaeger, zipkin/old]}}}
";
    let spans = read(text).expect("taken").otlp.spans;
    assert_eq!(spans.jaeger_grpc, Some(([127, 0, 0, 1], 14250).into()));
    assert_eq!(spans.jaeger_http.map(|address| address.port()), Some(0));
    assert_eq!(spans.zipkin, Some(([127, 0, 0, 1], 9411).into()));
    check(
        "receivers:\n  jaeger:\n    protocols:\n      thrift_compact:\n      grpc: {tls: {}}\n  zipkin: {endpoint: ':4318'}\n",
        &[
            "line 4: receivers::jaeger::protocols::thrift_compact: Thrift over UDP is not supported; let clients send by \
             thrift_http, grpc or OTLP",
            "line 5: receivers::jaeger::protocols::grpc::tls: not supported yet; leave it out",
        ],
    );
    check(
        "receivers: {jaeger: }",
        &["receivers::jaeger::protocols: must specify at least one protocol when using the Jaeger receiver"],
    );
}

#[test]
fn misspelt_keys_are_refused_with_a_suggestion() {
    check(
        "throughline:\n  durabilty: os\n  retention:\n    agee: 1d\n",
        &[
            "line 2: throughline: has invalid keys: durabilty; did you mean durability?",
            "line 4: throughline::retention: has invalid keys: agee; did you mean age?",
        ],
    );
    check("recievers: {}\n", &["line 1: has invalid keys: recievers; did you mean receivers?"]);
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    check(
        "receivers:\n  kafka:\nexporters:\n  debug/x:\nservice:\n  telemetry: {logs: {level: debug}}\n",
        &[
            "line 2: receivers::kafka: unknown type: \"kafka\" for id: \"kafka\" (valid values: [filelog jaeger otlp prometheus \
             zipkin]); the kafka receiver is not supported yet",
            "line 4: exporters::debug/x: the debug exporter is not supported yet; leave it out, and out of the pipelines",
            "line 6: service::telemetry: not supported yet; leave it out",
        ],
    );
}

#[test]
fn pipelines_are_checked_in_the_collectors_words() {
    check(
        "receivers: {otlp: }\nservice:\n  pipelines:\n    trace: {receivers: [otlp]}\n    logs: {receivers: []}\n    \
         metrics: {receivers: [otlp/x], processors: [batch]}\n",
        &[
            "line 4: service::pipelines::trace: unknown signal \"trace\"; did you mean traces?",
            "line 5: service::pipelines::logs: must have at least one receiver",
            "line 6: service::pipelines::metrics: references receiver \"otlp/x\" which is not configured",
            "line 6: service::pipelines::metrics: references processor \"batch\", and processors are not supported yet",
        ],
    );
}

#[test]
fn values_are_refused_with_what_would_be_right() {
    check(
        "throughline:\n  durability: maybe\n  memtable: {size: 5, age: soon}\n  api: {endpoint: nowhere}\n",
        &[
            "line 2: throughline::durability: \"maybe\" is not one of fsync, os",
            "line 3: throughline::memtable::size: 5 is below the least of 1048576 bytes",
            "line 3: throughline::memtable::age: \"soon\" is not a duration: write a number and a unit, such as 30s or 15d",
            "line 4: throughline::api::endpoint: \"nowhere\" is not an endpoint: invalid socket address; write host:port, \
             such as 127.0.0.1:4317",
        ],
    );
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    assert_eq!(
        read("# nothing\n").expect_err("empty"),
        ["cannot unmarshal the configuration: empty configuration file"]
    );
    assert_eq!(read("- a\n").expect_err("a list"), ["line 1: expected a map, got a list"]);
    let broken = read("a: [1\nb: }").expect_err("broken");
    assert!(broken[0].contains("cannot unmarshal the configuration"), "{broken:?}");
    assert!(read("throughline:\n  data_dir: a\n  data_dir: b\n").is_err());
}

#[test]
fn derived_metrics_can_be_configured() {
    let config = read(
        "throughline:\n  derive:\n    interval: 5s\n    dimensions: [http.route, {name: region, default: eu}]\n    \
         histogram_buckets: [5ms, 0.1, 1s]\n    cardinality_limit: 7\n    service_graph: {wait: 3s, peer_attributes: []}\n",
    );
    let derive = config.expect("read").derive.expect("on");
    assert_eq!(derive.interval, Duration::from_secs(5));
    let dimensions: Vec<_> =
        derive.dimensions.iter().map(|d| (d.name.as_str(), d.default.as_deref())).collect();
    assert_eq!(dimensions, [("http.route", None), ("region", Some("eu"))]);
    assert_eq!(derive.histogram_buckets, [0.005, 0.1, 1.0]);
    assert_eq!(derive.cardinality_limit, 7);
    let graph = derive.service_graph.expect("on");
    assert_eq!((graph.wait, graph.peer_attributes.len()), (Duration::from_secs(3), 0));
    let off = read("throughline: {derive: {enabled: false, service_graph: {enabled: false}}}\n");
    assert_eq!(off.expect("read").derive, None);
    check(
        "throughline:\n  derive:\n    dimensions: [{nam: a}]\n    histogram_buckets: [2, 1]\n    interval: 1h\n    \
         service_graph: {dimensions: a, histogram_buckets: [x]}\n",
        &[
            "line 3: throughline::derive::interval: series without a sample for 5 minutes are stale; at most 240s",
            "line 3: throughline::derive::dimensions::name: expected the name of an attribute",
            "line 3: throughline::derive::dimensions: has invalid keys: nam; did you mean name?",
            "line 3: throughline::derive::histogram_buckets: expected at least one bound, each larger than the one before it",
            "line 6: throughline::derive::service_graph::dimensions: expected a list, got text",
            "line 6: throughline::derive::service_graph::histogram_buckets: \"x\" is not a bound: write 5ms or a number of seconds",
            "line 6: throughline::derive::service_graph::histogram_buckets: expected at least one bound, each larger than the one before it",
        ],
    );
}
