//! Pages, what is stored of them, and what the scrapes report.

use throughline_model::protobuf::{Field, Reader};

use super::*;
use crate::job::sample;
use crate::relabel::{Action, Rule, RuleText};
use crate::target::Populated;

/// Fields of a message.
fn fields(message: &[u8]) -> Vec<(u32, Field<'_>)> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(|| reader.next_field().expect("protobuf")).collect()
}

/// Requests as lines `name{labels} value @time`, without the report.
fn lines(requests: &[Vec<u8>]) -> Vec<String> {
    let mut out = Vec::new();
    for request in requests {
        let symbols: Vec<&str> = fields(request)
            .into_iter()
            .filter(|(number, _)| *number == 4)
            .map(|(_, field)| std::str::from_utf8(field.bytes()).expect("text"))
            .collect();
        let labels = |packed: &[u8]| {
            let mut reader = Reader::new(packed);
            let mut texts = Vec::new();
            while !reader.rest().is_empty() {
                texts.push(symbols[reader.varint().expect("a reference") as usize]);
            }
            let pairs: Vec<String> = texts.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
            pairs.join(",")
        };
        for (_, series) in fields(request).into_iter().filter(|(number, _)| *number == 5) {
            let mut line = String::new();
            for (number, field) in fields(series.bytes()) {
                let number_of = |wanted: u32| {
                    fields(field.bytes())
                        .into_iter()
                        .find(|(n, _)| *n == wanted)
                        .map_or(0, |(_, f)| f.number())
                };
                let value = |bits: u64| match bits {
                    STALE_BITS => "stale".to_owned(),
                    bits => f64::from_bits(bits).to_string(),
                };
                match number {
                    1 => line += &labels(field.bytes()),
                    2 => {
                        let start = number_of(3);
                        line += &format!(" {} @{}", value(number_of(1)), number_of(2));
                        line += &if start == 0 { String::new() } else { format!(" ^{start}") };
                    }
                    3 => line += &format!(" histogram {} @{}", value(number_of(3)), number_of(15)),
                    4 => {
                        let parts = fields(field.bytes());
                        let own = labels(parts[0].1.bytes());
                        line += &format!(" #{own} {} @{}", value(number_of(2)), number_of(3));
                    }
                    _ => line += &format!(" [{}|{}]", number_of(1), symbols[number_of(3) as usize]),
                }
            }
            out.push(line);
        }
    }
    out
}

struct Bench {
    job: Job,
    external: Vec<(String, String)>,
    tracker: Tracker,
    time_ms: i64,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Job)) -> Bench {
        let mut job = sample::job();
        change(&mut job);
        Bench { job, external: Vec::new(), tracker: Tracker::default(), time_ms: 0 }
    }

    fn target(&self) -> Target {
        match Target::populate(&self.job, "a:1", &[]) {
            Ok(Populated::Target(target)) => *target,
            other => panic!("{other:?}"),
        }
    }

    fn digest(&mut self, page: Result<&str, &str>) -> Digest {
        self.time_ms += 1000;
        let target = self.target();
        let scrape = Scrape {
            job: &self.job,
            target: &target,
            external_labels: &self.external,
            time_ms: self.time_ms,
        };
        let format = match page {
            Ok(text) if text.ends_with("# EOF\n") => Format::OpenMetrics,
            _ => Format::Text,
        };
        let page = page.map(|text| Page { format, bytes: text.as_bytes() }).map_err(str::to_owned);
        scrape.digest(&mut self.tracker, page, Duration::from_millis(250))
    }

    /// What is stored of a page, without the report.
    fn samples(&mut self, page: &str) -> Vec<String> {
        let digest = self.digest(Ok(page));
        assert_eq!(digest.error, None, "{page}");
        let mut lines = lines(&digest.requests);
        lines.truncate(lines.len() - 5);
        lines
    }

    fn error(&mut self, page: &str) -> String {
        self.digest(Ok(page)).error.expect("refused")
    }
}

fn rule(action: Action, source: &str, regex: &str, target: Option<&str>) -> Rule {
    let source_labels = if source.is_empty() { vec![] } else { vec![source.to_owned()] };
    let (regex, target_label) = (Some(regex.to_owned()), target.map(str::to_owned));
    Rule::new(RuleText { action, source_labels, regex, target_label, ..RuleText::default() }, false)
        .expect("a rule")
}

