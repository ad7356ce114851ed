//! `throughline fsck`: checks every file of a data folder that no server uses.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::FsckArgs;

/// Runs the command.
pub fn run(args: &FsckArgs) -> Result<ExitCode> {
    bail!("the check of {} is not built yet", args.folder.display())
}
