//! Measures queries of TraceQL over blocks of generated spans, in one process. Run with `--release`; arguments: spans, rounds.
//!
//! Times are those of the thread's processor, so that a busy machine does not count, and are medians.

use std::path::Path;
use std::sync::Arc;

use throughline_exec::Budget;
use throughline_generate::Generator;
use throughline_model::Signal;
use throughline_scan::traces::StoredTraces;
use throughline_store::block::Block;
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{SimDisk, Snapshot};
use throughline_traceql::{Engine, MetricsParams, SearchParams, checked};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BASE: u64 = 1_795_182_000_000_000_000;
/// Spans of a block, as many as a merged one has.
const BLOCK_SPANS: usize = 500_000;

const QUERIES: [&str; 16] = [
    "{}",
    "{ resource.service.name = \"cart\" }",
    "{ span.http.response.status_code = 503 }",
    "{ span.user.id = \"no such user\" }",
    "{ resource.k8s.pod.name =~ \".*-7\" && name = \"nothing\" }",
    "{ duration > 2s }",
    "{ duration > 100s }",
    "{ status = error }",
    "{ status = error && resource.service.name = \"payment\" }",
    "{ kind = server } >> { status = error }",
    "{ kind = server && name = \"nothing\" } >> { kind = client }",
    "{ kind = producer } > { kind = producer }",
    "{ status = error } | count() > 100",
    "{} | rate() by (resource.service.name)",
    "{ status = error } | count_over_time() by (name)",
    "{ kind = server } | quantile_over_time(duration, .5, .99) by (resource.service.name)",
];

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [spans, rounds] = args.as_slice() else {
        println!("usage: traceql_speed SPANS ROUNDS");
        return;
    };
    let blocks = blocks(*spans);
    let source = StoredTraces::new(Snapshot::new(Vec::new(), Arc::new(blocks), Arc::default(), BASE as i64));
    let (start_ns, end_ns) = (BASE as i64 - 3_600_000_000_000, BASE as i64 + 60_000_000_000);
    for query in QUERIES {
        let tree = checked(query).expect("a query");
        let mut times = Vec::new();
        let mut answer = String::new();
        for _ in 0..(*rounds).max(1) {
            let budget = Budget::unlimited();
            let started = processor_ms();
            answer = if query.contains("_over_time(") || query.contains("rate(") {
                let params = MetricsParams {
                    start_ns,
                    end_ns,
                    step_ns: 15_000_000_000,
                    exemplars: 100,
                    series_max: 0,
                };
                let answer = Engine.metrics(&tree, &params, &source, &budget).expect("an answer");
                format!("{} series", answer.series.len())
            } else {
                let params = SearchParams { start_ns, end_ns, limit: 20, spans_per_set: 3 };
                let answer = Engine.search(&tree, &params, &source, &budget).expect("an answer");
                format!("{} traces", answer.traces.len())
            };
            times.push(processor_ms() - started);
            answer += &format!(", {} spans looked at", budget.rows_read().0);
        }
        times.sort_by(f64::total_cmp);
        println!("{:8.2} ms  {query}: {answer}", times.get(times.len() / 2).copied().unwrap_or_default());
    }
}

fn blocks(spans: usize) -> Vec<Arc<Block>> {
    let (disk, folder) = (SimDisk::new(1), Path::new("data"));
    let context = DecodeContext { received_at: BASE as i64, limits: DecodeLimits::with_retention(1 << 62) };
    let options = BlockOptions { partition_ns: 1_000 * 3_600_000_000_000 };
    let (mut blocks, mut memtable, mut held, mut next) = (Vec::new(), Memtable::new(), 0, 1);
    let mut write = |memtable: &Memtable| {
        let metas = write_blocks(&disk, folder, memtable, &mut next, &options).expect("a block");
        let open = |meta| Arc::new(Block::open(&disk, folder, meta).expect("a block"));
        blocks.extend(metas.into_iter().map(open));
    };
    for request in Generator::new(42, BASE).traces(spans as u64) {
        let decoded = throughline_wire::decode(Signal::Traces, Encoding::Protobuf, &request.body, &context);
        memtable.insert(decoded.expect("decodes").batch, context.received_at);
        held += request.items;
        if held >= BLOCK_SPANS {
            write(&memtable);
            (memtable, held) = (Memtable::new(), 0);
        }
    }
    write(&memtable);
    blocks
}

fn processor_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (time.tv_sec as f64).mul_add(1e3, time.tv_nsec as f64 / 1e6)
}
