//! The Prometheus API over real sockets: answers to the letter, statuses, parameters, forms.

use std::sync::Arc;

use serde_json::{Value, json};
use throughline_api::states::{
    ActiveTarget, AlertState, AlertingState, RuleGroup, RuleState, StateSource, Targets,
};
use throughline_model::Signal;
use throughline_model::point::MetricType;
use throughline_store::Store;
use throughline_wire::Encoding;
use throughline_wire::prometheus::write::{Exemplar, RequestBuilder, Sample, Series};

use crate::served::{NOW, Served, write};

const NOW_MS: i64 = NOW / 1_000_000;
const NOW_S: i64 = NOW_MS / 1_000;

/// Two counters over ten minutes, a gauge with a UTF-8 name, a bucket with exemplars.
fn fill(store: &Store) {
    let mut builder = RequestBuilder::new();
    let mut add = |labels: &[(&str, &str)], metric_type, rate: f64, exemplars: &[Exemplar<'_>]| {
        let samples: Vec<Sample> = (0..=40)
            .map(|n| Sample { time_ms: NOW_MS - 600_000 + n * 15_000, start_ms: 0, value: rate * n as f64 })
            .collect();
        let series = Series { labels, metric_type, help: "What it is.", unit: "" };
        builder.add(&series, &samples, &[], exemplars);
    };
    add(
        &[("__name__", "http_requests_total"), ("job", "api"), ("code", "200")],
        MetricType::Counter,
        15.0,
        &[],
    );
    add(
        &[("__name__", "http_requests_total"), ("job", "api"), ("code", "500")],
        MetricType::Counter,
        1.5,
        &[],
    );
    add(&[("__name__", "queue.depth"), ("http.status", "200")], MetricType::Gauge, 0.5, &[]);
    let exemplar = Exemplar {
        labels: &[("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("user", "u1")],
        time_ms: NOW_MS - 30_000,
        value: 0.25,
    };
    let bucket = [("__name__", "latency_seconds_bucket"), ("job", "api"), ("le", "0.5")];
    add(&bucket, MetricType::Histogram, 2.0, &[exemplar]);
    write(store, Signal::Metrics, Encoding::RemoteWrite2, builder.finish());
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn post(served: &Served, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let mut response = ureq::Agent::from(config)
        .post(format!("{}{path}", served.base))
        .send_form(form.iter().copied())
        .expect("answered");
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.body_mut().read_to_string().expect("text")).expect("JSON"))
}

#[test]
fn an_instant_query_is_answered_to_the_letter() {
    let served = Served::new(fill);
    let query = encoded("sum by (code) (http_requests_total)");
    let expected = format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"code":"200"}},"value":[{NOW_S},"600"]}},{{"metric":{{"code":"500"}},"value":[{NOW_S},"60"]}}]}}}}"#
    );
    for prefix in ["", "/prometheus"] {
        let (status, text) = served.get_text(&format!("{prefix}/api/v1/query?query={query}"));
        assert_eq!((status, text.as_str()), (200, expected.as_str()));
    }
    let (status, json) = post(&served, "/api/v1/query", &[("query", "1+1"), ("time", "1435781430.781")]);
    assert_eq!(
        (status, &json["data"]),
        (200, &json!({"resultType": "scalar", "result": [1435781430.781, "2"]}))
    );
}

#[test]
fn a_range_query_is_a_matrix_on_the_grid_of_its_start() {
    let served = Served::new(fill);
    let (start, end) = (NOW_S - 60, NOW_S);
    let path = format!(
        "/api/v1/query_range?query=http_requests_total%7Bcode%3D%22200%22%7D&start={start}&end={end}&step=30s"
    );
    let (status, json) = served.get(&path);
    assert_eq!(status, 200, "{json}");
    let expected = json!([{
        "metric": {"__name__": "http_requests_total", "code": "200", "job": "api"},
        "values": [[NOW_S - 60, "540"], [NOW_S - 30, "570"], [NOW_S, "600"]],
    }]);
    assert_eq!(json["data"], json!({"resultType": "matrix", "result": expected}));
    let empty = served.get(&format!("/api/v1/query_range?query=nothing&start={start}&end={end}&step=30"));
    assert_eq!(empty.1["data"]["result"], json!([]));
}

