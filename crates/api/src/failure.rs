//! Refusals: what an answer is when it is not the one that was asked for.
//!
//! One JSON shape for all: `error` is a fixed word for programs, `message` a sentence for people that names the value,
//! the limit and the way out; `parameter` and `link` stand where they apply.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use throughline_model::link::LinkState;

use crate::ROUTES;

/// Why a request is not answered.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    error: &'static str,
    message: String,
    parameter: Option<String>,
    link: Option<LinkState>,
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, error, message: message.into(), parameter: None, link: None }
    }

    /// A parameter cannot be read or is out of bounds.
    pub fn parameter(name: &str, message: impl Into<String>) -> Failure {
        let failure = Failure::new(StatusCode::BAD_REQUEST, "bad_parameter", message);
        Failure { parameter: Some(name.to_owned()), ..failure }
    }

    /// There is nothing of that id, and why.
    pub fn not_found(message: impl Into<String>, link: LinkState) -> Failure {
        Failure { link: Some(link), ..Failure::new(StatusCode::NOT_FOUND, "not_found", message) }
    }

    /// Too many queries run already.
    pub fn busy(running: usize) -> Failure {
        let message = format!("{running} queries are running, which is the limit; try again in a second");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// The store is not open yet.
    pub fn starting() -> Failure {
        let message = "the store is being opened and its log replayed; /readyz says when it is done";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "starting", message)
    }

    /// A query took too long.
    pub fn timeout(seconds: u64) -> Failure {
        let message =
            format!("the query took longer than {seconds} s; narrow it with start, end, service or limit");
        Failure::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// A query took longer than it may, and says so itself.
    pub(crate) fn too_slow(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// The store could not be read.
    pub fn store(error: &throughline_store::Error) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string())
    }

    /// Whether it is for too many queries at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.error == "busy"
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A bug: the query ended without an answer.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<throughline_store::Error> for Failure {
    fn from(error: throughline_store::Error) -> Failure {
        Failure::store(&error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("error".to_owned(), Value::from(self.error));
        body.insert("message".to_owned(), Value::from(self.message));
        if let Some(parameter) = self.parameter {
            body.insert("parameter".to_owned(), Value::from(parameter));
        }
        if let Some(link) = self.link {
            body.insert("link".to_owned(), json!(link));
        }
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a path that does not exist: it lists those that do.
pub(crate) async fn no_such_route(uri: Uri) -> Response {
    let routes: Vec<&str> = ROUTES.iter().map(|(path, ..)| *path).collect();
    let message = format!("there is no {}; `routes` lists what there is", uri.path());
    let body = json!({"error": "no_such_route", "message": message, "routes": routes});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
