//! What becomes of an address.

use super::*;
use crate::job::sample::job;
use crate::relabel::{Action, Rule, RuleText};

fn pairs(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn target(job: &Job, address: &str, group: &[(&str, &str)]) -> Target {
    match Target::populate(job, address, &pairs(group)) {
        Ok(Populated::Target(target)) => *target,
        other => panic!("{other:?}"),
    }
}

fn rule(source: &str, action: Action, regex: &str, target: Option<&str>, replacement: Option<&str>) -> Rule {
    let source_labels = if source.is_empty() { vec![] } else { vec![source.to_owned()] };
    let text = |text: Option<&str>| text.map(str::to_owned);
    let text = RuleText {
        action,
        source_labels,
        regex: Some(regex.to_owned()),
        target_label: text(target),
        replacement: text(replacement),
        ..RuleText::default()
    };
    Rule::new(text, false).expect("a rule")
}

#[test]
fn labels_and_url_come_from_job_and_group() {
    let mut job = job();
    job.fetch.params.insert("module".into(), vec!["a b".into(), "c".into()]);
    let target = target(&job, "db:9100", &[("zone", "1"), ("__meta_x", "y"), ("__metrics_path__", "/m/é")]);
    assert_eq!(target.labels, pairs(&[("instance", "db:9100"), ("job", "shop"), ("zone", "1")]));
    assert_eq!(target.url(), "http://db:9100/m/%C3%A9?module=a+b&module=c");
    assert_eq!((target.interval.as_secs(), target.timeout.as_secs()), (15, 10));
    let found =
        |name: &str| target.discovered.iter().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
    assert_eq!(found("__scrape_interval__"), Some("15s"));
    assert_eq!(found("__param_module"), Some("a b"));
    assert_eq!(found("__meta_x"), Some("y"));
}

#[test]
fn rules_may_change_everything() {
    let mut job = job();
    job.target_rules = vec![
        rule("__address__", Action::Replace, "(.*)", Some("__param_target"), None),
        rule("__param_target", Action::Replace, "(.*)", Some("instance"), None),
        rule("", Action::Replace, "(.*)", Some("__address__"), Some("prober:9115")),
        rule("", Action::Replace, "(.*)", Some("__scrape_interval__"), Some("1m30s")),
        rule("instance", Action::Drop, "bad.*", None, None),
    ];
    let target = target(&job, "https://shop.example/", &[]);
    assert_eq!(target.url(), "http://prober:9115/metrics?target=https%3A%2F%2Fshop.example%2F");
    assert_eq!(target.labels, pairs(&[("instance", "https://shop.example/"), ("job", "shop")]));
    assert_eq!(target.interval.as_secs(), 90);
    let dropped = Target::populate(&job, "bad:1", &[]).expect("no error");
    assert!(matches!(dropped, Populated::Dropped(labels) if labels.contains(&("job".into(), "shop".into()))));
}

#[test]
fn what_cannot_be_scraped_is_refused() {
    let error = |address: &str, group: &[(&str, &str)]| {
        Target::populate(&job(), address, &pairs(group)).expect_err("refused")
    };
    assert_eq!(error("", &[]), "the target has no address");
    assert_eq!(error("http://a", &[]), "\"http://a\" is not an address: write host:port");
    assert_eq!(error("user@a", &[]), "\"user@a\" is not an address: write host:port");
    assert!(error("a", &[("__scrape_timeout__", "0s")]).starts_with("\"0s\" is not a scrape timeout"));
    assert_eq!(
        error("a", &[("__scrape_timeout__", "1m")]),
        "the scrape timeout 1m is longer than the interval 15s"
    );
}

#[test]
fn targets_are_spread_over_the_interval_and_stay_at_their_place() {
    let job = job();
    let interval = Duration::from_secs(15);
    let mut buckets = [0; 5];
    for n in 0..200 {
        let target = target(&job, &format!("host-{n}:80"), &[]);
        let offset = target.offset(1_700_000_000_000_000_000, 7);
        assert!(offset < interval);
        let later = target.offset(1_700_000_000_000_000_000 + 4_000_000_000, 7);
        let place = |offset: Duration, passed: u64| (offset.as_nanos() as u64 + passed) % 15_000_000_000;
        assert_eq!(place(offset, 0), place(later, 4_000_000_000));
        buckets[(offset.as_secs() / 3) as usize] += 1;
    }
    assert!(buckets.iter().all(|count| *count > 20), "{buckets:?}");
}
