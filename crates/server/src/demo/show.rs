//! What the demo prints.

use std::path::Path;

use super::place::Ports;

/// Before anything runs.
pub fn opening(ports: Ports, folder: &Path) -> String {
    let Ports { otlp_grpc, otlp_http, api } = ports;
    let mut text = format!(
        "Throughline demo\n  \
         OTLP/gRPC on 127.0.0.1:{otlp_grpc}, OTLP/HTTP on 127.0.0.1:{otlp_http}, API on 127.0.0.1:{api}\n"
    );
    if !ports.are_default() {
        text += "  (free ports: the usual ones, 4317, 4318 and 4319, are not all to be had)\n";
    }
    text + &format!("  data in {}", folder.display())
}

/// After the walk, when the demo goes on.
pub fn farewell(ports: Ports) -> String {
    let Ports { otlp_grpc, otlp_http, .. } = ports;
    let mut text = format!(
        "Server and workload keep running until Ctrl-C.\n\n\
         Send your own OTLP to it:\n  \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp_http}\n  \
         OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp_grpc}\n\n\
         Ask it:\n"
    );
    for line in how_to_call(ports) {
        text += &format!("  {line}\n");
    }
    for question in [
        "services",
        "walk --service gateway",
        "traces --service task-svc --min-duration 500ms",
        "logs --service task-svc --contains RetryAttempts=3",
        "ledger",
    ] {
        text += &format!("  throughline {question}\n");
    }
    text
}