#[test]
fn refusals_have_prometheus_statuses_and_name_the_parameter() {
    let served = Served::new(fill);
    for (path, status, kind, said) in [
        ("query?query=sum(", 400, "bad_data", "invalid parameter \"query\": 1:5: parse error"),
        ("query?query=up&time=noon", 400, "bad_data", "invalid parameter \"time\""),
        (
            "query_range?query=up&start=10&end=5&step=1",
            400,
            "bad_data",
            "end timestamp must not be before start time",
        ),
        ("query_range?query=up&start=0&end=5&step=0", 400, "bad_data", "zero or negative query resolution"),
        (
            "query_range?query=up&start=0&end=12000&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000",
        ),
        (
            "query_range?query=up[5m]&start=0&end=5&step=1",
            400,
            "bad_data",
            "must be Scalar or instant Vector",
        ),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        (
            "series?match[]=%7Ba%3D~%22.*%22%7D",
            400,
            "bad_data",
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
        (
            "query?query=label_replace(http_requests_total,%22code%22,%22x%22,%22job%22,%22.*%22)",
            422,
            "execution",
            "same labelset",
        ),
        ("rules?type=other", 400, "bad_data", "type"),
    ] {
        let (found, json) = served.get(&format!("/api/v1/{path}"));
        assert_eq!((found, json["errorType"].as_str()), (status, Some(kind)), "{path}: {json}");
        assert!(json["error"].as_str().unwrap().contains(said), "{path}: {json}");
        assert_eq!(json["status"], "error");
    }
}

#[test]
fn parameters_that_cannot_be_read_are_refused_in_prometheus_words() {
    let served = Served::new(fill);
    for (path, status, kind, said) in [
        (
            "query_range?query=up&end=5&step=1",
            400,
            "bad_data",
            "invalid parameter \"start\": cannot parse \"\" to",
        ),
        (
            "query?query=up&time=noon",
            400,
            "bad_data",
            "invalid time value for 'time': cannot parse \"noon\" to",
        ),
        (
            "query?query=up&limit=-1",
            400,
            "bad_data",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        ("query?query=up&lookback_delta=x", 400, "bad_data", "error parsing lookback delta duration"),
        ("query?query=up&timeout=x", 400, "bad_data", "invalid parameter \"timeout\""),
        ("metadata?limit=x", 400, "bad_data", "limit must be a number"),
        ("status/tsdb?limit=0", 400, "bad_data", "limit must be a positive number"),
        ("status/tsdb?limit=10001", 400, "bad_data", "limit must not exceed 10000"),
        ("rules?group_next_token=1", 400, "bad_data", "group_limit"),
        ("rules?exclude_alerts=x", 400, "bad_data", "exclude_alerts"),
        ("labels?match[]=%7Ba%3D~%22.*%22%7D", 400, "bad_data", "match[] must contain at least one"),
        ("labels?match[]=%7B", 400, "bad_data", "parse error"),
        ("label/%20/values?limit=x", 400, "bad_data", "invalid parameter \"limit\""),
    ] {
        let (found, json) = served.get(&format!("/api/v1/{path}"));
        assert_eq!((found, json["errorType"].as_str()), (status, Some(kind)), "{path}: {json}");
        assert!(json["error"].as_str().unwrap().contains(said), "{path}: {json}");
    }
}

#[test]
fn listings_name_what_is_there() {
    let served = Served::new(fill);
    let data = |path: &str| served.get(&format!("/api/v1/{path}")).1["data"].clone();
    assert_eq!(data("labels"), json!(["__name__", "code", "http.status", "job", "le"]));
    assert_eq!(data("label/code/values"), json!(["200", "500"]));
    assert_eq!(data("label/U__http_2e_status/values"), json!(["200"]));
    assert_eq!(data("label/none/values"), json!([]));
    assert_eq!(
        data("series?match[]=http_requests_total%7Bcode!%3D%22500%22%7D"),
        json!([{"__name__": "http_requests_total", "code": "200", "job": "api"}])
    );
    let (_, limited) = served.get("/api/v1/label/code/values?limit=1");
    assert_eq!(limited["data"], json!(["200"]));
    assert_eq!(limited["warnings"], json!(["results truncated due to limit"]));
    assert_eq!(
        data("metadata?metric=latency_seconds"),
        json!({"latency_seconds": [{"type": "histogram", "help": "What it is.", "unit": ""}]})
    );
    assert_eq!(data("label/code/values?start=1&end=2"), json!([]));
    assert_eq!(data("labels?start=2&end=1"), json!([]));
    assert_eq!(data("metadata?limit=0"), json!({}));
    assert_eq!(data("metadata?limit=-1").as_object().unwrap().len(), 3);
    assert_eq!(data("targets/metadata?match_target=%7Bjob%3D%22x%22%7D"), json!([]));
    assert_eq!(data("status/tsdb")["headStats"]["numSeries"], 4);
    assert_eq!(data("rules"), json!({"groups": []}));
    assert_eq!(data("alerts"), json!({"alerts": []}));
    for path in
        ["status/buildinfo", "status/runtimeinfo", "status/flags", "status/config", "features", "targets"]
    {
        assert!(data(path).is_object(), "{path}");
    }
}

#[test]
fn exemplars_are_found_in_nested_calls_and_in_any_window() {
    let served = Served::new(fill);
    let query = encoded("histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))");
    let expected = json!([{
        "seriesLabels": {"__name__": "latency_seconds_bucket", "job": "api", "le": "0.5"},
        "exemplars": [{
            "labels": {"trace_id": "0af7651916cd43dd8448eb211c80319c", "user": "u1"},
            "value": "0.25",
            "timestamp": NOW_S - 30,
        }],
    }]);
    let (status, json) = served.get(&format!("/api/v1/query_exemplars?query={query}"));
    assert_eq!((status, &json["data"]), (200, &expected), "{json}");
    let infos = json["infos"][0].as_str().unwrap_or_default();
    let lost = "1 of 1 exemplars lead to a trace that is not here (not here yet), such as 0af7651916cd43dd8448eb211c80319c";
    assert_eq!(infos, lost, "{json}");
    // Grafana's probe writes milliseconds where seconds are meant.
    let probe = format!("/api/v1/query_exemplars?query={query}&start={}&end={}", NOW_MS, NOW_MS + 1_000);
    assert_eq!(served.get(&probe), (200, json!({"status": "success", "data": []})));
    assert_eq!(served.get_text("/api/v1/query_exemplars?query=1"), (204, String::new()));
}

#[test]
fn queries_are_formatted_and_parsed() {
    let served = Served::new(fill);
    let formatted = served.get("/api/v1/format_query?query=foo%2Fbar").1;
    assert_eq!(formatted["data"], "foo / bar");
    let tree = served.get(&format!("/api/v1/parse_query?query={}", encoded("sum by (job) (rate(up[5m]))"))).1;
    assert_eq!(tree["data"]["type"], "aggregation");
    assert_eq!(tree["data"]["expr"]["func"]["name"], "rate");
    let selector = &tree["data"]["expr"]["args"][0];
    assert_eq!((&selector["range"], &selector["rangeExpr"]), (&json!(300_000), &json!(null)));
    let tree = served.get(&format!("/api/v1/parse_query?query={}", encoded("up offset (step() + 5m)"))).1;
    let offset = &tree["data"]["offsetExpr"];
    assert_eq!(
        (&offset["op"], &offset["wrapped"], &offset["lhs"]["op"]),
        (&json!("+"), &json!(true), &json!("step"))
    );
    assert_eq!(offset["rhs"], json!({ "type": "numberLiteral", "val": "300", "duration": true }));
}

/// The figures are those that Prometheus 3.14 gives for the same samples.
#[test]
fn samples_are_counted_step_by_step() {
    let served = Served::new(fill);
    let range = format!("start={}&end={NOW_S}&step=30", NOW_S - 60);
    let samples = |path: &str, query: &str, stats: &str| {
        let query = encoded(query);
        let answer = served.get(&format!("/api/v1/{path}&query={query}&stats={stats}")).1;
        let stats = answer["data"]["stats"].clone();
        assert!(stats["timings"]["execTotalTime"].is_number(), "{answer}");
        stats["samples"].clone()
    };
    let over = |query: &str| samples(&format!("query_range?{range}"), query, "all");
    let totals = |counts: &Value| (counts["totalQueryableSamples"].clone(), counts["samplesRead"].clone());
    // Two series: windows of twenty points, of which each step shares all but two with the one before.
    let rate = over("sum(rate(http_requests_total[5m]))");
    assert_eq!(totals(&rate), (json!(120), json!(48)));
    let at = |n: i64| NOW_S - 60 + 30 * n;
    let by_step = |counts: [u64; 3]| {
        json!((0..3).map(|n| json!([at(n) as f64, counts[n as usize]])).collect::<Vec<_>>())
    };
    assert_eq!(rate["totalQueryableSamplesPerStep"], by_step([40, 40, 40]));
    assert_eq!(rate["samplesReadPerStep"], by_step([40, 4, 4]));
    assert_eq!(totals(&over("http_requests_total")), (json!(6), json!(6)));
    assert_eq!(totals(&over(&format!("http_requests_total @ {NOW_S}"))), (json!(6), json!(2)));
    assert_eq!(totals(&over("max_over_time(http_requests_total[2m:30s])")), (json!(24), json!(12)));
    let now = samples("query?", "http_requests_total", "true");
    assert_eq!(totals(&now), (json!(2), json!(2)));
    assert!(now.get("samplesReadPerStep").is_none());
    let (_, answer) = served.get("/api/v1/query?query=1&stats=x");
    assert!(answer["warnings"][0].as_str().unwrap().contains("is deprecated"), "{answer}");
}

#[test]
fn what_is_switched_off_says_so_in_prometheus_words() {
    let served = Served::with_states(fill, Arc::new(States));
    let data = |path: &str| {
        let (status, answer) = served.get(&format!("/api/v1/{path}"));
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    };
    assert_eq!(data("scrape_pools"), json!({ "scrapePools": ["p"] }));
    assert_eq!(data("status/walreplay"), json!({ "min": 0, "max": 0, "current": 0 }));
    assert!(data("notifications").is_array() && data("status/tsdb/blocks")["blocks"].is_array());
    assert_eq!(served.get_text("/api/v1/notifications/live"), (204, String::new()));
    let (status, refusal) = served.get("/api/v1/search/metric_names");
    assert_eq!((status, &refusal["errorType"]), (500, &json!("unavailable")));
    let (status, refusal) = post(&served, "/api/v1/admin/tsdb/delete_series", &[("match[]", "up")]);
    assert_eq!((status, &refusal["error"]), (500, &json!("admin APIs disabled")));
    assert_eq!(served.get_text("/-/reload").0, 405);
    let (status, version) = served.get_text("/version");
    assert!(status == 200 && version.starts_with('{') && !version.contains("success"), "{version}");
    let (status, refusal) = served.get("/api/v1/query?query=");
    assert_eq!(status, 400);
    assert!(refusal["error"].as_str().unwrap().contains("unknown position"), "{refusal}");
}

#[test]
fn federation_shows_the_newest_samples_as_text() {
    let served = Served::new(fill);
    let (status, page) = served.get_text("/federate?match[]=http_requests_total");
    assert_eq!(status, 200);
    let expected = format!(
        "# TYPE http_requests_total untyped\n\
         http_requests_total{{cluster=\"test\",code=\"200\",instance=\"\",job=\"api\"}} 600 {NOW_MS}\n\
         http_requests_total{{cluster=\"test\",code=\"500\",instance=\"\",job=\"api\"}} 60 {NOW_MS}\n"
    );
    assert_eq!(page, expected);
    assert_eq!(served.get_text("/federate?match[]=%7B").0, 400);
    assert_eq!(served.get_text("/federate"), (200, String::new()));
    assert_eq!(served.get_text("/-/healthy").0, 200);
    assert_eq!(served.get_text("/-/ready").0, 200);
}

/// One group of each kind of rule, one target.
struct States;

impl StateSource for States {
    fn rule_groups(&self) -> Vec<RuleGroup> {
        let recording =
            RuleState { name: "job:rate".into(), query: "1".into(), health: "ok", ..RuleState::default() };
        let alert = AlertState {
            labels: vec![("alertname".into(), "High".into())],
            state: "firing",
            active_at_ms: 1_500,
            value: 1.0,
            ..AlertState::default()
        };
        let alerting =
            AlertingState { state: "firing", for_s: 60.0, alerts: vec![alert], ..AlertingState::default() };
        let alerting =
            RuleState { name: "High".into(), health: "ok", alerting: Some(alerting), ..RuleState::default() };
        let group =
            RuleGroup { name: "g".into(), file: "f".into(), interval_s: 15.0, ..RuleGroup::default() };
        vec![
            RuleGroup { rules: vec![recording], ..group.clone() },
            RuleGroup { name: "h".into(), rules: vec![alerting], ..group },
        ]
    }

    fn targets(&self) -> Targets {
        let active =
            ActiveTarget { scrape_pool: "p".into(), health: "up", interval_ms: 90_000, ..Default::default() };
        Targets { active: vec![active], ..Targets::default() }
    }
}

#[test]
fn rules_alerts_and_targets_are_shown_as_they_are_told() {
    let served = Served::with_states(|_| (), Arc::new(States));
    let data = |path: &str| served.get(&format!("/api/v1/{path}")).1["data"].clone();
    assert_eq!(data("rules?type=alert")["groups"][0]["rules"][0]["state"], "firing");
    assert_eq!(data("rules?type=record")["groups"].as_array().unwrap().len(), 1);
    let page = data("rules?group_limit=1");
    assert_eq!((page["groups"].as_array().unwrap().len(), &page["groupNextToken"]), (1, &json!("1")));
    assert_eq!(data("rules?group_limit=1&group_next_token=1")["groups"][0]["name"], "h");
    let alert = &data("alerts")["alerts"][0];
    assert_eq!((&alert["value"], &alert["activeAt"]), (&json!("1e+00"), &json!("1970-01-01T00:00:01.500Z")));
    assert_eq!(data("targets")["activeTargets"][0]["scrapeInterval"], "1m30s");
}

#[test]
fn long_answers_are_compressed_on_request() {
    let served = Served::new(fill);
    let query = encoded("http_requests_total[10m]");
    let agent = ureq::Agent::from(ureq::Agent::config_builder().proxy(None).build());
    let mut response = agent
        .get(format!("{}/api/v1/query?query={query}", served.base))
        .header("Accept-Encoding", "deflate;q=0, gzip")
        .call()
        .expect("answered");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["vary"], "Accept-Encoding");
    let mut text = String::new();
    let bytes = response.body_mut().read_to_vec().expect("bytes");
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).expect("gzip");
    assert!(text.starts_with(r#"{"status":"success","data":{"resultType":"matrix""#), "{text}");
}

#[test]
fn other_servers_read_samples() {
    use throughline_model::protobuf::{Field, Reader, put_bytes, put_number};
    let served = Served::new(fill);
    let (mut matcher, mut query, mut request) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut matcher, 2, b"code");
    put_bytes(&mut matcher, 3, b"500");
    put_number(&mut query, 1, NOW_MS as u64 - 30_000);
    put_number(&mut query, 2, NOW_MS as u64);
    put_bytes(&mut query, 3, &matcher);
    put_bytes(&mut request, 1, &query);
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let agent = ureq::Agent::from(ureq::Agent::config_builder().proxy(None).build());
    let mut response = agent
        .post(format!("{}/api/v1/read", served.base))
        .header("X-Prometheus-Remote-Read-Version", "0.1.0")
        .header("Accept-Encoding", "gzip")
        .send(&body[..])
        .expect("answered");
    assert_eq!(response.headers()["content-encoding"], "snappy");
    let packed = response.body_mut().read_to_vec().expect("bytes");
    let plain = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
    let first = |message: &[u8], wanted: u32| -> Vec<Vec<u8>> {
        let (mut reader, mut out) = (Reader::new(message), Vec::new());
        while let Some((number, field)) = reader.next_field().unwrap() {
            if let (true, Field::Bytes(bytes)) = (number == wanted, field) {
                out.push(bytes.to_vec());
            }
        }
        out
    };
    let results = first(&plain, 1);
    let series = first(&results[0], 1);
    assert_eq!((results.len(), series.len()), (1, 1));
    // The labels of the series and the one that the server adds.
    assert_eq!((first(&series[0], 1).len(), first(&series[0], 2).len()), (4, 3));
    // In chunks, where the reader wants them: one frame with its length and checksum.
    put_number(&mut request, 2, 1);
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let mut response = agent.post(format!("{}/api/v1/read", served.base)).send(&body[..]).expect("answered");
    assert_eq!(
        response.headers()["content-type"],
        "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
    );
    let stream = response.body_mut().read_to_vec().expect("bytes");
    let message = stream.get(5..).expect("a length of one byte and four of a checksum");
    assert_eq!(usize::from(stream[0]), message.len());
    let series = first(message, 1);
    let chunks = first(&series[0], 2);
    assert_eq!((series.len(), first(&series[0], 1).len(), chunks.len()), (1, 4, 1));
    assert_eq!(first(&chunks[0], 4)[0][..2], [0, 3], "three samples");
}
