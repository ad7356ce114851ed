//! What the process says of itself: alive, ready, status, ledger, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use throughline_model::Signal;
use throughline_store::{Status, Store};

use crate::Api;
use crate::failure::Failure;
use crate::metrics::{self, Family, label};

pub(crate) async fn livez() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// 200 where requests are taken and everything stored can be read, else 503; both say which of the two.
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Response, Failure> {
    let store = api.context.store.clone();
    let Status { mut write, read, .. } = api.blocking.run(move || Ok(store.status())).await?;
    if api.context.is_draining() {
        write.ready = false;
        write.reasons.push("the process is shutting down".to_owned());
    }
    let ready = write.ready && read.ready;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "write": write, "read": read});
    Ok((code, Json(body)).into_response())
}

/// What there is to say of readiness while the store is opened.
pub(crate) async fn starting() -> Response {
    let waits = json!({"ready": false, "reasons": ["the store is being opened and its log replayed"]});
    let body = json!({"ready": false, "write": waits, "read": waits});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(crate) async fn status(State(api): State<Api>) -> Result<Json<Value>, Failure> {
    let context = api.context.clone();
    let answer = move || {
        let store = serde_json::to_value(context.store.status());
        let store = store.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Json(json!({
            "process": *context.process,
            "draining": context.is_draining(),
            "store": store,
            "ledger": ledger_json(&context.store),
        })))
    };
    api.blocking.run(answer).await
}

pub(crate) fn ledger_json(store: &Store) -> Value {
    let ledger = store.ledger();
    json!({"balanced": ledger.is_balanced(), "signals": ledger})
}

pub(crate) async fn metrics(State(api): State<Api>) -> Result<Response, Failure> {
    let (context, link_gauges) = (api.context.clone(), api.link_gauges.clone());
    let text = api
        .blocking
        .run(move || {
            let mut families = ledger_families(&context.store);
            let status = context.store.status();
            families.extend(store_families(&status));
            families.extend(held_families(&status));
            families.extend(link_gauges.families(|| context.store.snapshot()));
            families.extend((context.families)());
            Ok(metrics::write(&families))
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn ledger_families(store: &Store) -> Vec<Family> {
    let ledger = store.ledger();
    let (mut received, mut stored, mut deduplicated, mut rejected) = (vec![], vec![], vec![], vec![]);
    for signal in Signal::ALL {
        let (labels, account) = (label("signal", signal.name()), ledger.account(signal));
        received.push((labels.clone(), account.received as f64));
        stored.push((labels.clone(), account.stored as f64));
        deduplicated.push((labels.clone(), account.deduplicated as f64));
        for (reason, count) in &account.rejected {
            rejected.push((format!("{labels},{}", label("reason", reason)), *count as f64));
        }
    }
    let dropped = ledger.traces.dropped.iter();
    let dropped = dropped.map(|(policy, spans)| (label("policy", policy), *spans as f64)).collect();
    vec![
        Family::counter(
            "throughline_sampling_dropped_spans_total",
            "Stored spans that sampling dropped, by policy.",
            dropped,
        ),
        Family::counter("throughline_ledger_received_total", "Items of all acknowledged requests.", received),
        Family::counter("throughline_ledger_stored_total", "Items that were stored.", stored),
        Family::counter("throughline_ledger_deduplicated_total", "Items of exact retries.", deduplicated),
        Family::counter(
            "throughline_ledger_rejected_total",
            "Items that were rejected, by reason.",
            rejected,
        ),
    ]
}

fn held_families(status: &Status) -> Vec<Family> {
    vec![
        Family::value(
            "throughline_held_traces",
            "Traces that are held beyond their retention because something cites them.",
            status.held.traces as f64,
        ),
        Family::value("throughline_held_bytes", "Bytes of their blocks.", status.held.bytes as f64),
        Family::total(
            "throughline_held_left_out_total",
            "Cited traces that went all the same because the budget was exhausted.",
            status.held.left_out as f64,
        ),
    ]
}

fn store_families(status: &Status) -> Vec<Family> {
    let per_level = status.blocks_per_level.iter().enumerate();
    let blocks =
        per_level.map(|(level, count)| (label("level", &level.to_string()), *count as f64)).collect();
    let ready = [("write", status.write.ready), ("read", status.read.ready)];
    let ready = ready.map(|(what, ready)| (label("path", what), f64::from(u8::from(ready)))).to_vec();
    let seconds = |us: u64| us as f64 / 1e6;
    let syncs = vec![
        (label("quantile", "0.5"), seconds(status.fsync_p50_us)),
        (label("quantile", "0.99"), seconds(status.fsync_p99_us)),
    ];
    vec![
        Family::gauge(
            "throughline_ready",
            "Whether the store takes writes and answers reads in full.",
            ready,
        ),
        Family::value("throughline_wal_bytes", "Bytes of the write-ahead log.", status.wal_bytes as f64),
        Family::value(
            "throughline_wal_segments",
            "Segments of the write-ahead log.",
            status.wal_segments as f64,
        ),
        Family::value("throughline_queued_bytes", "Bytes that wait for the log.", status.queued_bytes as f64),
        Family::value("throughline_memtables", "Memtables in memory.", status.memtables as f64),
        Family::value("throughline_memtable_bytes", "Bytes of the memtables.", status.memtable_bytes as f64),
        Family::gauge("throughline_blocks", "Blocks, by level of compaction.", blocks),
        Family::value("throughline_block_bytes", "Bytes of all blocks on disk.", status.block_bytes as f64),
        Family::value(
            "throughline_disk_free_bytes",
            "Free bytes of the data folder's disk.",
            status.free_bytes as f64,
        ),
        Family::total("throughline_fsyncs_total", "Syncs of the log.", status.fsyncs as f64),
        Family::total("throughline_fsync_failures_total", "Syncs that failed.", status.fsync_failures as f64),
        Family::gauge("throughline_fsync_seconds", "How long the last syncs took, by quantile.", syncs),
        Family::total("throughline_flushes_total", "Memtables written as blocks.", status.flushes as f64),
        Family::total("throughline_compactions_total", "Merges of blocks.", status.compactions as f64),
        Family::total(
            "throughline_retired_blocks_total",
            "Blocks that retention removed.",
            status.retired_blocks as f64,
        ),
        Family::total(
            "throughline_scrubbed_bytes_total",
            "Bytes of blocks that were compared with their checksums again.",
            status.scrubbed_bytes as f64,
        ),
        Family::value(
            "throughline_damaged_blocks",
            "Blocks of which something is not what was written.",
            status.damaged_blocks as f64,
        ),
        Family::value(
            "throughline_replayed_records",
            "Frames replayed at the last start.",
            status.replayed_records as f64,
        ),
    ]
}
