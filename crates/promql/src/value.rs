//! What expressions evaluate to: columns over the steps of a query, and the result for the asker.

use std::sync::Arc;

use throughline_exec::{FloatHistogram, Labels};

/// One sample.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// The times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub start_ms: i64,
    pub step_ms: i64,
    pub count: usize,
}

impl Steps {
    pub(crate) fn single(time_ms: i64) -> Steps {
        Steps { start_ms: time_ms, step_ms: 1, count: 1 }
    }

    pub(crate) fn at(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let steps = *self;
        (0..steps.count).map(move |step| steps.at(step))
    }
}

/// A set of steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepSet(Vec<u64>);

impl StepSet {
    pub(crate) fn none(steps: usize) -> StepSet {
        StepSet(vec![0; steps.div_ceil(64)])
    }

    pub(crate) fn all(steps: usize) -> StepSet {
        let mut set = StepSet(vec![u64::MAX; steps.div_ceil(64)]);
        if let (Some(last), used @ 1..) = (set.0.last_mut(), steps % 64) {
            *last = (1 << used) - 1;
        }
        set
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        self.0[step / 64] >> (step % 64) & 1 == 1
    }

    pub(crate) fn insert(&mut self, step: usize) {
        self.0[step / 64] |= 1 << (step % 64);
    }

    pub(crate) fn remove(&mut self, step: usize) {
        self.0[step / 64] &= !(1 << (step % 64));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn union(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(crate) fn intersect(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine &= theirs);
    }

    pub(crate) fn subtract(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine &= !theirs);
    }

    /// The steps, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }
}

/// The samples of one series at all steps: floats dense, histograms sparse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// As long as there are steps; of no meaning where `present` has no bit.
    pub values: Vec<f64>,
    /// Which steps have floats.
    pub present: StepSet,
    /// By step, ascending.
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl Column {
    pub(crate) fn empty(steps: usize) -> Column {
        Column { values: vec![0.0; steps], present: StepSet::none(steps), histograms: Vec::new() }
    }

    /// A float at every step.
    pub(crate) fn full(values: Vec<f64>) -> Column {
        let present = StepSet::all(values.len());
        Column { values, present, histograms: Vec::new() }
    }

    /// Steps must come in ascending order if the sample is a histogram.
    pub(crate) fn set(&mut self, step: usize, sample: Sample) {
        match sample {
            Sample::Float(value) => self.set_float(step, value),
            Sample::Histogram(histogram) => self.histograms.push((step as u32, histogram)),
        }
    }

    pub(crate) fn set_float(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present.insert(step);
    }

    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        self.present.has(step).then(|| self.values[step])
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let found = self.histograms.binary_search_by_key(&(step as u32), |pair| pair.0);
        found.ok().map(|at| &self.histograms[at].1)
    }

    pub(crate) fn get(&self, step: usize) -> Option<Sample> {
        match self.float(step) {
            Some(value) => Some(Sample::Float(value)),
            None => self.histogram(step).map(|histogram| Sample::Histogram(histogram.clone())),
        }
    }

    /// Steps with a sample of either kind.
    pub(crate) fn occupied(&self) -> StepSet {
        let mut set = self.present.clone();
        self.histograms.iter().for_each(|(step, _)| set.insert(*step as usize));
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.present.is_empty()
    }

    /// Leaves only the steps of `set`.
    pub(crate) fn retain(&mut self, set: &StepSet) {
        self.present.intersect(set);
        self.histograms.retain(|(step, _)| set.has(*step as usize));
    }

    /// How many float samples the column weighs.
    pub(crate) fn weight(&self) -> u64 {
        let histograms: u64 = self.histograms.iter().map(|pair| pair.1.sample_weight()).sum();
        self.present.len() as u64 + histograms
    }

    /// Samples in the order of steps.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (usize, Sample)> {
        let mut histograms = self.histograms.iter().peekable();
        let mut floats = self.present.iter().peekable();
        std::iter::from_fn(move || {
            let first_histogram = histograms.peek().map_or(usize::MAX, |pair| pair.0 as usize);
            match floats.peek() {
                Some(step) if *step <= first_histogram => {
                    let step = floats.next()?;
                    Some((step, Sample::Float(self.values[step])))
                }
                _ => histograms
                    .next()
                    .map(|(step, histogram)| (*step as usize, Sample::Histogram(histogram.clone()))),
            }
        })
    }
}

/// One series of a vector over all steps.
#[derive(Clone, Debug)]
pub(crate) struct StepSeries {
    pub labels: Labels,
    /// Whether the metric's name, type and unit are dropped in the end.
    pub drop_name: bool,
    pub column: Column,
}

/// What an expression evaluates to, at every step.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<StepSeries>),
}

/// One series of an instant query's result.
#[derive(Clone, Debug)]
pub struct InstantSample {
    /// The series.
    pub labels: Labels,
    /// Its sample.
    pub sample: Sample,
}

/// One series of a range query's result, or of a range selector's.
#[derive(Clone, Debug, Default)]
pub struct RangeSeries {
    /// The series.
    pub labels: Labels,
    /// Times in milliseconds and numbers.
    pub floats: Vec<(i64, f64)>,
    /// Times in milliseconds and histograms.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// The value of a query.
#[derive(Clone, Debug)]
pub enum QueryValue {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// A sample for each series, in the order of the result.
    Vector(Vec<InstantSample>),
    /// Samples over time, sorted by labels.
    Matrix(Vec<RangeSeries>),
}

/// The value of a query and what there is to say about it.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The value.
    pub value: QueryValue,
    /// Sorted texts.
    pub warnings: Vec<String>,
    /// Sorted texts.
    pub infos: Vec<String>,
    /// Samples looked at.
    pub samples_read: u64,
    /// The most samples held at one time.
    pub samples_peak: u64,
    /// Samples by step, where they were to be counted.
    pub counts: Option<crate::eval::SampleCounts>,
}
