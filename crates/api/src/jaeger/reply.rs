//! Jaeger's envelopes: of the older API and of version 3.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use crate::traces::Refusal;
use crate::traces::links::LINK;
use crate::traces::params::Params;

/// A refusal in the envelope of the older API.
pub(super) struct Legacy(pub(super) Refusal);

/// A refusal in the envelope of version 3.
pub(super) struct V3(pub(super) Refusal);

impl From<Refusal> for Legacy {
    fn from(refusal: Refusal) -> Legacy {
        Legacy(refusal)
    }
}

impl From<Refusal> for V3 {
    fn from(refusal: Refusal) -> V3 {
        V3(refusal)
    }
}

/// Refusals are JSON under the name of plain text, as Jaeger has them.
fn refused(refusal: &Refusal, body: &Json) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = (refusal.status, [(header::CONTENT_TYPE, plain)], format!("{body}\n")).into_response();
    if let Some(link) = &refusal.link {
        response.headers_mut().insert(LINK, HeaderValue::from_static(link.name()));
    }
    response
}

impl IntoResponse for Legacy {
    fn into_response(self) -> Response {
        let Legacy(refusal) = self;
        let error = json!({"code": refusal.status.as_u16(), "msg": refusal.message});
        refused(&refusal, &json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [error]}))
    }
}

impl IntoResponse for V3 {
    fn into_response(self) -> Response {
        let V3(refusal) = self;
        let error = json!({"httpCode": refusal.status.as_u16(), "message": refusal.message});
        refused(&refusal, &json!({"error": error}))
    }
}

/// JSON that is written already.
pub(super) fn written(body: impl Into<axum::body::Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (StatusCode::OK, headers, body.into()).into_response()
}

/// A success without an envelope, indented where that is asked for.
pub(super) fn bare(json: &Json, params: &Params) -> Response {
    let is_pretty = params.text("prettyPrint").is_some_and(|value| value != "false");
    written(if is_pretty { format!("{json:#}") } else { json.to_string() })
}

/// A success in the envelope of the older API.
pub(super) fn enveloped(data: &Json, total: usize, params: &Params) -> Response {
    bare(&json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null}), params)
}

/// What Jaeger has and this server does not.
pub(super) async fn not_implemented(uri: Uri) -> Legacy {
    let message = format!("{} is not supported here", uri.path());
    Legacy(Refusal::new(StatusCode::NOT_IMPLEMENTED, message))
}
