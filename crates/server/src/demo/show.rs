//! What the demo prints.

use std::io::Write;
use std::path::Path;

use throughline_correlate::trace_view::TraceView;
use throughline_correlate::walk::Walk;

use super::place::Ports;
use super::watch::SERVICE;
use crate::client::SERVER_VARIABLE;
use crate::render::{self, Style};

/// Writes to stdout at once. Nobody has to read it: a reader that has gone (`demo | head`) does not end the demo, and
/// a service whose driver has gone ends because its stdin closes.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Before anything runs.
pub fn opening(ports: Ports, folder: &Path) -> String {
    let Ports { otlp_grpc, otlp_http, api } = ports;
    let mut text = format!(
        "Throughline demo\n  \
         OTLP/gRPC on 127.0.0.1:{otlp_grpc}, OTLP/HTTP on 127.0.0.1:{otlp_http}, API on 127.0.0.1:{api}\n"
    );
    if !ports.are_default() {
        text += "  (free ports instead of the usual 4317, 4318 and 4319)\n";
    }
    text + &format!("  data in {}", folder.display())
}

/// The walk, as `throughline walk` shows it.
pub fn walk(walk: &Walk, view: Option<&TraceView>) -> String {
    render::walk::render(walk, view, Style::detect())
}

/// After the walk, when the demo goes on.
pub fn farewell(ports: Ports) -> String {
    let Ports { otlp_grpc, otlp_http, .. } = ports;
    let questions = [
        "services".to_owned(),
        format!("traces --service {SERVICE} --min-duration 500ms"),
        format!("logs --service {SERVICE} --contains RetryAttempts=3"),
        "walk --service gateway".to_owned(),
        "ledger".to_owned(),
    ];
    let mut lines = vec![
        "Server and workload keep running until Ctrl-C. Send your own OTLP to them:".to_owned(),
        format!(
            "   export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp_http}   # http/protobuf or http/json"
        ),
        format!("   export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp_grpc}   # grpc"),
        "and ask:".to_owned(),
    ];
    lines.extend(preparation(ports).into_iter().map(|line| format!("   {line}")));
    lines.extend(questions.iter().map(|question| format!("   throughline {question}")));
    lines.join("\n") + "\n"
}

/// After the walk, when the demo ends.
pub fn epilogue(folder: &Path) -> String {
    let mut lines = vec!["The commands above work while a server has this run's data:".to_owned()];
    lines.extend(alias().map(|line| format!("   {line}")));
    lines.push(format!("   throughline serve --data-dir {}", folder.display()));
    lines.join("\n") + "\n"
}

/// What a shell must know before the commands work as they are printed.
fn preparation(ports: Ports) -> Vec<String> {
    let server = format!("export {SERVER_VARIABLE}={}", ports.api_address());
    let server = Some(server).filter(|_| !ports.are_default());
    alias().into_iter().chain(server).collect()
}

/// A name for this program where the shell would not find it.
fn alias() -> Option<String> {
    let binary = std::env::current_exe().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&path).any(|folder| Some(folder.as_path()) == binary.parent());
    (!is_found).then(|| format!("alias throughline={}", binary.display()))
}
