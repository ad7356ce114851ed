//! Samples out again, in the text or the protobuf format: what federation answers.
//!
//! Every family is untyped and every sample has its time, as Prometheus federates. Samples of one name should come
//! together: each change of name begins a family. Native histograms exist in the protobuf format alone, but for those with
//! custom buckets, which are written as the classic histograms that they stand for.

use throughline_model::native_histogram::{Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, ResetHint};
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};

use super::{Escaping, NAME_LABEL, format_float, is_legacy_label_name, is_legacy_metric_name};

/// Codes of the protobuf format.
const UNTYPED: u64 = 3;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

/// The upper bound of a classic bucket.
const BOUND_LABEL: &str = "le";

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    is_protobuf: bool,
    escaping: Escaping,
}

impl Form {
    /// What a reader with this `Accept` header understands best: protobuf where it is listed, text otherwise.
    pub fn negotiate(accept: &str) -> Form {
        let mut best: Option<(f64, Form)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let of =
                |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let escaping = of("escaping").and_then(Escaping::from_name).unwrap_or_default();
            let is_protobuf = media == "application/vnd.google.protobuf";
            let fits = match media {
                "text/plain" => matches!(of("version"), None | Some("0.0.4" | "1.0.0")),
                _ => is_protobuf && of("encoding").is_none_or(|encoding| encoding == "delimited"),
            };
            let weight = of("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
            if fits && weight > best.map_or(0.0, |(best, _)| best) {
                best = Some((weight, Form { is_protobuf, escaping }));
            }
        }
        best.map_or_else(Form::default, |(_, form)| form)
    }

    /// The `Content-Type` of what is written.
    pub fn content_type(self) -> String {
        let escaping = self.escaping.name();
        match (self.is_protobuf, self.escaping) {
            (true, _) => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={escaping}"
            ),
            (false, Escaping::AllowUtf8) => {
                format!("text/plain; version=1.0.0; charset=utf-8; escaping={escaping}")
            }
            (false, _) => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
        }
    }
}

/// Writes samples.
pub struct Writer {
    form: Form,
    out: Vec<u8>,
    /// The name of the family that is open, and its code in the protobuf format.
    family: Option<(String, u64)>,
    /// The metrics of that family, in the protobuf format.
    metrics: Vec<u8>,
}

impl Writer {
    /// A writer that has written nothing.
    pub fn new(form: Form) -> Writer {
        Writer { form, out: Vec::new(), family: None, metrics: Vec::new() }
    }

    /// Writes a number. Labels are all of its series, the name among them.
    pub fn number(&mut self, labels: &[(&str, &str)], value: f64, timestamp_ms: i64) {
        self.begin(labels, UNTYPED);
        if self.form.is_protobuf {
            let mut untyped = Vec::with_capacity(9);
            put_fixed64(&mut untyped, 1, value.to_bits());
            self.metric(labels, 5, &untyped, timestamp_ms);
        } else {
            self.text(labels, value, timestamp_ms);
        }
    }

    /// Writes a native histogram; nothing of one with exponential buckets in the text format, which has none.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram, timestamp_ms: i64) {
        let is_custom = histogram.schema == CUSTOM_BOUNDS_SCHEMA;
        if !self.form.is_protobuf && !is_custom {
            return;
        }
        let is_gauge = histogram.reset_hint == ResetHint::Gauge;
        self.begin(labels, if is_gauge { GAUGE_HISTOGRAM } else { HISTOGRAM });
        match (self.form.is_protobuf, is_custom) {
            (true, true) => self.metric(labels, 7, &classic_message(histogram), timestamp_ms),
            (true, false) => self.metric(labels, 7, &histogram_message(histogram), timestamp_ms),
            (false, _) => self.classic_text(labels, histogram, timestamp_ms),
        }
    }

    /// The series of a classic histogram.
    fn classic_text(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram, timestamp_ms: i64) {
        let name = name_of(labels);
        let mut line = |suffix: &str, bound: Option<&str>, value: f64| {
            let name = format!("{name}{suffix}");
            let others = labels.iter().filter(|(label, _)| *label != NAME_LABEL && *label != BOUND_LABEL);
            let mut labels: Vec<(&str, &str)> = vec![(NAME_LABEL, &name)];
            labels.extend(others.copied().chain(bound.map(|bound| (BOUND_LABEL, bound))));
            self.text(&labels, value, timestamp_ms);
        };
        for (bound, count) in classic_buckets(histogram) {
            let mut text = String::new();
            format_float(&mut text, bound);
            line("_bucket", Some(&text), count);
        }
        line("_bucket", Some("+Inf"), count_of(histogram));
        line("_sum", None, histogram.sum);
        line("_count", None, count_of(histogram));
    }

    /// Everything that was written.
    pub fn finish(mut self) -> Vec<u8> {
        self.end();
        self.out
    }

    fn begin(&mut self, labels: &[(&str, &str)], code: u64) {
        let name = name_of(labels);
        if self.family.as_ref().is_some_and(|(open, kind)| open == name && *kind == code) {
            return;
        }
        self.end();
        self.family = Some((name.to_owned(), code));
        if !self.form.is_protobuf {
            let mut line = String::from("# TYPE ");
            put_name(&mut line, &self.form.escaping.escape(name), is_legacy_metric_name);
            line.push_str(if code == UNTYPED { " untyped\n" } else { " histogram\n" });
            self.out.extend_from_slice(line.as_bytes());
        }
    }

    fn end(&mut self) {
        let Some((name, code)) = self.family.take().filter(|_| self.form.is_protobuf) else { return };
        let mut message = Vec::with_capacity(self.metrics.len() + name.len() + 8);
        put_bytes(&mut message, 1, self.form.escaping.escape(&name).as_bytes());
        put_number(&mut message, 3, code);
        message.append(&mut self.metrics);
        put_varint(&mut self.out, message.len() as u64);
        self.out.append(&mut message);
    }

    fn text(&mut self, labels: &[(&str, &str)], value: f64, timestamp_ms: i64) {
        let name = self.form.escaping.escape(name_of(labels));
        let outside = is_legacy_metric_name(&name);
        let mut line = String::new();
        let mut parts = 0;
        if outside {
            line.push_str(&name);
        } else {
            line.push('{');
            put_quoted(&mut line, &name);
            parts = 1;
        }
        for (label, value) in labels.iter().filter(|(label, _)| *label != NAME_LABEL) {
            line.push(if parts == 0 { '{' } else { ',' });
            parts += 1;
            put_name(&mut line, &self.form.escaping.escape(label), is_legacy_label_name);
            line.push('=');
            put_quoted(&mut line, value);
        }
        line.push_str(if parts == 0 { " " } else { "} " });
        format_float(&mut line, value);
        line.push_str(&format!(" {timestamp_ms}\n"));
        self.out.extend_from_slice(line.as_bytes());
    }

    fn metric(&mut self, labels: &[(&str, &str)], field: u32, value: &[u8], timestamp_ms: i64) {
        let mut metric = Vec::with_capacity(64 + value.len());
        for (label, value) in labels.iter().filter(|(label, _)| *label != NAME_LABEL) {
            let mut pair = Vec::with_capacity(label.len() + value.len() + 8);
            put_bytes(&mut pair, 1, self.form.escaping.escape(label).as_bytes());
            put_bytes(&mut pair, 2, value.as_bytes());
            put_bytes(&mut metric, 1, &pair);
        }
        put_bytes(&mut metric, field, value);
        put_number(&mut metric, 6, timestamp_ms.cast_unsigned());
        put_bytes(&mut self.metrics, 4, &metric);
    }
}

