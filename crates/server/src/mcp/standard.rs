//! Messages over standard input and output: one on each line, answered in order.

use std::io::{BufRead as _, Read as _, Write as _};

use tokio::runtime::Runtime;

use super::ask::Server;
use super::protocol::{MESSAGE_BYTES_MAX, answer};

/// Answers until input ends.
pub(super) fn run(runtime: &Runtime, server: &Server) -> std::io::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MESSAGE_BYTES_MAX as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == limit && line.last() != Some(&b'\n') {
            let message = format!("a message is longer than {MESSAGE_BYTES_MAX} bytes");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(answer) = runtime.block_on(answer(&line, server)) {
            let mut output = std::io::stdout().lock();
            // JSON has no line breaks where nobody puts them.
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
}
