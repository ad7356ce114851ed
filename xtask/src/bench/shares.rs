//! Shares of a server's CPU time: perf(1) samples its stacks while it works, and the samples in which a part of the program was at work,
//! or anything that it called, are counted.
//!
//! A share depends less on how fast the machine is, and on who else uses it, than seconds do.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// Samples a second: prime, so that they do not fall in step with timers.
const FREQUENCY: &str = "197";

/// How much of a stack is copied with each sample, bytes.
const STACK: &str = "dwarf,8192";

/// A part of the server's work.
pub struct Part {
    /// What it is called in the table.
    pub name: &'static str,
    /// What the paths of its functions have in them.
    functions: &'static [&'static str],
    /// The most that it may have, per cent.
    pub bar: Option<f64>,
}

/// What is told apart of ingest.
pub const PARTS: [Part; 2] = [
    Part {
        name: "link ledger",
        functions: &[
            "throughline_store::links::",
            "throughline_store::block::build::BlockBuilder::write_links",
        ],
        bar: Some(5.0),
    },
    Part { name: "metrics derived from spans", functions: &["throughline_derive::"], bar: None },
];

/// A recording that runs.
pub struct Recording {
    perf: PathBuf,
    child: Child,
    file: PathBuf,
}

impl Recording {
    /// Begins to sample a process.
    pub fn start(perf: &Path, process: u32, folder: &Path) -> anyhow::Result<Recording> {
        let file = folder.join("perf.data");
        let child = Command::new(perf)
            .args(["record", "--quiet", "-F", FREQUENCY, "--call-graph", STACK, "-o"])
            .arg(&file)
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", perf.display()))?;
        Ok(Recording { perf: perf.to_path_buf(), child, file })
    }

    /// Ends it and says what each of [`PARTS`] has, per cent.
    pub fn finish(mut self) -> anyhow::Result<Vec<f64>> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().context("end perf")?;
        self.child.wait().context("end perf")?;
        let mut script = Command::new(&self.perf);
        script.args(["script", "-F", "ip,sym", "-i"]).arg(&self.file);
        let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stacks = BufReader::new(script.stdout.take().context("read what perf prints")?);
        let shares = shares(stacks)?;
        script.wait().context("end perf script")?;
        super::ingest::remove_file(&self.file)?;
        Ok(shares)
    }
}

/// What each of [`PARTS`] has of stacks, per cent: a frame a line, and an empty line after each stack.
fn shares(stacks: impl BufRead) -> anyhow::Result<Vec<f64>> {
    let (mut n_stacks, mut counts) = (0u64, [0u64; PARTS.len()]);
    let (mut is_empty, mut is_at_work) = (true, [false; PARTS.len()]);
    for line in stacks.lines().chain([Ok(String::new())]) {
        let line = line.context("read what perf prints")?;
        if line.trim().is_empty() {
            n_stacks += u64::from(!is_empty);
            counts.iter_mut().zip(is_at_work).for_each(|(count, is)| *count += u64::from(is));
            (is_empty, is_at_work) = (true, [false; PARTS.len()]);
            continue;
        }
        is_empty = false;
        for (part, is) in PARTS.iter().zip(&mut is_at_work) {
            *is |= part.functions.iter().any(|function| line.contains(function));
        }
    }
    anyhow::ensure!(
        n_stacks > 0,
        "perf has no samples: may it look at other processes (perf_event_paranoid)?"
    );
    let share = |(part, count): (&Part, u64)| {
        // Nothing at all is a name that lies rather than work that costs nothing.
        anyhow::ensure!(count > 0, "{}: perf saw none of {:?}", part.name, part.functions);
        Ok(100.0 * count as f64 / n_stacks as f64)
    };
    PARTS.iter().zip(counts).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "
          aa throughline_store::links::count::LinkCounter::add_logs
          bb throughline_store::links::count::LinkCounter::add
          cc throughline_store::flush::write

          dd clear_page_erms
          ee <throughline_derive::record::Derived as throughline_receive::Listener>::spans

          ff throughline_derive::route::text

        1122 throughline_store::wal::write::append
";

    #[test]
    fn a_stack_counts_once_however_many_of_its_frames_are_of_a_part() {
        assert_eq!(shares(STACKS.as_bytes()).expect("shares"), [25.0, 50.0]);
        let without = STACKS.replace("throughline_derive", "throughline_other");
        let error = shares(without.as_bytes()).expect_err("a name that lies").to_string();
        assert!(error.contains("metrics derived from spans"), "{error}");
        assert!(shares("".as_bytes()).is_err());
    }
}