#[test]
fn samples_get_the_labels_of_their_target() {
    let mut bench = Bench::new(|_| {});
    bench.external = vec![("cluster".into(), "c1".into()), ("zone".into(), "z1".into())];
    let page = "# TYPE a counter\n# HELP a Help.\na{zone=\"z2\"} 1\nb{job=\"x\",exported_job=\"y\",empty=\"\"} 2 7000\n";
    let rest = "cluster=c1,";
    assert_eq!(
        bench.samples(page),
        [
            format!("__name__=a,{rest}instance=a:1,job=shop,zone=z2 1 @1000 [1|Help.]"),
            format!(
                "__name__=b,{rest}exported_exported_job=x,exported_job=y,instance=a:1,job=shop,zone=z1 2 @7000 [0|]"
            ),
        ]
    );
}

#[test]
fn labels_of_the_page_may_be_honored() {
    let mut bench = Bench::new(|job| job.honor.labels = true);
    assert_eq!(
        bench.samples("a{job=\"x\",instance=\"\"} 1\n"),
        ["__name__=a,job=x 1 @1000 [0|]"],
        "an empty label of the page takes that of the target away"
    );
    let mut bench = Bench::new(|job| job.honor.timestamps = false);
    assert_eq!(bench.samples("a 1 7000\n"), ["__name__=a,instance=a:1,job=shop 1 @1000 [0|]"]);
}

#[test]
fn scrapes_report_on_themselves() {
    let mut bench = Bench::new(|job| {
        job.sample_rules = vec![rule(Action::Drop, "__name__", "b", None)];
        job.extra_metrics = true;
    });
    let digest = bench.digest(Ok("a 1\nb 2\nc 3\n"));
    assert_eq!((digest.scraped, digest.kept, digest.added), (3, 2, 2));
    let report = |name: &str, value: &str, help: &str| {
        format!("__name__={name},instance=a:1,job=shop {value} @1000 [2|{help}]")
    };
    let expected = [
        report("up", "1", "Whether the target could be scraped."),
        report("scrape_duration_seconds", "0.25", "How long fetching the page took."),
        report("scrape_samples_scraped", "3", "Samples on the page."),
        report("scrape_samples_post_metric_relabeling", "2", "Samples that relabelling left."),
        report("scrape_series_added", "2", "Series that the page before did not have."),
        report("scrape_timeout_seconds", "10", "How long fetching the page may take."),
        report(
            "scrape_sample_limit",
            "0",
            "How many samples the page may have; 0 where it may have any number.",
        ),
        report("scrape_body_size_bytes", "12", "Bytes of the page; -1 where there was none."),
    ];
    assert_eq!(lines(&digest.requests)[2..], expected);
}

#[test]
fn series_that_are_gone_get_a_stale_marker() {
    let mut bench = Bench::new(|_| {});
    bench.samples("# TYPE a counter\na 1\nb 2\nown 3 500\n");
    let stale = |name: &str, ms: i64, kind: u8| {
        format!("__name__={name},instance=a:1,job=shop stale @{ms} [{kind}|]")
    };
    assert_eq!(
        bench.samples("b 2\n"),
        ["__name__=b,instance=a:1,job=shop 2 @2000 [0|]".to_owned(), stale("a", 2000, 1)],
        "a series with times of its own does not end"
    );
    let failed = bench.digest(Err("connection refused"));
    assert_eq!(failed.error.as_deref(), Some("connection refused"));
    let all = lines(&failed.requests);
    assert_eq!(all[0], stale("b", 3000, 0));
    assert!(all[1].starts_with("__name__=up,instance=a:1,job=shop 0 @3000"), "{all:?}");
    assert_eq!(bench.samples("b 2\n").len(), 1, "it is new again");
    let target = bench.target();
    let scrape = Scrape { job: &bench.job, target: &target, external_labels: &[], time_ms: 9000 };
    let ended = lines(&scrape.end(&mut bench.tracker));
    assert_eq!(ended.len(), 6);
    assert!(ended.iter().all(|line| line.contains(" stale @9000")), "{ended:?}");
}

