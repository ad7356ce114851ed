//! The handlers of the native API that examine the telemetry itself: what is wrong with it, and whether its books balance.

use axum::extract::{Query, State};
use throughline_correlate::doctor::{self, Request};
use throughline_correlate::reconcile;

use crate::Api;
use crate::failure::Failure;
use crate::native::Answer;
use crate::params::Params;

pub(crate) async fn doctor(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let params = Params::new(pairs, &["service", "start", "end"], api.now())?;
    let request = Request { service: params.owned("service"), range: params.range(doctor::RANGE_NS)? };
    let ledger = api.context.store.ledger();
    api.ask(move |snapshot| Ok(doctor::examine(snapshot, &request, Some(&ledger))?)).await
}

pub(crate) async fn reconcile(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let params = Params::new(pairs, &["service", "start", "end"], api.now())?;
    let Some(service) = params.owned("service") else {
        let message = "books are kept for one service at a time: add service=NAME";
        return Err(Failure::parameter("service", message));
    };
    let request = reconcile::Request { service, range: params.range(doctor::RANGE_NS)? };
    api.ask(move |snapshot| Ok(reconcile::reconcile(snapshot, &request)?)).await
}
