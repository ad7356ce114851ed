//! What a sender knows for certain, in a file that outlives it: which requests were acknowledged, refused, or
//! left without an answer. The oracle of the kill campaign.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::Signal;
use crate::corpus::Encoded;

/// Lines are synced to the disk this often; what the server acknowledges after that is not needed by an oracle
/// that only ever kills the server.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said that it is stored.
    Acknowledged,
    /// The server said that it is not.
    Refused,
    /// There was no answer.
    Unknown,
}

/// One line of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The request's place in the corpus.
    pub number: u64,
    /// What it held.
    pub signal: Signal,
    /// How many items.
    pub items: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A journal that is being written.
pub struct Journal {
    file: BufWriter<File>,
    synced: Option<Instant>,
}

impl Journal {
    /// Creates the file.
    #[expect(clippy::disallowed_methods, reason = "the journal is the sender's, not the store's")]
    pub fn create(path: &Path) -> std::io::Result<Journal> {
        Ok(Journal { file: BufWriter::new(File::create(path)?), synced: None })
    }

    /// Appends the outcome of a request.
    pub fn write(&mut self, request: &Encoded, outcome: Outcome) -> std::io::Result<()> {
        let signal = match request.signal {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        };
        let word = match outcome {
            Outcome::Acknowledged => "acknowledged",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        };
        writeln!(self.file, "{word} {} {signal} {}", request.number, request.items)?;
        if self.synced.is_none_or(|at| at.elapsed() > SYNC_INTERVAL) {
            self.sync()?;
        }
        Ok(())
    }

    /// Brings everything to the disk.
    pub fn sync(&mut self) -> std::io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        self.synced = Some(Instant::now());
        Ok(())
    }

    /// Reads a journal; a last line that was cut short is left out.
    pub fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
        let text = std::fs::read_to_string(path)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().filter_map(entry).collect())
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let outcome = match words.next()? {
        "acknowledged" => Outcome::Acknowledged,
        "refused" => Outcome::Refused,
        "unknown" => Outcome::Unknown,
        _ => return None,
    };
    let number = words.next()?.parse().ok()?;
    let signal = match words.next()? {
        "traces" => Signal::Traces,
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        _ => return None,
    };
    Some(Entry { number, signal, items: words.next()?.parse().ok()?, outcome })
}
