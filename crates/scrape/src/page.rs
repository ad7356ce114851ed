//! One page, or the lack of one, becomes requests of remote write 2.0: what goes into the log and the store.
//!
//! 1. Every sample gets the labels of its target, goes through the rules, and is held against the limits.
//! 2. Series that the last page had and this one has not get a stale marker.
//! 3. The scrape reports on itself: `up` and its companions.
//!
//! A page that cannot be read, or breaks a limit, counts as none: all its series end. This is pure; the same page at
//! the same time gives the same requests.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use throughline_model::native_histogram::NativeHistogram;
use throughline_model::point::{MetricType, STALE_BITS};
use throughline_wire::prometheus::exposition::{
    self, Entry, Format, Metadata, NAME_LABEL, Value, is_legacy_label_name, is_legacy_metric_name,
};
use throughline_wire::prometheus::write::{Exemplar, RequestBuilder, Sample, Series};

use crate::job::Job;
use crate::labels::LabelSet;
use crate::relabel;
use crate::staleness::{Ended, Seen, Tracker};
use crate::target::Target;

/// A request is cut at so many samples: far below what the decoder takes at once.
const REQUEST_SAMPLES: usize = 100_000;
/// A request is cut at so many bytes: the frames of the log stay of a size that is written at once.
const REQUEST_BYTES: usize = 8 << 20;
/// The most labels of a sample, whatever is configured: what the decoder takes.
const LABELS_MAX: usize = 1000;

/// What was fetched.
#[derive(Clone, Copy, Debug)]
pub struct Page<'p> {
    /// How it is written.
    pub format: Format,
    /// Its bytes, decompressed.
    pub bytes: &'p [u8],
}

/// A scrape of one target.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// Its job.
    pub job: &'a Job,
    /// Its target.
    pub target: &'a Target,
    /// Labels that every series gets that lacks them.
    pub external_labels: &'a [(String, String)],
    /// The time of samples that have none, milliseconds since the epoch.
    pub time_ms: i64,
}

/// What became of a scrape.
#[derive(Debug, Default)]
pub struct Digest {
    /// Requests of remote write 2.0.
    pub requests: Vec<Vec<u8>>,
    /// Why the page is not used.
    pub error: Option<String>,
    /// Samples of the page.
    pub scraped: u64,
    /// Those that relabelling left.
    pub kept: u64,
    /// Series that the page before did not have.
    pub added: u64,
}

