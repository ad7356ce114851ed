//! The process as the operating system accounts it.

use throughline_api::metrics::{Family, label};

/// Ticks of a second in `/proc`: fixed at 100 on every Linux that runs on our targets.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU, memory, descriptors and build information.
pub fn families() -> Vec<Family> {
    let build = label("version", env!("CARGO_PKG_VERSION"));
    let mut families =
        vec![Family::gauge("throughline_build_info", "The build, as labels.", vec![(build, 1.0)])];
    if let Some(seconds) = cpu_seconds() {
        families.push(Family::total("process_cpu_seconds_total", "CPU time, user and system.", seconds));
    }
    if let Some(bytes) = status_bytes("VmRSS:") {
        families.push(Family::value("process_resident_memory_bytes", "Resident memory.", bytes));
    }
    if let Some(bytes) = status_bytes("VmHWM:") {
        families.push(Family::value("process_resident_memory_peak_bytes", "Highest resident memory.", bytes));
    }
    if let Ok(folder) = std::fs::read_dir("/proc/self/fd") {
        families.push(Family::value("process_open_fds", "Open file descriptors.", folder.count() as f64));
    }
    families
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold spaces; the fields after it do not.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn status_bytes(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_accounted() {
        assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
        assert!(status_bytes("VmRSS:").is_some_and(|bytes| bytes > 0.0));
    }
}
