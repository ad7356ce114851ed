//! `rules`, `alerts`, `alertmanagers` and `targets`, as Prometheus shows them.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use super::Prometheus;
use super::params::Params;
use super::reply::{self, Refusal, duration_seconds, rfc3339};
use crate::states::{AlertState, LabelPairs, RuleState, Targets};

fn object(pairs: &LabelPairs) -> Json {
    Json::Object(pairs.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect())
}

/// An alert's value as Prometheus writes it: always with an exponent.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return reply::float_text(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn alert(alert: &AlertState) -> Json {
    let mut out = json!({
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "state": alert.state,
        "activeAt": rfc3339(alert.active_at_ms),
        "value": exponent(alert.value),
    });
    if let (Some(since), Json::Object(map)) = (alert.keep_firing_since_ms, &mut out) {
        map.insert("keepFiringSince".to_owned(), rfc3339(since).into());
    }
    out
}

fn rule(rule: &RuleState, with_alerts: bool) -> Json {
    let mut out = Map::new();
    let mut put = |key: &str, value: Json| {
        out.insert(key.to_owned(), value);
    };
    put("name", rule.name.as_str().into());
    put("query", rule.query.as_str().into());
    put("labels", object(&rule.labels));
    put("health", rule.health.into());
    if !rule.last_error.is_empty() {
        put("lastError", rule.last_error.as_str().into());
    }
    put("evaluationTime", rule.evaluation_s.into());
    put("lastEvaluation", rfc3339(rule.last_evaluation_ms).into());
    match &rule.alerting {
        None => put("type", "recording".into()),
        Some(alerting) => {
            put("type", "alerting".into());
            put("state", alerting.state.into());
            put("duration", alerting.for_s.into());
            put("keepFiringFor", alerting.keep_firing_for_s.into());
            put("annotations", object(&alerting.annotations));
            let alerts = if with_alerts { alerting.alerts.iter().map(alert).collect() } else { Vec::new() };
            put("alerts", Json::Array(alerts));
        }
    }
    Json::Object(out)
}

/// Whether a list of wanted names, if there is one, has this name.
fn is_wanted(wanted: &[&str], name: &str) -> bool {
    wanted.is_empty() || wanted.contains(&name)
}

/// How many groups are asked for, 0 for all, and the first of them.
fn page(params: &Params) -> Result<(usize, usize), Refusal> {
    let limit = params.number("group_limit")?.unwrap_or(0);
    let limit = usize::try_from(limit)
        .map_err(|_| Refusal::parameter("group_limit", "group_limit must be non-negative"))?;
    let token = params.text("group_next_token").unwrap_or_default();
    match (token.is_empty(), limit, token.parse()) {
        (true, ..) => Ok((limit, 0)),
        (_, 0, _) => {
            let reason = "group_limit needs to be present in order to paginate over the groups";
            Err(Refusal::parameter("group_limit", reason))
        }
        (.., Ok(from)) => Ok((limit, from)),
        (.., Err(_)) => {
            let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
            Err(Refusal::parameter("group_next_token", reason))
        }
    }
}

pub(super) async fn rules(State(prometheus): State<Prometheus>, params: Params) -> Result<Response, Refusal> {
    let kind = params.text("type").unwrap_or_default().to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Refusal::parameter("type", format!("not supported value {kind:?}")));
    }
    let with_alerts = !params.flag("exclude_alerts")?;
    let (names, groups, files) =
        (params.all("rule_name[]"), params.all("rule_group[]"), params.all("file[]"));
    let selectors = params.selectors()?;
    let (limit, from) = page(&params)?;
    let mut out = Vec::new();
    let mut next_token = None;
    for (number, group) in prometheus.states.rule_groups().iter().enumerate().skip(from) {
        if !is_wanted(&groups, &group.name) || !is_wanted(&files, &group.file) {
            continue;
        }
        let wanted = group.rules.iter().filter(|rule| {
            let of_kind = match kind.as_str() {
                "alert" => rule.alerting.is_some(),
                "record" => rule.alerting.is_none(),
                _ => true,
            };
            let label = |name: &str| {
                let found = rule.labels.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str()).unwrap_or_default()
            };
            let selected = selectors.is_empty()
                || selectors.iter().any(|selector| selector.iter().all(|m| m.matches(label(m.name()))));
            of_kind && selected && is_wanted(&names, &rule.name)
        });
        let rules: Vec<Json> = wanted.map(|wanted| rule(wanted, with_alerts)).collect();
        // A group of which nothing is asked for is none.
        if rules.is_empty() {
            continue;
        }
        if limit > 0 && out.len() == limit {
            next_token = Some(number.to_string());
            break;
        }
        out.push(json!({
            "name": group.name,
            "file": group.file,
            "rules": rules,
            "interval": group.interval_s,
            "limit": group.limit,
            "evaluationTime": group.evaluation_s,
            "lastEvaluation": rfc3339(group.last_evaluation_ms),
        }));
    }
    let mut data = json!({ "groups": out });
    if let (Some(token), Json::Object(map)) = (next_token, &mut data) {
        map.insert("groupNextToken".to_owned(), token.into());
    }
    Ok(reply::success(&data))
}

