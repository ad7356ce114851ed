//! Investigations where the baseline was sampled and the window is still whole, as it is a few minutes after something broke.

use std::time::Duration;

use throughline_correlate::investigate::{Case, CauseClass, Evidence, EvidenceKind, Focus, report};
use throughline_sampling::production;
use throughline_store::Sampling;

use crate::filled::Filled;
use crate::made_up::{BASELINE, DRAWN_FROM, Fault, NOW, WINDOW, asked, score, traces};

/// Requests of the baseline and of the window; one in five of them is for the front page.
const BEFORE: i64 = 3_000;
const NOW_TRACES: i64 = 1_200;

/// A store with a usual baseline, about which the policies have decided if there are any, and a window, about which nobody has.
fn filled(fault: Fault, is_sampled: bool) -> Filled {
    let sampling = Sampling::new(production(10.0), Sampling::DELAY).expect("policies");
    let filled = Filled::sampled(NOW, is_sampled.then_some(sampling));
    traces(BASELINE, Fault::Usual, DRAWN_FROM..DRAWN_FROM + BEFORE, &filled);
    filled.store.flush().expect("written");
    filled.clock.advance(Sampling::DELAY + Duration::from_secs(61));
    filled.store.compact().expect("compacted");
    traces(WINDOW, fault, 2 * DRAWN_FROM..2 * DRAWN_FROM + NOW_TRACES, &filled);
    filled
}

fn cases(fault: Fault) -> (Case, Case) {
    let of = |is_sampled| asked(&filled(fault, is_sampled), Focus::Window, None);
    let (whole, sampled) = (of(false), of(true));
    // What is compared was sampled, and it says so.
    assert!(sampled.read.baseline_traces * 4 < whole.read.baseline_traces, "{:?}", sampled.read);
    assert_eq!(sampled.read.traces, whole.read.traces);
    assert!(whole.partial.is_empty(), "{:?}", whole.partial);
    let [said] = sampled.partial.as_slice() else { panic!("{:?}", sampled.partial) };
    assert!(said.contains("by their adjusted counts"), "{said}");
    (whole, sampled)
}

fn evidence(case: &Case, kind: EvidenceKind) -> &Evidence {
    let first = case.suspects.first().unwrap_or_else(|| panic!("a suspect\n{}", report::markdown(case)));
    let found = first.evidence.iter().find(|evidence| evidence.kind == kind);
    found.unwrap_or_else(|| panic!("{kind:?}\n{}", report::markdown(case)))
}

fn near(sampled: f64, truth: f64, share: f64) -> bool {
    (sampled / truth - 1.0).abs() < share
}

#[test]
fn a_rise_of_errors_is_one_although_the_baseline_kept_all_errors_and_a_tenth_of_the_rest() {
    let (whole, sampled) = cases(Fault::MoreErrors);
    for case in [&whole, &sampled] {
        let first = &case.suspects[0];
        assert_eq!(
            (first.service.as_str(), first.cause),
            ("stock", CauseClass::Errors),
            "{}",
            report::markdown(case)
        );
        let error = evidence(case, EvidenceKind::NewError);
        // Of 2,400 requests 30 failed, of 960 in the window 60.
        let (now, before) = (error.now.expect("a share"), error.before.expect("a share"));
        assert!(near(now, 0.0625, 0.02) && near(before, 0.0125, 0.2), "{error:?}");
        assert!(near(error.baseline_calls.expect("calls") as f64, 2_400.0, 0.2), "{error:?}");
        assert!(error.confidence.is_some_and(|sure| sure > 0.9), "{error:?}");
    }
    let (of_whole, of_sampled) = (score(&whole, "stock"), score(&sampled, "stock"));
    assert!(of_sampled > 0.5 * of_whole && of_sampled < 1.2 * of_whole, "{of_sampled} {of_whole}");
}

#[test]
fn a_slow_culprit_is_named_although_the_baseline_kept_all_slow_traces_and_a_tenth_of_the_rest() {
    let (whole, sampled) = cases(Fault::MoreSlow);
    for case in [&whole, &sampled] {
        let first = &case.suspects[0];
        assert_eq!(
            (first.service.as_str(), first.cause),
            ("price", CauseClass::SlowItself),
            "{}",
            report::markdown(case)
        );
        let slow = evidence(case, EvidenceKind::OwnTime);
        assert!(near(slow.baseline_calls.expect("calls") as f64, 2_370.0, 0.2), "{slow:?}");
        assert!(near(slow.before.expect("a time"), 4.0, 0.1), "{slow:?}");
    }
    let (whole, sampled) =
        (evidence(&whole, EvidenceKind::OwnTime), evidence(&sampled, EvidenceKind::OwnTime));
    assert!(
        near(sampled.before.expect("a time"), whole.before.expect("a time"), 0.05),
        "{sampled:?} {whole:?}"
    );
}

#[test]
fn nobody_is_named_where_only_the_sampler_made_a_difference() {
    let (whole, sampled) = cases(Fault::Usual);
    for case in [&whole, &sampled] {
        let worst = case.suspects.first().map_or(0.0, |suspect| suspect.score);
        assert!(worst < 0.05, "{}", report::markdown(case));
    }
}

#[test]
fn a_sampled_baseline_gives_the_same_case_each_time_and_after_a_merge() {
    let filled = filled(Fault::MoreErrors, true);
    let case = asked(&filled, Focus::Window, None);
    assert_eq!(asked(&filled, Focus::Window, None), case);
    filled.store.flush().expect("written");
    assert_eq!(asked(&filled, Focus::Window, None), case);
}
