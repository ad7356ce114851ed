//! Runs of points, decoded, and those of blocks that were asked for last.
//!
//! A dashboard and a rule ask for the same series again and again, and most of the time of a short query is decoding
//! them. Blocks never change, so what was decoded stays right as long as its block is there. A query that reads more
//! than half of the room leaves what is kept alone.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_exec::{Times, stale_nan};
use throughline_store::snapshot::parts::{MetricPart, PartKey, PointColumns, PointWant, RunBounds};
use throughline_store::{Error, TimeRange};

use super::select::Access;

/// Bytes of decoded runs that are kept: some ten million points that are whole numbers, a fifteenth of the memory target.
pub(super) const KEPT_BYTES_MAX: usize = 40 << 20;

/// What a run of a block takes, about: a value for each of its points, half of them whole numbers, and times that its series
/// share.
const RUN_BYTES: usize = 450 << 10;

/// Bytes of the last points of series that are kept: those of half a million series. What is true now is asked for more often
/// than anything else, and of all series at once.
const LAST_BYTES_MAX: usize = 8 << 20;

/// OTLP's flag of a point that says only that there is no value any more.
const NO_RECORDED_VALUE: u32 = 1;

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

/// Values of points. Most are whole numbers that take half the memory as such: what is kept is twice as much then, and what is
/// read passes through the caches in half the time.
#[derive(Debug)]
pub(super) enum Values {
    /// Any.
    Any(Vec<f64>),
    /// Whole numbers of 32 bits.
    Whole(Vec<i32>),
}

impl Values {
    /// The same values in the least memory. What would come back as anything but itself stays as it is: fractions, what is
    /// too large, negative zero and everything that is no number.
    fn compacted(self) -> Values {
        let Values::Any(values) = self else { return self };
        let whole = |value: f64| f64::from(value as i32).to_bits() == value.to_bits();
        // Without an early exit, so that several values are looked at at once.
        if values.iter().fold(true, |all, value| all & whole(*value)) {
            return Values::Whole(values.into_iter().map(|value| value as i32).collect());
        }
        Values::Any(values)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Any(values) => values.len(),
            Values::Whole(values) => values.len(),
        }
    }

    /// The value of a point.
    pub(super) fn get(&self, at: usize) -> Option<f64> {
        match self {
            Values::Any(values) => values.get(at).copied(),
            Values::Whole(values) => values.get(at).map(|value| f64::from(*value)),
        }
    }

    /// The values of some points.
    pub(super) fn range(&self, range: Range<usize>) -> Vec<f64> {
        match self {
            Values::Any(values) => values.get(range).unwrap_or_default().to_vec(),
            Values::Whole(values) => {
                values.get(range).unwrap_or_default().iter().map(|value| f64::from(*value)).collect()
            }
        }
    }

    /// The values of some points, by their places behind a first.
    pub(super) fn picked(&self, first: usize, places: &[usize]) -> Vec<f64> {
        places.iter().filter_map(|place| self.get(first + place)).collect()
    }

    fn bytes(&self) -> usize {
        match self {
            Values::Any(values) => size_of_val(&**values),
            Values::Whole(values) => size_of_val(&**values),
        }
    }
}

/// A run's points in columns, with times in milliseconds.
pub(super) struct DecodedRun {
    /// By row.
    pub(super) series: Vec<RunSeries>,
    /// The values of all points.
    pub(super) values: Values,
    /// All but times and values.
    pub(super) columns: PointColumns,
    bytes: usize,
}

impl DecodedRun {
    fn new(mut columns: PointColumns) -> DecodedRun {
        let times = std::mem::take(&mut columns.times);
        let values = Values::Any(std::mem::take(&mut columns.values));
        let mut known = KnownTimes { columns: &times, known: HashMap::new() };
        let series: Vec<RunSeries> = std::mem::take(&mut columns.series)
            .into_iter()
            .map(|(row, points)| RunSeries { row, times: known.of(&points), points })
            .collect();
        let n_times: usize = known.known.values().map(|(_, times)| times.len()).sum();
        let bytes = series.len() * size_of::<RunSeries>()
            + n_times * size_of::<i64>()
            + columns.flags.len() * size_of::<u32>()
            + columns.payloads.memory_bytes();
        DecodedRun { series, values, columns, bytes }
    }

    /// The same in the least memory, to be kept.
    fn compacted(self) -> DecodedRun {
        let values = self.values.compacted();
        DecodedRun { bytes: self.bytes + values.bytes(), values, ..self }
    }

    /// A series by its row.
    pub(super) fn series_of(&self, row: u32) -> Option<&RunSeries> {
        self.series.get(self.series.binary_search_by_key(&row, |series| series.row).ok()?)
    }
}

/// The last point of each series of a run.
#[derive(Default)]
pub(super) struct LastPoints {
    /// The first row.
    first: u32,
    /// By row: its time in milliseconds, and its value. A series without points has the least of times.
    points: Vec<(i64, f64)>,
}