pub(super) async fn alerts(State(prometheus): State<Prometheus>) -> Response {
    let groups = prometheus.states.rule_groups();
    let rules = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| rule.alerting.as_ref());
    let alerts: Vec<Json> = rules.flat_map(|rule| &rule.alerts).map(alert).collect();
    reply::success(&json!({ "alerts": alerts }))
}

pub(super) async fn alertmanagers(State(prometheus): State<Prometheus>) -> Response {
    let active: Vec<Json> =
        prometheus.states.alertmanagers().into_iter().map(|url| json!({ "url": url })).collect();
    reply::success(&json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] }))
}

/// The names of the jobs that are scraped.
pub(super) async fn scrape_pools(State(prometheus): State<Prometheus>) -> Response {
    let Targets { active, dropped, dropped_counts } = prometheus.states.targets();
    let mut pools: BTreeSet<String> = active.into_iter().map(|target| target.scrape_pool).collect();
    pools.extend(dropped.into_iter().map(|(pool, _)| pool));
    pools.extend(dropped_counts.into_iter().map(|(pool, _)| pool));
    reply::success(&json!({ "scrapePools": pools }))
}

pub(super) async fn targets(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let state = params.text("state").unwrap_or("any").to_ascii_lowercase();
    let pool = params.text("scrapePool");
    let of_pool = |name: &str| pool.is_none_or(|pool| pool.is_empty() || pool == name);
    let Targets { active, dropped, dropped_counts } = prometheus.states.targets();
    let active = active.iter().filter(|target| state != "dropped" && of_pool(&target.scrape_pool));
    let active: Vec<Json> = active
        .map(|target| {
            json!({
                "discoveredLabels": object(&target.discovered_labels),
                "labels": object(&target.labels),
                "scrapePool": target.scrape_pool,
                "scrapeUrl": target.scrape_url,
                "globalUrl": target.global_url,
                "lastError": target.last_error,
                "lastScrape": rfc3339(target.last_scrape_ms),
                "lastScrapeDuration": target.last_scrape_s,
                "health": target.health,
                "scrapeInterval": duration_seconds(target.interval_ms),
                "scrapeTimeout": duration_seconds(target.timeout_ms),
            })
        })
        .collect();
    let dropped = dropped.iter().filter(|(name, _)| state != "active" && of_pool(name));
    let dropped: Vec<Json> = dropped
        .map(|(name, labels)| json!({ "discoveredLabels": object(labels), "scrapePool": name }))
        .collect();
    let counts: Map<String, Json> = dropped_counts.into_iter().map(|(name, n)| (name, n.into())).collect();
    Ok(reply::success(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    })))
}

/// The metadata of what targets expose. Senders are not told apart in the store, so each metric stands once.
pub(super) async fn targets_metadata(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let metric = params.text("metric").map(str::to_owned);
    let limit = params.at_most("limit")?;
    let target = params.text("match_target").filter(|text| !text.is_empty());
    let target = target.map(throughline_promql::parse::parse_selector).transpose();
    let target = target.map_err(|error| Refusal::parameter("match_target", error))?;
    // What the store knows is of no target, which has no labels.
    let fits = target.is_none_or(|target| target.matchers.iter().all(|matcher| matcher.matches("")));
    let limit = if fits { limit } else { 0 };
    let data = prometheus.ask(move |source, _| Ok(source.metadata())).await?.0;
    let listed = data.iter().filter(|(name, _)| metric.as_deref().is_none_or(|wanted| wanted == &***name));
    let listed = listed.flat_map(|(name, all)| all.iter().map(move |one| (name, one))).take(limit);
    let listed: Vec<Json> = listed
        .map(|(name, one)| {
            json!({
                "target": {},
                "metric": name.as_ref(),
                "type": one.metric_type.name(),
                "help": one.help,
                "unit": one.unit,
            })
        })
        .collect();
    Ok(reply::success(&Json::Array(listed)))
}
