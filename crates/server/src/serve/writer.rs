//! The paths of other systems for data that comes in, on the listener where queries are answered: only here are both arms known.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use throughline_receive::PushWriter;

/// Adds the writer's paths to a router.
pub fn mount(router: Router, writer: &PushWriter) -> Router {
    PushWriter::paths().fold(router, |router, path| {
        let writer = writer.clone();
        router.route(path, any(move |request: Request| answer(writer, request)))
    })
}

async fn answer(writer: PushWriter, request: Request) -> Response {
    writer.handle(request).await.map(Body::new)
}