impl LastPoints {
    fn new(run: &RunBounds, decoded: &DecodedRun) -> LastPoints {
        let mut points = vec![(i64::MIN, f64::NAN); run.series.len()];
        for series in &decoded.series {
            let place = series.row.checked_sub(run.series.start).and_then(|at| points.get_mut(at as usize));
            let last = series.points.end.saturating_sub(1);
            if let (Some(place), Some(time)) = (place, series.times.last()) {
                let is_stale =
                    decoded.columns.flags.get(last).is_some_and(|flags| flags & NO_RECORDED_VALUE != 0);
                let value = decoded.values.get(last).unwrap_or(f64::NAN);
                *place = (*time, if is_stale { stale_nan() } else { value });
            }
        }
        LastPoints { first: run.series.start, points }
    }

    /// Time and value of the last point of a row.
    pub(super) fn of(&self, row: u32) -> Option<(i64, f64)> {
        let at = row.checked_sub(self.first)?;
        self.points.get(at as usize).copied().filter(|(time, _)| *time != i64::MIN)
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
    /// By block and run.
    last: HashMap<(u64, u32), Arc<LastPoints>>,
    last_bytes: usize,
}

impl RunCache {
    pub(super) fn new(bytes_max: usize) -> RunCache {
        RunCache { kept: Mutex::default(), bytes_max }
    }

    /// Whether what is taken from a run is at hand: it is kept, or in a memtable, of which only what is wanted is read.
    pub(super) fn has(&self, part: &MetricPart, run: &RunBounds, access: Access) -> bool {
        let PartKey::Block(block) = part.key() else { return true };
        let kept = self.lock();
        match access {
            Access::Last => kept.last.contains_key(&(block, run.run)),
            Access::Points(want) => {
                !want.start_times && kept.runs.contains_key(&(block, run.run, want.payloads))
            }
        }
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
        let decoded = DecodedRun::new(part.read_run(run, &all, TimeRange::ALL, want)?);
        let decoded = Arc::new(decoded.compacted());
        self.lock().insert(key, decoded.clone(), self.bytes_max);
        Ok(decoded)
    }

    /// The last points of the series of a block's run.
    pub(super) fn last_points(&self, part: &MetricPart, run: &RunBounds) -> Result<Arc<LastPoints>, Error> {
        let key = match part.key() {
            PartKey::Block(block) => (block, run.run),
            PartKey::Memtable(_) => return Ok(Arc::default()),
        };
        if let Some(known) = self.lock().last.get(&key) {
            return Ok(known.clone());
        }
        // Outside the lock, and decoded without being kept: a query of all series reads every run once.
        let all: Vec<u32> = run.series.clone().collect();
        let decoded = DecodedRun::new(part.read_run(run, &all, TimeRange::ALL, PointWant::default())?);
        let last = Arc::new(LastPoints::new(run, &decoded));
        let bytes = size_of_val(&*last.points);
        let mut kept = self.lock();
        if kept.last_bytes + bytes > LAST_BYTES_MAX {
            kept.last.clear();
            kept.last_bytes = 0;
        }
        if kept.last.insert(key, last.clone()).is_none() {
            kept.last_bytes += bytes;
        }
        Ok(last)
    }

    /// Drops the runs of blocks that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(PartKey) -> bool) {
        let mut kept = self.lock();
        kept.runs.retain(|(block, ..), _| is_there(PartKey::Block(*block)));
        kept.bytes = kept.runs.values().map(|(run, _)| run.bytes).sum();
        kept.last.retain(|(block, _), _| is_there(PartKey::Block(*block)));
        kept.last_bytes = kept.last.values().map(|last| size_of_val(&*last.points)).sum();
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
        DecodedRun::new(columns).compacted()
    }

    #[test]
    fn values_come_back_to_the_bit() {
        let whole = [0.0, 1.0, -7.0, f64::from(i32::MAX), f64::from(i32::MIN)];
        let others =
            [-0.0, 0.5, f64::NAN, stale_nan(), f64::INFINITY, 2_147_483_648.0, 1e300, f64::MIN_POSITIVE];
        let kept = Values::Any(whole.to_vec()).compacted();
        assert!(matches!(kept, Values::Whole(_)));
        assert_eq!(
            (kept.range(0..5), kept.picked(1, &[0, 2])),
            (whole.to_vec(), vec![1.0, f64::from(i32::MAX)])
        );
        assert_eq!((kept.get(2), kept.get(5), kept.len()), (Some(-7.0), None, 5));
        for other in others {
            let kept = Values::Any(vec![1.0, other]).compacted();
            assert_eq!(kept.get(1).map(f64::to_bits), Some(other.to_bits()));
            assert!(matches!(kept, Values::Any(_)));
        }
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
    fn the_last_point_of_each_series_is_known() {
        let mut run = run(&[&[1, 2, 3], &[4, 5]]);
        run.columns.flags = vec![0, 0, 0, 0, NO_RECORDED_VALUE];
        // The run has rows from 0 to 3, of which 1 and 3 have no points.
        let bounds = RunBounds { run: 0, series: 0..4, min_time: 1, max_time: 5 };
        let last = LastPoints::new(&bounds, &run);
        assert_eq!(last.of(0), Some((3, 1.0)));
        assert_eq!(last.of(2).map(|(time, value)| (time, value.to_bits())), Some((5, stale_nan().to_bits())));
        assert_eq!((last.of(1), last.of(3), last.of(9)), (None, None, None));
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
