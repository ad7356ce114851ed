//! A scraper with real sockets, files and a store: pages as targets show them, good and bad.

#[path = "../../../receive/tests/python/environment.rs"]
mod environment;
mod python;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use target::Answer;
use throughline_scrape::discovery::{FileDiscovery, Group, HttpDiscovery};
use throughline_scrape::job::{Credentials, Discovery, Fetch, Honor, Job, PageLimits, Protocol, Secret};
use throughline_scrape::observed::{ActiveTarget, TargetHealth};
use throughline_scrape::{Observer, ScrapeConfig, Scraper};
use throughline_store::disk::SimDisk;
use throughline_store::snapshot::{SeriesQuery, TimeRange};
use throughline_store::{Store, StoreConfig, SystemClock};
use throughline_wire::DecodeLimits;
use throughline_wire::prometheus::exposition::{Escaping, Histograms};

/// A stale marker.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);

/// A scraper and its store.
struct Bench {
    store: Store,
    observer: Observer,
    scraper: Scraper,
}

impl Bench {
    fn start(jobs: Vec<Job>) -> Bench {
        let mut config = StoreConfig::new(PathBuf::from("/data"), Duration::from_secs(86_400));
        config.segment_bytes = 1 << 20;
        config.reserve_bytes = Some(1 << 20);
        let clock = Arc::new(SystemClock::new());
        let store = Store::open(config, Arc::new(SimDisk::new(1)), clock.clone()).expect("opened");
        let config = ScrapeConfig {
            jobs,
            external_labels: Vec::new(),
            decode_limits: DecodeLimits::with_retention(86_400_000_000_000),
            seed: 0,
            warn: Box::new(|text| eprintln!("{text}")),
        };
        let scraper = Scraper::start(config, store.clone(), clock);
        Bench { store, observer: scraper.observer(), scraper }
    }

    /// Values of a metric by its labels, job and instance aside, in time order.
    fn values(&self, metric: &str) -> BTreeMap<String, Vec<f64>> {
        let (range, metric) = (TimeRange::ALL, Some(metric.to_owned()));
        let query = SeriesQuery { range, metric, service: None, attributes: vec![], limit: 1000 };
        let found = self.store.snapshot().points(&query).expect("readable").items;
        let series = found.into_iter().map(|(series, points)| {
            let own =
                series.attributes.iter().filter(|(name, _)| !matches!(name.as_str(), "job" | "instance"));
            let labels: Vec<String> =
                own.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
            (labels.join(","), points.iter().map(|point| point.value).collect())
        });
        series.collect()
    }

    /// Waits until a metric without further labels has a value that fits.
    async fn wait_for(&self, metric: &str, fits: impl Fn(f64) -> bool) {
        let found = || self.values(metric).values().flatten().any(|value| fits(*value));
        wait(metric, found).await;
    }

    /// Waits until a target's last scrape is of this health.
    async fn wait_for_target(&self, health: TargetHealth) -> ActiveTarget {
        let target = || self.observer.targets().active.into_iter().find(|target| target.health == health);
        wait("a target", || target().is_some()).await;
        target().expect("it was there")
    }

    async fn stop(self) {
        self.scraper.stop().await;
        self.store.close().expect("closed");
    }
}

async fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what} does not come"));
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// A job that scrapes these addresses.
fn job(targets: &[String]) -> Job {
    Job {
        name: "shop".to_owned(),
        interval: INTERVAL,
        timeout: INTERVAL,
        fetch: Fetch {
            scheme: "http".to_owned(),
            path: "/metrics".to_owned(),
            params: BTreeMap::new(),
            authorization: None,
            protocols: Protocol::defaults(false),
            fallback: None,
            escaping: Escaping::AllowUtf8,
            gzip: true,
            redirects: true,
        },
        honor: Honor { labels: false, timestamps: true, timestamps_staleness: false },
        histograms: Histograms::default(),
        limits: PageLimits::default(),
        discovery: Discovery {
            fixed: vec![Group { targets: targets.to_vec(), labels: BTreeMap::new() }],
            ..Discovery::default()
        },
        target_rules: Vec::new(),
        sample_rules: Vec::new(),
        legacy_names: false,
        extra_metrics: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_scraped_again_and_again() {
    let shop = target::serve(|request| {
        assert!(request.contains("accept: application/openmetrics-text;version=1.0.0;"), "{request}");
        assert!(request.contains("authorization: Basic dTpw\r\n"), "{request}");
        assert!(request.contains("x-prometheus-scrape-timeout-seconds: "), "{request}");
        Answer::text("# TYPE a counter\na{b=\"c\"} 7\n").gzip()
    })
    .await;
    let moved = shop.clone();
    let front = target::serve(move |_| Answer::redirect(&format!("http://{moved}/metrics"))).await;
    let mut job = job(&[front]);
    job.fetch.authorization = Some(Credentials::Basic("u".into(), Secret::Text("p".into())));
    let bench = Bench::start(vec![job]);
    wait("three samples", || bench.values("a").get("b=c").is_some_and(|values| values.len() >= 3)).await;
    assert!(bench.values("up").values().flatten().all(|up| *up == 1.0));
    let target = bench.wait_for_target(TargetHealth::Up).await;
    assert!(target.last_scrape.is_some() && target.last_error.is_empty(), "{target:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_vanishes_leaves_stale_markers() {
    let shop = target::serve(|_| Answer::text("a 1\n")).await;
    let file = std::env::temp_dir().join(format!("throughline-scrape-{}.json", std::process::id()));
    let write = |text: String| target::write(&file, &text);
    write(format!("[{{\"targets\": [{shop:?}], \"labels\": {{\"zone\": \"1\"}}}}]"));
    let mut job = job(&[]);
    let refresh = Duration::from_millis(50);
    job.discovery.files = vec![FileDiscovery { patterns: vec![file.clone()], refresh }];
    let bench = Bench::start(vec![job]);
    bench.wait_for("a", |value| value == 1.0).await;
    assert_eq!(bench.values("a").keys().collect::<Vec<_>>(), ["zone=1"]);
    write("not a list".to_owned());
    tokio::time::sleep(4 * refresh).await;
    assert_eq!(bench.observer.targets().active.len(), 1, "what cannot be read keeps what it said");
    write("[]".to_owned());
    bench.wait_for("a", is_stale).await;
    bench.wait_for("up", is_stale).await;
    assert_eq!(bench.observer.targets().active, []);
    bench.stop().await;
    target::remove(&file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_down_ends_its_series_and_one_that_is_stopped_does_not() {
    let (shop, pages) = target::serve_pages(vec![Answer::text("a 1\n"), Answer::status(500)]).await;
    let bench = Bench::start(vec![job(&[shop])]);
    bench.wait_for("a", is_stale).await;
    let target = bench.wait_for_target(TargetHealth::Down).await;
    assert_eq!(target.last_error, "the server answered with status 500 Internal Server Error");
    assert!(bench.values("up").values().flatten().any(|up| *up == 0.0));
    drop(pages);
    bench.stop().await;

    let shop = target::serve(|_| Answer::text("b 1\n")).await;
    let bench = Bench::start(vec![job(&[shop])]);
    bench.wait_for("b", |value| value == 1.0).await;
    let store = bench.store.clone();
    bench.scraper.stop().await;
    let (range, metric) = (TimeRange::ALL, Some("b".to_owned()));
    let query = SeriesQuery { range, metric, service: None, attributes: vec![], limit: 10 };
    let found = store.snapshot().points(&query).expect("readable").items;
    assert!(
        found[0].1.iter().all(|point| point.value == 1.0),
        "the end of the process is not that of a series"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_target_holds_up_nobody() {
    let slow = target::serve(|_| Answer::text("never 1\n").after(Duration::from_secs(3600))).await;
    let quick = target::serve(|_| Answer::text("quick 1\n")).await;
    let bench = Bench::start(vec![job(&[slow.clone(), quick])]);
    wait("ten samples", || bench.values("quick").values().flatten().count() >= 10).await;
    let targets = bench.observer.targets().active;
    let target = targets.iter().find(|target| target.scrape_url.contains(&slow)).expect("it is there");
    assert_eq!(target.health, TargetHealth::Down);
    assert!(target.last_error.starts_with("no whole answer within"), "{target:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_with_its_reason() {
    let zeros = vec![b'0'; 4 << 20];
    let cases = [
        (Answer::text("a 1\n<html>\n"), "line 2: expected a metric name, got \"<html>\""),
        (Answer::text("a 1\n").of_type("text/html"), "the answer's Content-Type is \"text/html\""),
        (Answer::text("\u{1}\u{2}").of_type("application/vnd.google.protobuf"), "metric family 1 \"\""),
        (Answer::bytes(b"a 1\n").encoded("gzip"), "request body is not valid gzip"),
        (Answer::bytes(&zeros).gzip(), "the page is larger than body_size_limit: 1048576 bytes"),
        (Answer::bytes(&zeros), "the page is larger than body_size_limit: 1048576 bytes"),
        (Answer::raw(b"\x00\x01\x02garbage\r\n\r\n"), "ask "),
        (Answer::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na 1\n"), "read the answer"),
        (Answer::redirect("/again"), "more than 10 redirects"),
        (Answer::redirect("https://localhost/"), "scheme \"https\" is not supported, only http"),
    ];
    for (answer, reason) in cases {
        let shown = answer.clone();
        let shop = target::serve(move |_| shown.clone()).await;
        let mut job = job(&[shop]);
        job.limits.body_bytes = 1 << 20;
        (job.interval, job.timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        let bench = Bench::start(vec![job]);
        let target = bench.wait_for_target(TargetHealth::Down).await;
        assert!(target.last_error.contains(reason), "{:?} is not {reason:?}", target.last_error);
        bench.wait_for("up", |up| up == 0.0).await;
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_come_from_a_url_and_may_be_too_many() {
    let shop = target::serve(|_| Answer::text("a 1\n")).await;
    let list = format!("[{{\"targets\": [{shop:?}], \"labels\": {{\"zone\": \"1\"}}}}]");
    let discovery =
        target::serve(move |_| Answer::text(&list).of_type("application/json; charset=utf-8")).await;
    let mut found = job(&[]);
    let url = format!("http://{discovery}/");
    found.discovery.urls = vec![HttpDiscovery { url, refresh: INTERVAL, authorization: None }];
    let mut many = job(&[shop.clone(), "127.0.0.1:1".to_owned()]);
    many.name = "many".to_owned();
    many.limits.targets = 1;
    let bench = Bench::start(vec![found, many]);
    bench.wait_for("a", |value| value == 1.0).await;
    assert_eq!(bench.values("a").keys().collect::<Vec<_>>(), ["zone=1"]);
    let target = bench.wait_for_target(TargetHealth::Down).await;
    assert_eq!(target.last_error, "the job has more targets than target_limit 1");
    assert_eq!(bench.observer.stats().iter().map(|job| job.targets).collect::<Vec<_>>(), [1, 2]);
    bench.stop().await;
}
