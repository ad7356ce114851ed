//! The Model Context Protocol: `throughline mcp` over standard input and output, and `/mcp` of the API over HTTP.
//!
//! Every tool is a question to the native API, asked as the commands ask it ([`ask`]); its answer is a text of bounded size that
//! ends with what was not checked ([`bounded`], [`answers`]). Tools read, they change nothing.
//!
//! `rmcp` speaks the protocol; [`protocol`] is what this server is in it, [`http`] and [`standard`] are where messages come in.

mod answers;
mod ask;
mod bounded;
mod http;
mod protocol;
mod standard;
mod tools;

use std::io::BufReader;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};

use crate::cli::McpArgs;
use ask::Server;
use protocol::ToolServer;

pub use http::mount;

/// Runs the command.
pub fn run(args: &McpArgs) -> Result<ExitCode> {
    let tools = ToolServer::new(Server::Remote(Arc::new(args.server.client())));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let output = Arc::new(Mutex::new(std::io::stdout()));
    let spoken = standard::speak(tools, BufReader::new(std::io::stdin()), output);
    let spoken = runtime.block_on(spoken);
    // Everything is answered. A question whose call was cancelled is waited for by nobody.
    runtime.shutdown_background();
    spoken.context("read and write messages")?;
    Ok(ExitCode::SUCCESS)
}
