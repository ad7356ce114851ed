//! Runs of points, decoded, and those of blocks that were asked for last.
//!
//! A dashboard and a rule ask for the same series again and again, and most of the time of a short query is decoding
//! them. Blocks never change, so what was decoded stays right as long as its block is there. A query that reads more
//! than half of the room leaves what is kept alone.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_exec::Times;
use throughline_store::snapshot::parts::{MetricPart, PartKey, PointColumns, PointWant, RunBounds};
use throughline_store::{Error, TimeRange};

/// Bytes of decoded runs that are kept: some eight million points, a ninth of the memory target.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 20;

/// What a run of a block takes, about: a value for each of its points, and times that its series share.
const RUN_BYTES: usize = 600 << 10;

/// A query of more runs than these is not worth keeping.
const KEPT_RUNS_MAX: usize = KEPT_BYTES_MAX / 2 / RUN_BYTES;

const NS_PER_MS: i64 = 1_000_000;

/// One series of a run.
pub(super) struct RunSeries {
    /// Its row in the part.
    pub(super) row: u32,
    /// Its points in the columns.
    pub(super) points: Range<usize>,
    /// Their times, milliseconds.
    pub(super) times: Times,
}

/// A run's points in columns, with times in milliseconds.
pub(super) struct DecodedRun {
    /// By row.
    pub(super) series: Vec<RunSeries>,
    /// All but the times.
    pub(super) columns: PointColumns,
    bytes: usize,
}

impl DecodedRun {
    fn new(mut columns: PointColumns) -> DecodedRun {
        let times = std::mem::take(&mut columns.times);
        let mut known = KnownTimes { columns: &times, known: HashMap::new() };
        let series: Vec<RunSeries> = std::mem::take(&mut columns.series)
            .into_iter()
            .map(|(row, points)| RunSeries { row, times: known.of(&points), points })
            .collect();
        let n_times: usize = known.known.values().map(|(_, times)| times.len()).sum();
        let bytes = series.len() * size_of::<RunSeries>()
            + (n_times + columns.values.len()) * size_of::<f64>()
            + columns.flags.len() * size_of::<u32>()
            + columns.payloads.memory_bytes();
        DecodedRun { series, columns, bytes }
    }

    /// A series by its row.
    pub(super) fn series_of(&self, row: u32) -> Option<&RunSeries> {
        self.series.get(self.series.binary_search_by_key(&row, |series| series.row).ok()?)
    }
}

/// Times of series so far: those of one target are the same, and are kept once.
struct KnownTimes<'a> {
    columns: &'a [i64],
    /// By first time, last time and number.
    known: HashMap<(i64, i64, usize), (Range<usize>, Times)>,
}

impl KnownTimes<'_> {
    fn of(&mut self, points: &Range<usize>) -> Times {
        let columns = self.columns;
        let of = |points: &Range<usize>| columns.get(points.clone()).unwrap_or_default();
        let times = of(points);
        let key = |times: &[i64]| {
            let [first, last] = [times.first(), times.last()].map(|time| time.copied().unwrap_or_default());
            (first, last, times.len())
        };
        if let Some((known, shared)) = self.known.get(&key(times))
            && of(known) == times
        {
            return shared.clone();
        }
        let shared: Times = times.iter().map(|time| time.div_euclid(NS_PER_MS)).collect();
        self.known.insert(key(times), (points.clone(), shared.clone()));
        shared
    }
}

/// The decoded runs of blocks that were asked for last.
pub(super) struct RunCache {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

/// Block, run, and whether with payloads.
type Key = (u64, u32, bool);

#[derive(Default)]
struct Kept {
    /// With the number of the request that asked for it last.
    runs: HashMap<Key, (Arc<DecodedRun>, u64)>,
    bytes: usize,
    requests: u64,
}

impl RunCache {
    pub(super) fn new(bytes_max: usize) -> RunCache {
        RunCache { kept: Mutex::default(), bytes_max }
    }

