//! The Model Context Protocol: `throughline mcp` over standard input and output, and `/mcp` of the API over HTTP.
//!
//! Every tool is a question to the native API, asked as the commands ask it ([`ask`]); its answer is a text of bounded size that
//! ends with what was not checked ([`bounded`], [`answers`]). Tools read, they change nothing.
//!
//! Of the protocol tools are all that is here, which needs five methods and no session ([`protocol`]); why no library speaks it is in
//! `docs/decisions.md`. [`http`] and [`standard`] carry the messages.

mod answers;
mod ask;
mod bounded;
mod http;
mod protocol;
mod standard;
mod tools;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::cli::McpArgs;
use ask::Server;

pub use http::mount;

/// Runs the command.
pub fn run(args: &McpArgs) -> Result<ExitCode> {
    let server = Server::Remote(Arc::new(args.server.client()));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    standard::run(&runtime, &server).context("read and write messages")?;
    Ok(ExitCode::SUCCESS)
}
