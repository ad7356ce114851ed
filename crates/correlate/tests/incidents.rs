//! Real incidents, where the folder with them is there: the service that caused each is the first suspect.
//!
//! What is asked here with a decoder and a simulated disk, `cargo xtask bench incidents` asks of a server.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use throughline_correlate::investigate::{Case, Focus, Request, investigate, report};
use throughline_correlate::units::parse_rfc3339;
use throughline_model::Signal;
use throughline_store::TimeRange;

use crate::filled::Filled;

/// Of all incidents so many must be first, in percent.
const FIRST_PERCENT: usize = 95;

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/datasets/trainticket");
    if folder.join("faults.json").exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not there, so that real incidents were not investigated", folder.display());
    None
}

#[expect(clippy::disallowed_methods, reason = "the file is an input of the test, not the store's")]
fn lines(path: &Path) -> Vec<String> {
    let file = std::fs::File::open(path).expect("a file of the incident");
    let mut text = String::new();
    zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_to_string(&mut text)).expect("zstd");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn fill(filled: &Filled, folder: &Path) {
    for (name, signal) in [("traces", Signal::Traces), ("logs", Signal::Logs), ("metrics", Signal::Metrics)] {
        for line in lines(&folder.join(format!("{name}.jsonl.zst"))) {
            filled.write(signal, line.into_bytes());
        }
    }
}

fn range(window: &Value) -> TimeRange {
    let time = |key: &str| parse_rfc3339(window[key].as_str().expect("a time")).expect("RFC 3339");
    TimeRange { start: time("start"), end: time("end") }
}

fn case_of(folder: &Path, incident: &Value, flush: bool) -> Case {
    let window = range(&incident["window"]);
    let filled = Filled::new(window.end + 600_000_000_000);
    fill(&filled, &folder.join(incident["baseline"]["folder"].as_str().expect("a folder")));
    fill(&filled, &folder.join(incident["id"].as_str().expect("an id")));
    if flush {
        filled.store.flush().expect("written");
    }
    let request = Request {
        focus: Focus::Window,
        window,
        baseline: Some(range(&incident["baseline"])),
        service: None,
        suspects: 10,
    };
    investigate(&filled.store.snapshot(), &request).expect("a case")
}

#[test]
fn the_cause_of_real_incidents_is_the_first_suspect() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("faults.json")).expect("faults");
    let incidents: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let (mut first, mut three) = (0, 0);
    let mut kinds: HashMap<String, usize> = HashMap::new();
    for incident in &incidents {
        let case = case_of(&folder, incident, false);
        let service = incident["answer"]["service"].as_str().expect("a service");
        let rank =
            case.suspects.iter().find(|suspect| suspect.service == service).map(|suspect| suspect.rank);
        first += usize::from(rank == Some(1));
        three += usize::from(rank.is_some_and(|rank| rank <= 3));
        let kind = incident["answer"]["kind"].as_str().unwrap_or_default();
        *kinds.entry(kind.to_owned()).or_default() += usize::from(rank == Some(1));
        println!("{rank:?} {} {kind} of {service}\n{}", incident["id"], report::short(&case));
    }
    println!("first {first}, among three {three} of {}; first by kind {kinds:?}", incidents.len());
    assert_eq!(three, incidents.len(), "all are among the first three");
    assert!(first * 100 >= incidents.len() * FIRST_PERCENT, "{first} of {}", incidents.len());
}

#[test]
fn a_block_and_a_memtable_give_the_same_case() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("faults.json")).expect("faults");
    let incidents: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let incident = incidents.last().expect("an incident");
    let (memory, block) = (case_of(&folder, incident, false), case_of(&folder, incident, true));
    assert_eq!(memory, block);
}