impl Scrape<'_> {
    /// What a page comes to, or the reason why there is none. `duration` is how long it took to fetch.
    pub fn digest(
        &self,
        tracker: &mut Tracker,
        page: Result<Page<'_>, String>,
        duration: Duration,
    ) -> Digest {
        let body_bytes = page.as_ref().map_or(-1.0, |page| page.bytes.len() as f64);
        let mut reading = Reading::new(*self, tracker);
        match page {
            Ok(page) => reading.read(page),
            Err(reason) => reading.error = Some(reason),
        }
        let Reading { seen, mut batch, scraped, kept, error, .. } = reading;
        let added = seen.added();
        let seen = if error.is_some() { Seen::default() } else { seen };
        if error.is_some() {
            batch = Batch::default();
        }
        tracker.replace(seen, |ended| batch.stale(&ended, self.time_ms));
        let up = if error.is_none() { 1.0 } else { 0.0 };
        let counts = [scraped, kept, added].map(|count| count as f64);
        self.report(&mut batch, [up, duration.as_secs_f64(), counts[0], counts[1], counts[2]]);
        if self.job.extra_metrics {
            let timeout = self.target.timeout.as_secs_f64();
            self.report_extra(&mut batch, [timeout, self.job.limits.samples as f64, body_bytes]);
        }
        Digest { requests: batch.finish(), error, scraped, kept, added }
    }

    /// The requests that end all series of a target that is scraped no more.
    pub fn end(&self, tracker: &mut Tracker) -> Vec<Vec<u8>> {
        let mut batch = Batch::default();
        tracker.end(|ended| batch.stale(&ended, self.time_ms));
        let stale = f64::from_bits(STALE_BITS);
        self.report(&mut batch, [stale; 5]);
        if self.job.extra_metrics {
            self.report_extra(&mut batch, [stale; 3]);
        }
        batch.finish()
    }

    fn report(&self, batch: &mut Batch, values: [f64; 5]) {
        let series = [
            ("up", "Whether the target could be scraped.", ""),
            ("scrape_duration_seconds", "How long fetching the page took.", "seconds"),
            ("scrape_samples_scraped", "Samples on the page.", ""),
            ("scrape_samples_post_metric_relabeling", "Samples that relabelling left.", ""),
            ("scrape_series_added", "Series that the page before did not have.", ""),
        ];
        for (series, value) in series.into_iter().zip(values) {
            self.report_one(batch, series, value);
        }
    }

    fn report_extra(&self, batch: &mut Batch, values: [f64; 3]) {
        let series = [
            ("scrape_timeout_seconds", "How long fetching the page may take.", "seconds"),
            (
                "scrape_sample_limit",
                "How many samples the page may have; 0 where it may have any number.",
                "",
            ),
            ("scrape_body_size_bytes", "Bytes of the page; -1 where there was none.", "bytes"),
        ];
        for (series, value) in series.into_iter().zip(values) {
            self.report_one(batch, series, value);
        }
    }

    fn report_one(&self, batch: &mut Batch, (name, help, unit): (&str, &str, &str), value: f64) {
        let mut labels = LabelSet::default();
        for (name, value) in self.external_labels.iter().chain(&self.target.labels) {
            labels.set(name.as_str(), value.as_str());
        }
        labels.set(NAME_LABEL, name);
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let metadata = Metadata { family: name, kind: MetricType::Gauge, help, unit };
        let sample = Sample { time_ms: self.time_ms, start_ms: 0, value };
        batch.add(&pairs, &metadata, &[sample], &[], &[]);
    }

    /// A sample's labels with those of its target.
    fn labels<'e>(&'e self, entry: &'e Entry<'_>) -> Result<LabelSet<'e>, String> {
        let own = entry
            .labels
            .iter()
            .map(|(name, value)| (Cow::Borrowed(name.as_ref()), Cow::Borrowed(value.as_ref())));
        let mut labels =
            LabelSet::from_pairs(own).map_err(|name| format!("label {name:?} is there twice"))?;
        if self.job.honor.labels {
            for (name, value) in self.target.labels.iter().filter(|(name, _)| !entry_has(entry, name)) {
                labels.set(name.as_str(), value.as_str());
            }
        } else {
            let mut renamed: Vec<(&str, String)> = Vec::new();
            for (name, value) in &self.target.labels {
                if !labels.get(name).is_empty() {
                    renamed.push((name, labels.get(name).to_owned()));
                }
                labels.set(name.as_str(), value.as_str());
            }
            // Short names first, as in Prometheus, so that what is renamed twice comes out alike.
            renamed.sort_by_key(|(name, _)| name.len());
            for (name, value) in renamed {
                let mut new = format!("exported_{name}");
                while !labels.get(&new).is_empty() {
                    new.insert_str(0, "exported_");
                }
                labels.set(new, value);
            }
        }
        Ok(labels)
    }

    /// Holds a sample's final labels against what is configured.
    fn check(&self, labels: &LabelSet<'_>) -> Result<(), String> {
        let limits = &self.job.limits;
        let metric = labels.get(NAME_LABEL);
        if metric.is_empty() {
            return Err("relabelling left a sample without a metric name".to_owned());
        }
        let count_max = if limits.labels == 0 { LABELS_MAX } else { limits.labels.min(LABELS_MAX) };
        if labels.len() > count_max {
            return Err(format!("{metric:?} has {} labels, more than label_limit {count_max}", labels.len()));
        }
        for (name, value) in labels.iter() {
            let is_legacy =
                if name == NAME_LABEL { is_legacy_metric_name(value) } else { is_legacy_label_name(name) };
            if name.is_empty() || (self.job.legacy_names && !is_legacy) {
                return Err(format!("{metric:?} has the name {name:?}, which legacy names do not allow"));
            }
            if exceeds(name.len(), limits.label_name_bytes) {
                let (bytes, limit) = (name.len(), limits.label_name_bytes);
                return Err(format!("{metric:?} has a label's name of {bytes} bytes, more than {limit}"));
            }
            if exceeds(value.len(), limits.label_value_bytes) {
                let (bytes, limit) = (value.len(), limits.label_value_bytes);
                return Err(format!("label {name:?} of {metric:?} has {bytes} bytes, more than {limit}"));
            }
        }
        Ok(())
    }
}

/// Zero is no limit.
fn exceeds(value: usize, limit: usize) -> bool {
    limit > 0 && value > limit
}

fn entry_has(entry: &Entry<'_>, label: &str) -> bool {
    entry.labels.iter().any(|(name, _)| name == label)
}

/// A page while it is read.
struct Reading<'s> {
    scrape: Scrape<'s>,
    before: &'s Tracker,
    seen: Seen,
    batch: Batch,
    scraped: u64,
    kept: u64,
    error: Option<String>,
}

