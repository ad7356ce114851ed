//! Compressed answers, and what browsers ask before they ask.

use std::io::Write;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

/// Shorter answers are sent as they are: compression would cost more than it saves.
const BYTES_MIN: usize = 1_024;

/// Longer answers are compressed on another thread, which takes longer to wake than these take.
const HERE_BYTES_MAX: usize = 8 << 10;

const CORS: [(header::HeaderName, HeaderValue); 3] = [
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    ),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS")),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date")),
];

#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
}

/// The first coding of `Accept-Encoding` that we write.
fn accepted(header: &str) -> Option<Coding> {
    let wanted = header.split(',').filter_map(|item| {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let is_refused = parameters.trim().trim_start_matches("q=").parse() == Ok(0.0);
        match name.trim() {
            "gzip" if !is_refused => Some(Coding::Gzip),
            "deflate" if !is_refused => Some(Coding::Deflate),
            _ => None,
        }
    });
    wanted.into_iter().next()
}

/// Answers `OPTIONS`, and compresses what the client takes compressed.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, CORS).into_response();
    }
    let coding = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .and_then(accepted);
    let (mut parts, body) = next.run(request).await.into_parts();
    parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(coding) = coding.filter(|_| !parts.headers.contains_key(header::CONTENT_ENCODING)) else {
        return Response::from_parts(parts, body);
    };
    // The answer is one buffer in memory already; this only takes it out.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if bytes.len() < BYTES_MIN {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let plain = bytes.clone();
    let compressed = if plain.len() <= HERE_BYTES_MAX {
        encode(coding, &plain).ok()
    } else {
        let compressed = tokio::task::spawn_blocking(move || encode(coding, &plain)).await;
        compressed.ok().and_then(Result::ok)
    };
    let Some(compressed) = compressed else { return Response::from_parts(parts, Body::from(bytes)) };
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(compressed))
}

fn encode(coding: Coding, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let out = Vec::with_capacity(bytes.len() / 4);
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(out, Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(out, Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
    }
}
