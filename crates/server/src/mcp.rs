//! The Model Context Protocol: `throughline mcp` over standard input and output, and `/mcp` of the API over HTTP.
//!
//! Every tool is a question to the native API, asked as the commands ask it ([`ask`]); its answer is a text of bounded size that
//! ends with what was not checked ([`bounded`], [`answers`]). Tools read, they change nothing.
//!
//! Of the protocol tools are all that is here, which needs five methods and no session ([`protocol`]); so a library for all of it
//! would bring nineteen packages for what is written here in two hundred lines. [`http`] and [`standard`] carry the messages.

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
use crate::client::Client;
use ask::Server;

pub use http::mount;

/// Runs the command.
pub fn run(args: &McpArgs) -> Result<ExitCode> {
    let server = Server::Remote(Arc::new(Client::new(args.server.as_deref())));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    standard::run(&runtime, &server).context("read and write messages")?;
    Ok(ExitCode::SUCCESS)
}