#[test]
fn a_page_with_one_bad_line_counts_as_none() {
    let mut bench = Bench::new(|_| {});
    bench.samples("a 1\n");
    let digest = bench.digest(Ok("a 2\nb 3\n<html>\n"));
    assert_eq!(digest.error.as_deref(), Some("line 3: expected a metric name, got \"<html>\""));
    let all = lines(&digest.requests);
    assert_eq!(all.len(), 6, "{all:?}");
    assert_eq!(all[0], "__name__=a,instance=a:1,job=shop stale @2000 [0|]");
    assert_eq!(bench.error("a{x=\"1\",x=\"2\"} 1\n"), "label \"x\" is there twice");
}

#[test]
fn a_sample_that_comes_twice_is_taken_once() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.samples("a 1\na 2\n"), ["__name__=a,instance=a:1,job=shop 1 @1000 [0|]"]);
    assert_eq!(bench.samples("a 1 100\na 2 200\n").len(), 2, "with times of their own both are");
}

#[test]
fn limits_are_held() {
    let mut bench = Bench::new(|job| job.limits.samples = 2);
    let digest = bench.digest(Ok("a 1\nb 1\nc 1\nd 1\n"));
    assert_eq!(digest.error.as_deref(), Some("the page has more samples than sample_limit 2"));
    assert_eq!((digest.scraped, digest.kept), (4, 4));
    let mut bench = Bench::new(|job| job.limits.labels = 4);
    assert_eq!(bench.samples("a{b=\"c\"} 1\n").len(), 1);
    assert_eq!(bench.error("a{b=\"c\",d=\"e\"} 1\n"), "\"a\" has 5 labels, more than label_limit 4");
    let mut bench = Bench::new(|job| job.limits.label_name_bytes = 8);
    assert_eq!(bench.error("a{ninechars=\"c\"} 1\n"), "\"a\" has a label's name of 9 bytes, more than 8");
    let mut bench = Bench::new(|job| job.limits.label_value_bytes = 4);
    assert_eq!(bench.error("a{b=\"12345\"} 1\n"), "label \"b\" of \"a\" has 5 bytes, more than 4");
    let mut bench = Bench::new(|job| job.legacy_names = true);
    assert!(bench.error("{\"a.b\"} 1\n").contains("legacy names do not allow"));
    let mut bench = Bench::new(|job| job.sample_rules = vec![rule(Action::LabelDrop, "", "__name__", None)]);
    assert_eq!(bench.error("a 1\n"), "relabelling left a sample without a metric name");
    let mut bench = Bench::new(|_| {});
    let many: String = (0..1200).map(|n| format!("l{n}=\"v\",")).collect();
    assert!(bench.error(&format!("a{{{many}}} 1\n")).contains("more than 1000"));
}

#[test]
fn exemplars_and_start_times_come_along() {
    let mut bench = Bench::new(|job| job.histograms.convert_classic = true);
    let page = "# TYPE a counter\na_total 1 # {trace_id=\"ab\"} 0.5\na_created 2.5\n\
                # TYPE h histogram\nh_bucket{le=\"+Inf\"} 1 # {trace_id=\"cd\"} 0.5 3\nh_sum 4\nh_count 1\n# EOF\n";
    assert_eq!(
        bench.samples(page),
        [
            "__name__=a_total,instance=a:1,job=shop 1 @1000 ^2500 #trace_id=ab 0.5 @1000 [1|]",
            "__name__=a_created,instance=a:1,job=shop 2.5 @1000 [1|]",
            "__name__=h,instance=a:1,job=shop histogram 4 @1000 #trace_id=cd 0.5 @3000 [3|]",
        ]
    );
    let ended = bench.samples("# EOF\n");
    assert!(
        ended.contains(&"__name__=h,instance=a:1,job=shop histogram stale @2000 [3|]".to_owned()),
        "{ended:?}"
    );
}

#[test]
fn large_pages_become_several_requests() {
    let mut bench = Bench::new(|_| {});
    let page: String = (0..150_000).map(|n| format!("a{{n=\"{n}\"}} 1\n")).collect();
    let digest = bench.digest(Ok(&page));
    assert_eq!((digest.requests.len(), digest.kept), (2, 150_000));
    assert_eq!(lines(&digest.requests).len(), 150_005);
}
