//! Rows in memory, for tests and for scripts.

use super::{
    Demand, Direction, LinesWanted, LogRequest, LogRows, LogSink, LogSource, MetadataSets, MetadataWanted,
};
use crate::budget::Budget;
use crate::error::ExecError;
use crate::labels::Labels;

/// The most rows of a batch.
const BATCH_ROWS: usize = 1024;

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRow {
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The line.
    pub line: String,
    /// Sorted by name, without duplicates.
    pub metadata: Vec<(String, String)>,
}

/// Streams with their rows.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogs {
    streams: Vec<(Labels, Vec<MemoryRow>)>,
}

impl MemoryLogs {
    /// Adds a row; rows of one stream may come in any order of time.
    pub fn push(&mut self, stream: &Labels, mut row: MemoryRow) {
        row.metadata.sort();
        row.metadata.dedup_by(|a, b| a.0 == b.0);
        let at = match self.streams.iter().position(|(labels, _)| labels == stream) {
            Some(at) => at,
            None => {
                self.streams.push((stream.clone(), Vec::new()));
                self.streams.len() - 1
            }
        };
        if let Some((_, rows)) = self.streams.get_mut(at) {
            let place = rows.partition_point(|other| other.time_ns <= row.time_ns);
            rows.insert(place, row);
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.streams.clear();
    }
}

impl LogSource for MemoryLogs {
    fn read(&self, request: &LogRequest, budget: &Budget, sink: &mut dyn LogSink) -> Result<(), ExecError> {
        for (stream, rows) in &self.streams {
            if !request.matchers.iter().all(|matcher| matcher.matches_labels(stream)) {
                continue;
            }
            budget.take_series(1)?;
            let in_window = rows.iter().filter(|row| request.has_time(row.time_ns));
            let bytes = |rows: &[&MemoryRow]| rows.iter().map(|row| row.line.len() as u64).sum();
            let mut looked_at: Vec<&MemoryRow> = in_window.collect();
            if request.direction == Direction::Backward {
                looked_at.reverse();
            }
            budget.note_rows_read(looked_at.len() as u64, bytes(&looked_at));
            looked_at.retain(|row| request.filters.iter().all(|filter| filter.matches(&row.line)));
            for batch in looked_at.chunks(BATCH_ROWS) {
                budget.check()?;
                if deliver(request, stream, batch, sink)? == Demand::Nothing {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn deliver(
    request: &LogRequest,
    stream: &Labels,
    batch: &[&MemoryRow],
    sink: &mut dyn LogSink,
) -> Result<Demand, ExecError> {
    let (batch, counts) = merged(request, batch);
    let times: Vec<i64> = batch.iter().map(|row| row.time_ns).collect();
    let mut lines = Vec::new();
    let mut line_lengths = Vec::new();
    match request.lines {
        LinesWanted::None => {}
        LinesWanted::Lengths => {
            line_lengths.extend(batch.iter().map(|row| u32::try_from(row.line.len()).unwrap_or(u32::MAX)));
        }
        LinesWanted::Text => lines.extend(batch.iter().map(|row| row.line.as_str())),
    }
    let wanted = |name: &str| match &request.metadata {
        MetadataWanted::None => false,
        MetadataWanted::Names(names) => names.iter().any(|other| other == name),
        MetadataWanted::All => true,
    };
    let (mut pairs, mut ends, mut set_of_row) = (Vec::new(), Vec::new(), Vec::new());
    for (set, row) in (0u32..).zip(batch.iter().copied()) {
        let of_row = row.metadata.iter().filter(|(name, _)| wanted(name));
        pairs.extend(of_row.map(|(name, value)| (name.as_str(), value.as_str())));
        ends.push(u32::try_from(pairs.len()).unwrap_or(u32::MAX));
        set_of_row.push(set);
    }
    let metadata = match pairs.is_empty() {
        true => MetadataSets::default(),
        false => MetadataSets { pairs: &pairs, ends: &ends, set_of_row: &set_of_row },
    };
    let (times_ns, lines) = (&*times, &*lines);
    sink.rows(&LogRows { stream, times_ns, counts: &counts, lines, line_lengths: &line_lengths, metadata })
}

/// Where the asker counts, rows that follow each other and are alike as one, with how many they are.
fn merged<'a>(request: &LogRequest, batch: &[&'a MemoryRow]) -> (Vec<&'a MemoryRow>, Vec<u64>) {
    let Some(cuts) = request.cuts.filter(|_| request.lines == LinesWanted::None) else {
        return (batch.to_vec(), Vec::new());
    };
    let alike = |a: &&MemoryRow, b: &&MemoryRow| {
        a.metadata == b.metadata && cuts.piece(a.time_ns) == cuts.piece(b.time_ns)
    };
    let runs = batch.chunk_by(alike);
    runs.filter_map(|run| Some((*run.first()?, run.len() as u64))).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LineFilter, LineTest};
    use crate::matcher::Matcher;

    struct Collected(Vec<String>, usize);

    impl LogSink for Collected {
        fn rows(&mut self, rows: &LogRows<'_>) -> Result<Demand, ExecError> {
            for (row, time) in rows.times_ns.iter().enumerate() {
                let line = rows.lines.get(row).copied().unwrap_or("-");
                self.0.push(format!("{} {time} {line} {:?}", rows.stream, rows.metadata.row(row)));
            }
            Ok(if self.0.len() >= self.1 { Demand::Nothing } else { Demand::All })
        }
    }

    fn logs() -> MemoryLogs {
        let mut logs = MemoryLogs::default();
        for (app, time_ns, line, id) in [("a", 2, "two", "x"), ("a", 1, "one", ""), ("b", 3, "three", "y")] {
            let stream = Labels::from_pairs([("app", app)]);
            let metadata = [("id", id), ("z", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            logs.push(&stream, MemoryRow { time_ns, line: line.to_owned(), metadata: metadata.to_vec() });
        }
        logs
    }

    fn read(request: &LogRequest, most: usize) -> Vec<String> {
        let mut sink = Collected(Vec::new(), most);
        logs().read(request, &Budget::unlimited(), &mut sink).unwrap();
        sink.0
    }

    #[test]
    fn rows_come_as_they_are_wanted() {
        let request = LogRequest {
            matchers: vec![Matcher::equal("app", "a")],
            start_ns: 1,
            end_ns: 3,
            metadata: MetadataWanted::Names(vec!["id".to_owned()]),
            ..LogRequest::default()
        };
        let expected = [r#"{app="a"} 2 two [("id", "x")]"#, r#"{app="a"} 1 one [("id", "")]"#];
        assert_eq!(read(&request, 9), expected);
        let forward = LogRequest {
            direction: Direction::Forward,
            lines: LinesWanted::None,
            metadata: MetadataWanted::None,
            end_ns: 2,
            ..request
        };
        assert_eq!(read(&forward, 9), [r#"{app="a"} 1 - []"#]);
    }

    #[test]
    fn filters_and_demands_are_obeyed() {
        let has_e = LineFilter::new(false, vec![LineTest::contains("e")]);
        let request = LogRequest {
            end_ns: 9,
            metadata: MetadataWanted::None,
            filters: vec![has_e],
            ..LogRequest::default()
        };
        assert_eq!(read(&request, 9), [r#"{app="a"} 1 one []"#, r#"{app="b"} 3 three []"#]);
        assert_eq!(read(&request, 1), [r#"{app="a"} 1 one []"#]);
        assert!(request.wants(Demand::Until(3), 4) && !request.wants(Demand::Until(3), 3));
    }
}
