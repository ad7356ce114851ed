//! A list behind a URL, asked for again and again.

use std::time::Duration;

use super::{Group, HttpDiscovery, LIST_BYTES_MAX, from_json};
use crate::fetch::{Client, Request};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The label that names the URL.
const URL_LABEL: &str = "__meta_url";

/// The groups that a URL answers with now.
pub async fn ask(config: &HttpDiscovery, client: &mut Client) -> Result<Vec<Group>, String> {
    let refresh = config.refresh.as_secs_f64().to_string();
    let request = Request {
        url: &config.url,
        accept: "application/json",
        extra: ("x-prometheus-refresh-interval-seconds", &refresh),
        authorization: config.authorization.as_ref(),
        gzip: true,
        redirects: true,
        timeout: TIMEOUT,
        body_bytes_max: LIST_BYTES_MAX,
    };
    let answer = client.get(&request).await?;
    let is_json =
        answer.content_type.split(';').next().is_some_and(|media| media.trim() == "application/json");
    if !is_json {
        return Err(format!("the answer is {:?}, not application/json", answer.content_type));
    }
    let mut groups = from_json(&answer.plain(LIST_BYTES_MAX)?)?;
    for group in &mut groups {
        group.labels.insert(URL_LABEL.to_owned(), config.url.clone());
    }
    Ok(groups)
}
