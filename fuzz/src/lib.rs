//! What the fuzz targets share: one fixed context, and a decoder that lives as long as the process, so that what it
//! remembers from one input is fuzzed, too.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use throughline_model::batch::{column_binary, log, point, series, span};
use throughline_model::native_histogram::NativeHistogram;
use throughline_model::{Batch, Signal, attribute, label};
use throughline_store::block::probe::ProbedBlock;
use throughline_store::block::{Block, BlockMeta};
use throughline_store::compact::{Choice, merge};
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::SimDisk;
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
}

fn context() -> DecodeContext {
    let limits = DecodeLimits::with_retention(i64::MAX);
    DecodeContext { received_at: 1_750_000_000_000_000_000, limits }
}

/// Decodes one input of remote write; what is accepted must be readable again.
pub fn decode_samples(encoding: Encoding, input: &[u8]) {
    let context = context();
    let decoded =
        DECODER.with_borrow_mut(|decoder| decoder.decode(Signal::Metrics, encoding, input, &context));
    let Ok(Batch::Metrics(batch)) = decoded.map(|decoded| decoded.batch) else { return };
    for list in column_binary(&batch.series, series::ATTRIBUTES).iter().flatten() {
        assert!(label::iter(list).any(|(name, _)| name == label::METRIC_NAME));
    }
    for payload in column_binary(&batch.points, point::PAYLOAD).iter().flatten() {
        assert!(NativeHistogram::decode(payload).is_ok());
    }
}

/// Decodes one input; what is accepted must be readable again.
pub fn decode(signal: Signal, encoding: Encoding, input: &[u8]) {
    let context = context();
    let decoded = DECODER.with_borrow_mut(|decoder| decoder.decode(signal, encoding, input, &context));
    let Ok(decoded) = decoded else { return };
    let lists = match &decoded.batch {
        Batch::Spans(batch) => column_binary(&batch.rows, span::ATTRIBUTES),
        Batch::Logs(batch) => column_binary(&batch.rows, log::ATTRIBUTES),
        Batch::Metrics(batch) => column_binary(&batch.series, series::ATTRIBUTES),
    };
    for list in lists.iter().flatten() {
        let mut json = String::new();
        attribute::write_json_object(list, &mut json);
    }
}

const BASE: u64 = 1_795_182_000_000_000_000;

/// Requests of every signal, of some traces; rounds share half of them.
fn requests(round: u64) -> Vec<(Signal, String)> {
    let resource = r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"gateway"}}]}"#;
    let (mut spans, mut logs, mut points, mut buckets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in round * 20..round * 20 + 40 {
        let (trace, time, code) = (n / 4 + 1, BASE + n * 1_000_003, n % 3);
        let attributes = format!(
            r#""attributes":[{{"key":"http.route","value":{{"stringValue":"/r/{code}"}}}},{{"key":"n","value":{{"intValue":"{n}"}}}}]"#
        );
        let id = format!(r#""traceId":"{trace:032x}","spanId":"{:016x}""#, n + 1);
        spans.push(format!(
            r#"{{{id},"parentSpanId":"{:016x}","name":"op {code}","kind":2,"startTimeUnixNano":"{time}","endTimeUnixNano":"{}",{attributes},"status":{{"code":{code}}},"events":[{{"name":"e","timeUnixNano":"{time}"}}]}}"#,
            n / 4 * 4 + 1,
            time + n * 7_919
        ));
        logs.push(format!(
            r#"{{"timeUnixNano":"{time}","severityNumber":{},"severityText":"INFO",{id},"body":{{"stringValue":"request {n} took {}ms, retry {code} of 3"}},{attributes}}}"#,
            9 + code * 4,
            n * 3
        ));
        let exemplar = format!(r#""exemplars":[{{{id},"timeUnixNano":"{time}","asDouble":{n}.5}}]"#);
        points.push(format!(r#"{{"timeUnixNano":"{time}","asDouble":{n}.25,{attributes},{exemplar}}}"#));
        buckets.push(format!(
            r#"{{"startTimeUnixNano":"{BASE}","timeUnixNano":"{time}","count":"{n}","sum":{n}.5,"explicitBounds":[1,10],"bucketCounts":["{n}","0","0"],{exemplar}}}"#
        ));
    }
    let metrics = format!(
        r#"{{"name":"queue.depth","gauge":{{"dataPoints":[{}]}}}},{{"name":"latency","unit":"s","histogram":{{"aggregationTemporality":2,"dataPoints":[{}]}}}}"#,
        points.join(","),
        buckets.join(",")
    );
    let of = |signal: &str, scope: &str, item: &str, items: &str| {
        format!(r#"{{"{signal}":[{{{resource},"{scope}":[{{"scope":{{"name":"s"}},"{item}":[{items}]}}]}}]}}"#)
    };
    vec![
        (Signal::Traces, of("resourceSpans", "scopeSpans", "spans", &spans.join(","))),
        (Signal::Logs, of("resourceLogs", "scopeLogs", "logRecords", &logs.join(","))),
        (Signal::Metrics, of("resourceMetrics", "scopeMetrics", "metrics", &metrics)),
    ]
}

/// A flushed block and a merged one, a few items of every signal in each: their tables are compressed differently.
pub fn blocks() -> Vec<ProbedBlock> {
    let (disk, dir) = (SimDisk::new(0), Path::new("data"));
    let context = DecodeContext { received_at: BASE as i64, limits: context().limits };
    let mut metas: Vec<BlockMeta> = Vec::new();
    let mut next_id = 1;
    for round in 0..2 {
        let memtable = Memtable::new();
        for (signal, request) in requests(round) {
            let decoded =
                throughline_wire::decode(signal, Encoding::Json, request.as_bytes(), &context).expect("a request");
            assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
            memtable.insert(decoded.batch, BASE as i64);
        }
        let options = BlockOptions { partition_ns: 1 << 61 };
        metas.extend(write_blocks(&disk, dir, &memtable, &mut next_id, &options).expect("a flush"));
    }
    let open = |meta: &BlockMeta| Arc::new(Block::open(&disk, dir, meta.clone()).expect("opens"));
    let inputs: Vec<Arc<Block>> = metas.iter().map(open).collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 1 };
    metas.truncate(1);
    metas.extend(merge(&disk, dir, &inputs, &choice, &mut next_id).expect("a merge"));
    metas.iter().map(|meta| ProbedBlock::copy(&disk, dir, meta).expect("a copy")).collect()
}
