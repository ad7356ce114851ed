//! `throughline links`: the ledger of references.

use std::process::ExitCode;

use anyhow::Result;
use throughline_correlate::units::rfc3339;
use throughline_store::links::{KindCount, LinkExample, StateCount};

use super::{ask, list, out, partial};
use crate::cli::LinksArgs;
use crate::render::table::Table;

/// Runs the command.
pub fn run(args: LinksArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [("service", args.service), start, end];
    ask(&args.common, "/links", &parameters, |json, style| {
        let kinds: Vec<KindCount> = list(json, "kinds")?;
        for kind in &kinds {
            let share = 100.0 * kind.resolved as f64 / kind.total.max(1) as f64;
            let head = format!(
                "{}: {} of {} resolve ({share:.1} %)",
                kind.kind.name().replace('_', " to "),
                kind.resolved,
                kind.total
            );
            out(&format!("{}\n", style.bold(&head)));
            let mut table = Table::new(&["  state", ">references", "cause"]).ending("examples");
            for state in &kind.states {
                table.row([
                    format!("  {}", state.state),
                    state.count.to_string(),
                    state.cause.clone().unwrap_or_default(),
                    examples(state),
                ]);
            }
            out(&table.render(style));
            out("\n");
        }
        if kinds.is_empty() {
            out(
                "nothing refers to anything within the window; --last 24h looks further back than the last hour\n",
            );
        }
        out(&partial(json, kinds.len(), style)?);
        Ok(!kinds.is_empty())
    })
}

/// Where to look: of what holds one example is enough.
fn examples(state: &StateCount) -> String {
    let shown = if state.state == "resolved" { 1 } else { 3 };
    let texts: Vec<String> = state.examples.iter().take(shown).map(example).collect();
    texts.join(", ")
}

fn example(example: &LinkExample) -> String {
    let id = example.trace_id.map(|id| id.to_string());
    let form = example.form.as_ref().map(|form| format!("{form:?}"));
    let time = rfc3339(example.time / 1_000_000_000 * 1_000_000_000);
    format!("{} ({} {time})", id.or(form).unwrap_or_default(), example.service)
}
