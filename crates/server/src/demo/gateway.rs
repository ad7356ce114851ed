//! `gateway`: the HTTP front. It passes requests on to `task-svc`.

use axum::http::Method;
use serde_json::Value;
use throughline_instrument::SpanKind;

use super::http::{Call, Client, Reply};
use super::service::Served;

/// The service.
pub struct Gateway {
    served: Served,
    client: Client,
    upstream: String,
}

impl Gateway {
    /// A front for the service at an address.
    pub fn new(served: Served, upstream: String) -> Gateway {
        Gateway { served, client: Client::new(), upstream }
    }

    /// Answers `GET` and `PUT /api/tasks/{id}`.
    pub fn answer(&self, call: Call) -> Reply {
        self.served.answer(&call, "/api/tasks/{id}", |span| {
            let Some(path) = call.path.strip_prefix("/api").filter(|path| path.starts_with("/tasks/")) else {
                return Reply::error(404, "no such path");
            };
            let name = format!("{} task-svc", call.method);
            let mut onward = self.served.tracer.child_of(&span.context(), &name, SpanKind::Client);
            onward.set_attribute("http.request.method", call.method.as_str());
            onward.set_attribute("peer.service", "task-svc");
            let url = format!("{}{path}", self.upstream);
            let context = onward.context();
            let answer = if call.method == Method::PUT {
                let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
                self.client.send(&call.method, &url, &body, &context)
            } else {
                self.client.get(&url, Some(&context))
            };
            let reply = answer.unwrap_or_else(|error| Reply::error(502, &format!("call task-svc: {error}")));
            onward.set_attribute("http.response.status_code", reply.status);
            if reply.status >= 400 {
                onward.set_attribute("error.type", reply.status.to_string());
                onward.set_error(&format!("task-svc answered {}", reply.status));
                let message = format!("task-svc answered {} to {} {path}", reply.status, call.method);
                let attributes = [("http.response.status_code", reply.status.into())];
                self.served.logger.warn(&context, &message, &attributes);
            }
            reply
        })
    }
}
