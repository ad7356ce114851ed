//! Reading rule files again while the server runs: on SIGHUP, and on `POST /-/reload` as Prometheus has it.

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::signal::unix::{SignalKind, signal};

use super::log;

/// Adds the route and listens for the signal. `reload` gives the number of rule groups.
pub fn install<R>(router: Router, reload: R) -> Result<Router>
where
    R: Fn() -> Result<usize> + Clone + Send + Sync + 'static,
{
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let on_signal = reload.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // What happened is in the log.
            _ = run(on_signal.clone()).await;
        }
    });
    let on_request = move || async move {
        match run(reload).await {
            Ok(()) => (StatusCode::OK, String::new()),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error:#}\n"))
            }
        }
    };
    Ok(router.route("/-/reload", post(on_request.clone()).put(on_request)))
}

async fn run(reload: impl Fn() -> Result<usize> + Send + 'static) -> Result<()> {
    let outcome = tokio::task::spawn_blocking(reload).await.context("reload").flatten();
    match &outcome {
        Ok(groups) => log("info", &format!("rules read again: {groups} groups")),
        Err(error) => log("warning", &format!("rules are as before: {error:#}")),
    }
    outcome.map(|_| ())
}
