//! Asking the API: of another process over HTTP, or of this one in place.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::{BodyExt as _, Limited};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value as Json;

use crate::client::{Answer, Client};

/// The largest answer that is read: the largest that a tool asks for is below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Whom the tools ask.
pub(super) enum Server {
    /// Another process.
    Remote(Arc<Client>),
    /// The router of this one.
    Here(Router),
}

/// A path of the API with its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Question {
    pub path: String,
    pub parameters: Vec<(&'static str, String)>,
    /// What is posted; nothing where it is a plain question.
    pub body: Option<Json>,
}

impl Question {
    /// Below the prefix of the native API.
    pub fn native(path: &str) -> Question {
        Question::at(&format!("{}{path}", throughline_api::PREFIX))
    }

    /// At any path.
    pub fn at(path: &str) -> Question {
        Question { path: path.to_owned(), ..Question::default() }
    }

    /// With a parameter, if there is a value.
    pub fn with(mut self, name: &'static str, value: Option<String>) -> Question {
        self.parameters.extend(value.map(|value| (name, value)));
        self
    }

    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        query.finish()
    }
}

impl Server {
    /// The answer as JSON, or a sentence that says why there is none.
    pub async fn ask(&self, question: Question) -> Result<Answer, String> {
        match self {
            Server::Remote(client) => {
                let client = client.clone();
                let asked = tokio::task::spawn_blocking(move || {
                    if let Some(body) = &question.body {
                        return client.post_at(&question.path, body).map_err(|error| format!("{error:#}"));
                    }
                    let parameters: Vec<(&str, Option<String>)> =
                        question.parameters.into_iter().map(|(name, value)| (name, Some(value))).collect();
                    client.get_at(&question.path, &parameters).map_err(|error| format!("{error:#}"))
                });
                asked.await.map_err(|_| "the question ended without an answer".to_owned())?
            }
            Server::Here(router) => here(router.clone(), &question).await,
        }
    }
}

async fn here(router: Router, question: &Question) -> Result<Answer, String> {
    let uri = format!("{}?{}", question.path, question.query());
    let request = match &question.body {
        Some(json) => Request::post(uri).body(Body::from(json.to_string())),
        None => Request::get(uri).body(Body::empty()),
    };
    let request = request.map_err(|error| error.to_string())?;
    let response = match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("read the answer: {error}"))?.to_bytes();
    let json: Json =
        serde_json::from_slice(&body).map_err(|error| format!("understand the answer: {error}"))?;
    Answer::of(status, json).map_err(|error| error.to_string())
}
