//! Queries, and what is found by looking at lines.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use throughline_exec::Budget;
use throughline_logql::ast::Expr;
use throughline_logql::{LogStream, QueryParams, QueryValue, parse, print};
use throughline_scan::logs::StoredLogs;
use throughline_store::TimeRange;

use super::fields::{FIELDS, Fields};
use super::params::Params;
use super::reply::{Refusal, bare, open_success, raw};
use super::streams::{CATEGORIZE, Form, put_value};
use super::{Loki, lost};

/// Lines that are looked at for fields, unless asked for otherwise, and at most.
const FIELD_LINES: u64 = 100;
const FIELD_LINES_MAX: u64 = 5_000;

/// The parameters of a query over a window.
fn over(range: TimeRange, step_ns: i64) -> QueryParams {
    QueryParams::range(range.start, range.end, step_ns)
}

/// Whether the client asks for labels by their kind.
pub(super) fn is_categorized(headers: &HeaderMap) -> bool {
    let flags = headers.get_all("x-loki-response-encoding-flags").iter();
    let mut names = flags.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.any(|name| name.trim() == CATEGORIZE)
}

pub(super) async fn query(
    State(loki): State<Loki>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let time = params.time_ns("time")?.unwrap_or_else(|| loki.now());
    let (limit, direction) = (params.limit()?, params.direction()?);
    let expr = parse(params.query()?)?;
    if matches!(expr, Expr::Log(_)) {
        return Err(Refusal::bad(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    let asked = QueryParams { limit, direction, now_ns: loki.now(), ..QueryParams::instant(time) };
    let form = Form { categorized: is_categorized(&headers), direction };
    answer(&loki, expr, asked, form).await
}

/// The window with its ends at whole steps since the epoch, as Loki's frontend has it before it asks anything: its start is earlier,
/// its end later.
fn aligned(range: TimeRange, step_ns: i64) -> TimeRange {
    let start = range.start.saturating_sub(range.start.rem_euclid(step_ns));
    let past = range.end.rem_euclid(step_ns);
    let end = if past == 0 { range.end } else { range.end.saturating_add(step_ns - past) };
    TimeRange { start, end }
}

pub(super) async fn query_range(
    State(loki): State<Loki>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let range = params.window(loki.now())?;
    let (limit, direction, step_ns) = (params.limit()?, params.direction()?, params.step_ns(range)?);
    let interval_ns = params.duration_ns("interval")?.unwrap_or_default();
    if interval_ns < 0 {
        return Err(Refusal::bad("interval must be >= 0"));
    }
    let expr = parse(params.query()?)?;
    let range = if matches!(expr, Expr::Metric(_)) { aligned(range, step_ns) } else { range };
    let asked = QueryParams { interval_ns, limit, direction, now_ns: loki.now(), ..over(range, step_ns) };
    let form = Form { categorized: is_categorized(&headers), direction };
    answer(&loki, expr, asked, form).await
}

async fn answer(loki: &Loki, expr: Expr, asked: QueryParams, form: Form) -> Result<Response, Refusal> {
    let (engine, clock) = (loki.engine, std::sync::Arc::clone(&loki.clock));
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let started = clock.now();
        let value = engine.evaluate(&expr, &asked, logs, budget).map_err(|error| Refusal::query(&error))?;
        let stats = Stats::new(budget, clock.now().saturating_sub(started), &value);
        let lost = lost::warning(&value, logs, budget);
        Ok((value, stats, lost))
    };
    let ((value, stats, lost), mut warnings) = loki.ask(ask).await?;
    warnings.extend(lost);
    let mut out = open_success(&warnings);
    out.push(b'{');
    put_value(&mut out, &value, asked.end_ns, form);
    out.extend_from_slice(format!(r#","stats":{}}}}}"#, stats.json()).as_bytes());
    Ok(raw(out))
}

/// What a query took.
struct Stats {
    lines: u64,
    bytes: u64,
    seconds: f64,
    returned: usize,
}

impl Stats {
    fn new(budget: &Budget, took_ns: i64, value: &QueryValue) -> Stats {
        let (lines, bytes) = budget.rows_read();
        let returned = match value {
            QueryValue::Streams(streams) => streams.iter().map(|stream| stream.entries.len()).sum(),
            QueryValue::Scalar(_) => 1,
            QueryValue::Vector(samples) => samples.len(),
            QueryValue::Matrix(series) => series.len(),
        };
        Stats { lines, bytes, seconds: took_ns.max(1) as f64 / 1e9, returned }
    }

    /// The statistics in Loki's shape. Everything is read by the one process there is, so all of it is the store's.
    fn json(&self) -> serde_json::Value {
        let per_second = |count: u64| (count as f64 / self.seconds) as u64;
        let chunk = json!({
            "headChunkBytes": 0,
            "headChunkLines": 0,
            "decompressedBytes": self.bytes,
            "decompressedLines": self.lines,
            "compressedBytes": 0,
            "totalDuplicates": 0,
        });
        let store = json!({
            "totalChunksRef": 0,
            "totalChunksDownloaded": 0,
            "chunksDownloadTime": 0,
            "chunk": chunk,
        });
        json!({
            "summary": {
                "bytesProcessedPerSecond": per_second(self.bytes),
                "linesProcessedPerSecond": per_second(self.lines),
                "totalBytesProcessed": self.bytes,
                "totalLinesProcessed": self.lines,
                "execTime": self.seconds,
                "queueTime": 0,
                "subqueries": 0,
                "totalEntriesReturned": self.returned,
                "splits": 0,
                "shards": 0,
            },
            "querier": { "store": store.clone() },
            "ingester": {
                "totalReached": 0,
                "totalChunksMatched": 0,
                "totalBatches": 0,
                "totalLinesSent": 0,
                "store": {
                    "totalChunksRef": 0,
                    "totalChunksDownloaded": 0,
                    "chunksDownloadTime": 0,
                    "chunk": {
                        "headChunkBytes": 0,
                        "headChunkLines": 0,
                        "decompressedBytes": 0,
                        "decompressedLines": 0,
                        "compressedBytes": 0,
                        "totalDuplicates": 0,
                    },
                },
            },
        })
    }
}

pub(super) async fn format_query(params: Params) -> Response {
    let parsed = params.query().and_then(|query| Ok(parse(query)?));
    match parsed {
        Ok(expr) => bare(&json!({ "status": "success", "data": print::pretty(&expr) })),
        Err(refusal) => {
            let body = json!({ "status": "invalid-query", "error": refusal.message() });
            (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
        }
    }
}

/// Looks at some lines of a query for their fields: all, or as many as are asked for.
async fn sampled(loki: &Loki, params: &Params, all: bool) -> Result<(Fields, u64), Refusal> {
    let range = params.window(loki.now())?;
    let lines = params.count("line_limit")?.filter(|lines| *lines > 0).unwrap_or(FIELD_LINES);
    let limit = match params.count("field_limit")? {
        Some(limit) => Some(limit),
        None => params.count("limit")?,
    };
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(FIELDS);
    let expr = Expr::Log(params.log_query()?);
    let lines = usize::try_from(lines.min(FIELD_LINES_MAX)).unwrap_or(usize::MAX);
    let asked = QueryParams { limit: lines, now_ns: loki.now(), ..over(range, 0) };
    let engine = loki.engine;
    let asked_for = if all { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let value = engine.evaluate(&expr, &asked, logs, budget).map_err(|error| Refusal::query(&error))?;
        let streams: Vec<LogStream> = match value {
            QueryValue::Streams(streams) => streams,
            _ => Vec::new(),
        };
        Ok(Fields::of(&streams, asked_for))
    };
    let (fields, _) = loki.ask(ask).await?;
    Ok((fields, limit))
}

pub(super) async fn detected_fields(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (fields, limit) = sampled(&loki, &params, false).await?;
    Ok(bare(&json!({ "fields": fields.list(), "limit": limit })))
}

pub(super) async fn detected_values(
    State(loki): State<Loki>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let (fields, limit) = sampled(&loki, &params, true).await?;
    Ok(bare(&json!({ "values": fields.values(&name, limit), "limit": limit })))
}