    /// The points of the wanted series of a run, and perhaps of others. `n_runs` is how many the query reads.
    pub(super) fn read(
        &self,
        part: &MetricPart,
        run: &RunBounds,
        wanted: &[u32],
        range: TimeRange,
        want: PointWant,
        n_runs: usize,
    ) -> Result<Arc<DecodedRun>, Error> {
        let key = match part.key() {
            PartKey::Block(block) if !want.start_times => (block, run.run, want.payloads),
            _ => return Ok(Arc::new(DecodedRun::new(part.read_run(run, wanted, range, want)?))),
        };
        if let Some(run) = self.lock().get(key) {
            return Ok(run);
        }
        if n_runs > KEPT_RUNS_MAX {
            return Ok(Arc::new(DecodedRun::new(part.read_run(run, wanted, range, want)?)));
        }
        // Outside the lock: two threads may decode the same run, and the later one stays.
        let all: Vec<u32> = run.series.clone().collect();
        let decoded = Arc::new(DecodedRun::new(part.read_run(run, &all, TimeRange::ALL, want)?));
        self.lock().insert(key, decoded.clone(), self.bytes_max);
        Ok(decoded)
    }

    /// Drops the runs of blocks that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(PartKey) -> bool) {
        let mut kept = self.lock();
        kept.runs.retain(|(block, ..), _| is_there(PartKey::Block(*block)));
        kept.bytes = kept.runs.values().map(|(run, _)| run.bytes).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every change leaves the map whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, key: Key) -> Option<Arc<DecodedRun>> {
        self.requests += 1;
        let (run, asked) = self.runs.get_mut(&key)?;
        *asked = self.requests;
        Some(run.clone())
    }

    fn insert(&mut self, key: Key, run: Arc<DecodedRun>, bytes_max: usize) {
        if let Some((before, _)) = self.runs.remove(&key) {
            self.bytes -= before.bytes;
        }
        self.bytes += run.bytes;
        self.runs.insert(key, (run, self.requests));
        // A few hundred runs at most: the one that was asked for first is found by a look at all.
        while self.bytes > bytes_max {
            let oldest = self.runs.iter().filter(|(of, _)| **of != key).min_by_key(|(_, (_, asked))| *asked);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            if let Some((run, _)) = self.runs.remove(&oldest) {
                self.bytes -= run.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(times: &[&[i64]]) -> DecodedRun {
        let mut columns = PointColumns::default();
        for (row, of_series) in (0..).zip(times) {
            let start = columns.times.len();
            columns.times.extend(of_series.iter().map(|ms| ms * NS_PER_MS));
            columns.values.resize(columns.times.len(), 1.0);
            columns.series.push((row * 2, start..columns.times.len()));
        }
        DecodedRun::new(columns)
    }

    #[test]
    fn equal_times_are_kept_once() {
        let run = run(&[&[1, 2, 3], &[4, 5], &[1, 2, 3], &[1, 9, 3]]);
        let times: Vec<&[i64]> = run.series.iter().map(|series| &*series.times).collect();
        assert_eq!(times, [&[1, 2, 3][..], &[4, 5], &[1, 2, 3], &[1, 9, 3]]);
        assert!(std::ptr::eq(times[0], times[2]));
        assert_eq!(run.series_of(4).map(|series| series.points.clone()), Some(5..8));
        assert!(run.series_of(3).is_none());
    }

    #[test]
    fn what_was_asked_for_first_goes_first() {
        let bytes = run(&[&[1, 2, 3]]).bytes;
        let mut kept = Kept::default();
        for number in 0..3 {
            kept.insert((1, number, false), Arc::new(run(&[&[1, 2, 3]])), 3 * bytes);
        }
        assert!(kept.get((1, 0, false)).is_some() && kept.get((1, 2, false)).is_some());
        kept.insert((1, 3, false), Arc::new(run(&[&[1, 2, 3]])), 3 * bytes);
        assert!(kept.get((1, 1, false)).is_none() && kept.get((1, 0, false)).is_some());
        assert_eq!(kept.bytes, 3 * bytes);
        let cache = RunCache { kept: Mutex::new(kept), bytes_max: 3 * bytes };
        cache.retain(|key| key != PartKey::Block(1));
        let kept = cache.lock();
        assert_eq!((kept.runs.len(), kept.bytes), (0, 0));
    }
}