fn name_of<'a>(labels: &[(&'a str, &'a str)]) -> &'a str {
    labels.iter().find(|(label, _)| *label == NAME_LABEL).map_or("", |(_, name)| name)
}

fn put_name(out: &mut String, name: &str, is_plain: fn(&str) -> bool) {
    if is_plain(name) { out.push_str(name) } else { put_quoted(out, name) }
}

fn put_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn count_of(histogram: &NativeHistogram) -> f64 {
    if histogram.is_float { histogram.count_float } else { histogram.count_int as f64 }
}

/// The bounds of custom buckets with the counts up to each.
fn classic_buckets(histogram: &NativeHistogram) -> Vec<(f64, f64)> {
    let Buckets { spans, deltas, counts } = &histogram.positive;
    let mut integer = 0;
    let from_deltas = deltas.iter().map(|delta| {
        integer += delta;
        integer as f64
    });
    let mut populated = counts.iter().copied().chain(from_deltas);
    let mut by_index = vec![0.0; histogram.custom_bounds.len()];
    let mut index: i64 = 0;
    for span in spans {
        index += i64::from(span.offset);
        for count in populated.by_ref().take(span.length as usize) {
            if let Some(at) = usize::try_from(index).ok().and_then(|index| by_index.get_mut(index)) {
                *at = count;
            }
            index += 1;
        }
    }
    let mut below = 0.0;
    let cumulative = histogram.custom_bounds.iter().zip(by_index).map(|(bound, count)| {
        below += count;
        (*bound, below)
    });
    cumulative.collect()
}

fn classic_message(histogram: &NativeHistogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put_fixed64(&mut out, 4, count_of(histogram).to_bits());
    put_fixed64(&mut out, 2, histogram.sum.to_bits());
    for (bound, count) in classic_buckets(histogram) {
        let mut bucket = Vec::with_capacity(18);
        put_fixed64(&mut bucket, 4, count.to_bits());
        put_fixed64(&mut bucket, 2, bound.to_bits());
        put_bytes(&mut out, 3, &bucket);
    }
    out
}

fn histogram_message(histogram: &NativeHistogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    if histogram.is_float {
        put_fixed64(&mut out, 4, histogram.count_float.to_bits());
        put_fixed64(&mut out, 8, histogram.zero_count_float.to_bits());
    } else {
        put_number(&mut out, 1, histogram.count_int);
        put_number(&mut out, 7, histogram.zero_count_int);
    }
    put_fixed64(&mut out, 2, histogram.sum.to_bits());
    put_number(&mut out, 5, zigzag(i64::from(histogram.schema)));
    put_fixed64(&mut out, 6, histogram.zero_threshold.to_bits());
    put_buckets(&mut out, &histogram.negative, [9, 10, 11]);
    put_buckets(&mut out, &histogram.positive, [12, 13, 14]);
    if histogram.positive.spans.is_empty() && histogram.negative.spans.is_empty() {
        // An empty span is how the format tells an empty native histogram from a classic one.
        put_bytes(&mut out, 12, &[]);
    }
    out
}

fn put_buckets(out: &mut Vec<u8>, buckets: &Buckets, [spans, deltas, counts]: [u32; 3]) {
    for span in &buckets.spans {
        let mut message = Vec::with_capacity(12);
        put_number(&mut message, 1, zigzag(i64::from(span.offset)));
        put_number(&mut message, 2, u64::from(span.length));
        put_bytes(out, spans, &message);
    }
    // Lists are not packed: the format is of proto2.
    buckets.deltas.iter().for_each(|delta| put_number(out, deltas, zigzag(*delta)));
    buckets.counts.iter().for_each(|count| put_fixed64(out, counts, count.to_bits()));
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}
