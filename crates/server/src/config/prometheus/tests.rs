//! Receivers that are taken, and what is said of those that are not.

use super::*;
use crate::config::{Config, parse};

fn parsed(receiver: &str) -> Result<Config, Vec<String>> {
    let text = format!("receivers:\n  prometheus:\n{receiver}");
    parse(&text, &|_| None).map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

fn check(receiver: &str, expected: &[&str]) {
    assert_eq!(parsed(receiver).err().unwrap_or_default(), expected, "{receiver}");
}

#[test]
fn a_whole_receiver_is_taken() {
    let config = parsed(
        "    config:
      global:
        scrape_interval: 15s
        evaluation_interval: 15s
        external_labels: {cluster: c1}
        sample_limit: 1000
      scrape_configs:
      - job_name: shop
        scrape_timeout: 5s
        metrics_path: /m
        params: {module: [a, b]}
        honor_labels: true
        body_size_limit: 10MB
        scrape_native_histograms: true
        fallback_scrape_protocol: PrometheusText0.0.4
        basic_auth: {username: u, password: p}
        static_configs:
        - targets: ['a:1', 'b:2']
          labels: {zone: 1}
        file_sd_configs:
        - files: [targets/*.json]
        http_sd_configs:
        - url: http://sd.example/targets
          refresh_interval: 30s
        relabel_configs:
        - source_labels: [__address__]
          regex: '(.*):\\d+'
          target_label: host
          replacement: $$1
        metric_relabel_configs:
        - {action: Drop, source_labels: [__name__], regex: go_.*}
      - job_name: node
        scrape_protocols: [PrometheusText0.0.4]
",
    )
    .expect("taken");
    let [shop, node] = config.pulled.scraping.jobs.as_slice() else { panic!("{:?}", config.pulled.scraping) };
    assert_eq!((shop.interval.as_secs(), shop.timeout.as_secs()), (15, 5));
    assert_eq!((node.interval.as_secs(), node.timeout.as_secs()), (15, 10));
    assert_eq!((shop.limits.samples, shop.limits.body_bytes), (1000, 10 << 20));
    assert_eq!(shop.fetch.protocols[0], Protocol::Proto);
    assert_eq!(node.fetch.protocols, [Protocol::Text0]);
    assert_eq!(shop.fetch.fallback, Some(Protocol::Text0));
    assert_eq!(shop.discovery.fixed[0].targets, ["a:1", "b:2"]);
    assert_eq!(shop.discovery.fixed[0].labels["zone"], "1");
    assert_eq!(shop.discovery.urls[0].refresh.as_secs(), 30);
    assert_eq!((shop.target_rules.len(), shop.sample_rules.len()), (1, 1));
    assert_eq!(config.pulled.scraping.external_labels, [("cluster".to_owned(), "c1".to_owned())]);
    assert!(!format!("{shop:?}").contains("\"p\""), "secrets are not shown");
}

#[test]
fn unknown_and_unsupported_keys_are_named() {
    check(
        "    config:
      rule_files: [a.yml]
      scrape_configs:
      - job_name: a
        scrape_intervall: 15s
        kubernetes_sd_configs: [{role: pod}]
        tls_config: {ca_file: x}
        scheme: https
      - job_name: a
      - metrics_path: /x
",
        &[
            "line 4: receivers::prometheus::config::rule_files: is not for a receiver; leave it out",
            "line 6: receivers::prometheus::config::scrape_configs[0]::scheme: https is not supported yet; scrape over http",
            "line 7: receivers::prometheus::config::scrape_configs[0]: has invalid keys: scrape_intervall; did you mean \
             scrape_interval?",
            "line 8: receivers::prometheus::config::scrape_configs[0]::kubernetes_sd_configs: is not supported yet; \
             static_configs, file_sd_configs and http_sd_configs are",
            "line 9: receivers::prometheus::config::scrape_configs[0]::tls_config: not supported yet; leave it out",
            "line 11: receivers::prometheus::config::scrape_configs[1]: there is a second job \"a\"",
            "line 12: receivers::prometheus::config::scrape_configs[2]::job_name: is missing",
        ],
    );
    check("    {}\n", &["line 3: receivers::prometheus::config: no Prometheus configuration is given"]);
}

#[test]
fn values_are_refused_with_what_would_be_right() {
    check(
        "    config:
      scrape_configs:
      - job_name: a
        scrape_interval: 15
        scrape_timeout: 2m
        scrape_protocols: [Prometheus]
        static_configs: [{targets: ['http://a/metrics']}]
        relabel_configs:
        - {action: hash, target_label: x}
        - {action: keep, regex: '('}
        - {action: hashmod, target_label: x}
        authorization: {type: Bearer}
",
        &[
            "line 5: receivers::prometheus::config::scrape_configs[0]::scrape_protocols: \"Prometheus\" is not one of \
             PrometheusProto, OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4",
            "line 5: receivers::prometheus::config::scrape_configs[0]::scrape_protocols: names no protocol",
            "line 5: receivers::prometheus::config::scrape_configs[0]::scrape_timeout: 2m is longer than the interval 1m",
            "line 6: receivers::prometheus::config::scrape_configs[0]::scrape_interval: \"15\" is not a duration above 0: \
             write 15s or 1m30s",
            "line 9: receivers::prometheus::config::scrape_configs[0]::static_configs[0]::targets: \"http://a/metrics\" is \
             not an address: write host:port",
            "line 11: receivers::prometheus::config::scrape_configs[0]::relabel_configs[0]::action: \"hash\" is not one of \
             replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase",
            "line 12: receivers::prometheus::config::scrape_configs[0]::relabel_configs[1]: invalid regular expression \
             \"(\": unclosed group",
            "line 13: receivers::prometheus::config::scrape_configs[0]::relabel_configs[2]: hashmod needs a modulus above 0",
            "line 14: receivers::prometheus::config::scrape_configs[0]::authorization::credentials: is missing",
        ],
    );
}
