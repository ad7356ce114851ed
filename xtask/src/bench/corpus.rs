//! The input of the ingest benchmark: encoded once into files under `target/bench`, the same bytes for everybody.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use throughline_generate::corpus::CorpusWriter;
use throughline_generate::{Generator, TraceTruth};

use super::lookup::choose;
use crate::send::mixed;

/// Traces that are looked up after an ingest run, for a comparison with peers.
const LOOKUPS: usize = 500;

/// How much of every signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Spans.
    pub spans: u64,
    /// Log records.
    pub logs: u64,
    /// Metric data points.
    pub points: u64,
}

impl Amount {
    /// One signal of it, or all (`mixed`).
    pub fn only(self, signals: &str) -> anyhow::Result<Amount> {
        let none = Amount { spans: 0, logs: 0, points: 0 };
        Ok(match signals {
            "traces" => Amount { spans: self.spans, ..none },
            "logs" => Amount { logs: self.logs, ..none },
            "metrics" => Amount { points: self.points, ..none },
            "mixed" => self,
            other => anyhow::bail!("signal {other:?} is none of traces, logs, metrics, mixed"),
        })
    }
}

/// The two files of a corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    plain: PathBuf,
    gzip: PathBuf,
    /// Some of its traces, to look up.
    pub traces: Vec<TraceTruth>,
}

impl Corpus {
    /// The file with plain or compressed bodies.
    pub fn file(&self, gzip: bool) -> &Path {
        if gzip { &self.gzip } else { &self.plain }
    }

    /// Writes the corpus.
    pub fn write(
        folder: &Path,
        name: &str,
        amount: Amount,
        seed: u64,
        base_time_ns: u64,
    ) -> anyhow::Result<Corpus> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let generator = Generator::new(seed, base_time_ns);
        let corpus = Corpus {
            plain: folder.join(format!("{name}.plain")),
            gzip: folder.join(format!("{name}.gzip")),
            traces: choose(&generator, amount.spans, if amount.spans > 0 { LOOKUPS } else { 0 }),
        };
        let mut writer = CorpusWriter::create(&corpus.plain, Some(&corpus.gzip))?;
        for request in mixed(&generator, amount.spans, amount.logs, amount.points) {
            writer.push(&request)?;
        }
        writer.finish()?;
        Ok(corpus)
    }
}

/// The time of day, nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the telemetry of a benchmark ends now")]
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}
