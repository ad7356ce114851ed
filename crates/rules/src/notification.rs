//! Notifications of alerts and their JSON: Alertmanager's API v2, and the payload of its webhooks for anybody else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use throughline_template::time::format_layout;

use crate::alerting::ALERT_NAME;

/// What a receiver is to know of an alert. Times are nanoseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// What identifies the alert, external labels among them.
    pub labels: BTreeMap<String, String>,
    /// Texts.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at_ns: i64,
    /// When it was resolved, or when it will be taken for resolved if nothing more is heard.
    pub ends_at_ns: i64,
    /// Whether it is resolved.
    pub is_resolved: bool,
    /// Whether the same was told before: Alertmanagers want to hear it again, others do not.
    pub is_repeat: bool,
    /// A page with the query of the rule.
    pub generator_url: String,
}

impl Notification {
    /// The name of the alert.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get(ALERT_NAME).map_or("", String::as_str)
    }

    /// The fingerprint by which Alertmanager and its webhooks know the alert: FNV-1a over sorted labels.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        const SEPARATOR: u8 = 0xff;
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let parts = self.labels.iter().flat_map(|(name, value)| [name, value]);
        let bytes = parts.flat_map(|part| part.bytes().chain([SEPARATOR]));
        bytes.fold(0xcbf2_9ce4_8422_2325, fold)
    }

    fn status(&self) -> &'static str {
        if self.is_resolved { "resolved" } else { "firing" }
    }
}

fn rfc3339(ns: i64) -> String {
    format_layout(ns, "2006-01-02T15:04:05.000Z07:00")
}

/// The body of `POST /api/v2/alerts`.
#[must_use]
pub fn alertmanager_body(notifications: &[Notification]) -> String {
    let alerts = notifications.iter().map(|notification| {
        json!({
            "labels": notification.labels,
            "annotations": notification.annotations,
            "startsAt": rfc3339(notification.starts_at_ns),
            "endsAt": rfc3339(notification.ends_at_ns),
            "generatorURL": notification.generator_url,
        })
    });
    Json::Array(alerts.collect()).to_string()
}

/// The payload of Alertmanager's webhooks, version 4, for alerts of one name.
#[must_use]
pub fn webhook_body(notifications: &[Notification], external_url: &str) -> String {
    let name = notifications.first().map_or("", Notification::name);
    let alerts = notifications.iter().map(|notification| {
        // The end of an alert that fires is not known: it is the zero time.
        let ends_at = if notification.is_resolved {
            rfc3339(notification.ends_at_ns)
        } else {
            "0001-01-01T00:00:00Z".to_owned()
        };
        json!({
            "status": notification.status(),
            "labels": notification.labels,
            "annotations": notification.annotations,
            "startsAt": rfc3339(notification.starts_at_ns),
            "endsAt": ends_at,
            "generatorURL": notification.generator_url,
            "fingerprint": format!("{:016x}", notification.fingerprint()),
        })
    });
    let is_firing = notifications.iter().any(|notification| !notification.is_resolved);
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{{ALERT_NAME}={name:?}}}"),
        "truncatedAlerts": 0,
        "status": if is_firing { "firing" } else { "resolved" },
        "receiver": "throughline",
        "groupLabels": { ALERT_NAME: name },
        "commonLabels": common(notifications, |notification| &notification.labels),
        "commonAnnotations": common(notifications, |notification| &notification.annotations),
        "externalURL": external_url,
        "alerts": alerts.collect::<Vec<Json>>(),
    })
    .to_string()
}

/// The entries that all have.
fn common(
    notifications: &[Notification],
    of: impl Fn(&Notification) -> &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let Some((first, others)) = notifications.split_first() else { return BTreeMap::new() };
    let mut shared = of(first).clone();
    shared.retain(|name, value| others.iter().all(|other| of(other).get(name) == Some(value)));
    shared
}
