//! Measures what the derivation costs for each span. Run with `--release`; arguments: spans, rounds.
//!
//! Times are those of the thread's processor, so that a busy machine does not count.

use throughline_derive::{DeriveConfig, Deriver};
use throughline_generate::Generator;
use throughline_model::{Batch, Signal, SpanBatch};
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BASE: u64 = 1_795_182_000_000_000_000;
/// Batches are observed as if so many spans came in a second.
const SPANS_PER_SECOND: i64 = 100_000;

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [spans, rounds] = args.as_slice() else {
        println!("usage: derive_speed SPANS ROUNDS");
        return;
    };
    let context = DecodeContext { received_at: BASE as i64, limits: DecodeLimits::with_retention(1 << 62) };
    let mut decoder = Decoder::new();
    let mut decode = |body: &[u8]| match decoder
        .decode(Signal::Traces, Encoding::Protobuf, body, &context)
        .expect("decodes")
        .batch
    {
        Batch::Spans(batch) => batch,
        _ => unreachable!("traces become spans"),
    };
    let generator = Generator::new(42, BASE);
    let requests: Vec<_> = generator.traces(*spans).collect();
    let spans = requests.iter().map(|request| request.items).sum::<usize>() as f64;
    let started = processor_ns();
    let batches: Vec<SpanBatch> = requests.iter().map(|request| decode(&request.body)).collect();
    // The yardstick: how fast this machine is just now.
    println!("decode: {:.1} ns a span", (processor_ns() - started) / spans);
    let without_graph = DeriveConfig { service_graph: None, ..DeriveConfig::default() };
    for (name, config) in [("span metrics", without_graph), ("with service graph", DeriveConfig::default())] {
        let mut best = f64::MAX;
        let mut last = Deriver::new(&config);
        for _ in 0..*rounds {
            let mut deriver = Deriver::new(&config);
            let started = processor_ns();
            let mut at = BASE as i64;
            for batch in &batches {
                deriver.observe(at, batch);
                at += batch.rows.num_rows() as i64 * 1_000_000_000 / SPANS_PER_SECOND;
            }
            best = best.min((processor_ns() - started) / spans);
            last = deriver;
        }
        println!("{name}: {best:.1} ns a span, {} series", last.red.table.len());
        if let Some(graph) = &last.graph {
            println!(
                "{} edges, {:?}, {} sides wait",
                graph.edges.table.len(),
                graph.counts,
                graph.pairing.waiting()
            );
        }
    }
}

fn processor_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