impl<'s> Reading<'s> {
    fn new(scrape: Scrape<'s>, before: &'s Tracker) -> Reading<'s> {
        let (seen, batch) = (Seen::default(), Batch::default());
        Reading { scrape, before, seen, batch, scraped: 0, kept: 0, error: None }
    }

    fn read(&mut self, page: Page<'_>) {
        let histograms = self.scrape.target.histograms;
        let read = exposition::parse(page.format, page.bytes, histograms, |entry| match self.take(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(reason) => {
                self.error = Some(reason);
                ControlFlow::Break(())
            }
        });
        if let Err(error) = read {
            self.error = Some(error.to_string());
        }
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        self.scraped += 1;
        if entry.labels.len() > LABELS_MAX {
            return Err(format!("a sample has {} labels, more than {LABELS_MAX}", entry.labels.len()));
        }
        let scrape = self.scrape;
        let mut labels = scrape.labels(entry)?;
        if !relabel::apply(&scrape.job.sample_rules, &mut labels) {
            return Ok(());
        }
        labels.finish();
        if labels.is_empty() {
            return Ok(());
        }
        for (name, value) in scrape.external_labels.iter().filter(|(name, _)| !entry_has(entry, name)) {
            if !labels.has(name) {
                labels.set(name.as_str(), value.as_str());
            }
        }
        scrape.check(&labels)?;
        self.kept += 1;
        let limit = scrape.job.limits.samples;
        if limit > 0 && self.kept > limit as u64 {
            // What is beyond is counted, so that the report says how much too large the page is.
            self.error = Some(format!("the page has more samples than sample_limit {limit}"));
            return Ok(());
        }
        let time_ms = entry.timestamp_ms.filter(|_| scrape.job.honor.timestamps);
        let ends = time_ms.is_none() || scrape.job.honor.timestamps_staleness;
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let is_first = self.seen.note(self.before, &pairs, entry, ends);
        if is_first || time_ms.is_some() {
            self.batch.entry(&pairs, entry, time_ms.unwrap_or(scrape.time_ms), scrape.time_ms);
        }
        Ok(())
    }
}

/// Requests that are being written.
#[derive(Default)]
struct Batch {
    full: Vec<Vec<u8>>,
    open: RequestBuilder,
}

impl Batch {
    fn entry(&mut self, labels: &[(&str, &str)], entry: &Entry<'_>, time_ms: i64, scrape_ms: i64) {
        let start_ms = entry.start_timestamp_ms;
        let is_native = matches!(entry.value, Value::Histogram(_));
        // A native histogram's exemplars come again with every page: without a time they cannot be told from new ones.
        let wanted = |e: &&exposition::Exemplar<'_>| !is_native || e.timestamp_ms.is_some();
        let exemplars: Vec<(Vec<(&str, &str)>, &exposition::Exemplar<'_>)> = entry
            .exemplars
            .iter()
            .filter(wanted)
            .map(|e| (e.labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect(), e))
            .collect();
        let exemplars: Vec<Exemplar<'_>> = exemplars
            .iter()
            .map(|(labels, e)| Exemplar {
                labels,
                time_ms: e.timestamp_ms.unwrap_or(scrape_ms),
                value: e.value,
            })
            .collect();
        match entry.value {
            Value::Number(value) => {
                // A page has no stale markers; NaN of any other bits is that of Prometheus.
                let value = if value.is_nan() { f64::NAN } else { value };
                let sample = Sample { time_ms, start_ms, value };
                self.add(labels, &entry.metadata, &[sample], &[], &exemplars);
            }
            Value::Histogram(histogram) => {
                let sample = Sample { time_ms, start_ms, value: histogram.clone() };
                self.add(labels, &entry.metadata, &[], &[sample], &exemplars);
            }
        }
    }

    fn stale(&mut self, ended: &Ended<'_>, time_ms: i64) {
        let stale = f64::from_bits(STALE_BITS);
        if ended.is_native {
            let value = NativeHistogram { sum: stale, ..NativeHistogram::default() };
            let sample = Sample { time_ms, start_ms: 0, value };
            self.add(ended.labels, &ended.metadata, &[], &[sample], &[]);
        } else {
            let sample = Sample { time_ms, start_ms: 0, value: stale };
            self.add(ended.labels, &ended.metadata, &[sample], &[], &[]);
        }
    }

    fn add(
        &mut self,
        labels: &[(&str, &str)],
        metadata: &Metadata<'_>,
        samples: &[Sample],
        histograms: &[Sample<NativeHistogram>],
        exemplars: &[Exemplar<'_>],
    ) {
        let Metadata { kind: metric_type, help, unit, .. } = *metadata;
        self.open.add(&Series { labels, metric_type, help, unit }, samples, histograms, exemplars);
        if self.open.len() >= REQUEST_SAMPLES || self.open.bytes() >= REQUEST_BYTES {
            self.full.push(std::mem::take(&mut self.open).finish());
        }
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.full.push(self.open.finish());
        }
        self.full
    }
}

#[cfg(test)]
mod tests;
