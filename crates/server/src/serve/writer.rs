//! Prometheus' paths for data that comes in, on the listener where queries are answered: only here are both arms known.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use throughline_receive::MetricsWriter;

/// Adds the writer's paths to a router.
pub fn mount(router: Router, writer: &MetricsWriter) -> Router {
    MetricsWriter::PATHS.into_iter().fold(router, |router, path| {
        let writer = writer.clone();
        router.route(path, any(move |request: Request| answer(writer, request)))
    })
}

async fn answer(writer: MetricsWriter, request: Request) -> Response {
    writer.handle(request).await.map(Body::new)
}
