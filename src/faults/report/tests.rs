use onehop_harness::run::{CaseResult, Verdict};
use onehop_proxy::faults::{FAULTS, Fault};

use super::super::judge::Outcome;
use super::Judged;

const UNNAMED: &str = "a/case/that-no-fault-names";

/// A fault of two cases at least.
fn fault() -> &'static Fault {
    let mut faults = FAULTS.iter();
    let fault = faults.find(|fault| fault.caught_by.len() > 1);
    fault.expect("some fault names two cases")
}

fn result(id: &str, verdict: Verdict) -> CaseResult {
    CaseResult {
        id: id.to_owned(),
        claim: String::new(),
        features: Vec::new(),
        sources: Vec::new(),
        verdict,
        reason: None,
        seconds: 0.0,
        converge_seconds: 0.0,
        flows: Vec::new(),
        evidence: None,
    }
}

/// What comes of these results, where these cases pass without a fault.
fn judged(results: &[(&str, Verdict)], passing: &[&str]) -> Judged {
    let results = results.iter().map(|(id, verdict)| result(id, *verdict));
    let control: Vec<_> = passing.iter().map(|id| result(id, Verdict::Pass)).collect();
    Judged {
        fault: fault(),
        outcome: Outcome::of(fault(), results.collect(), &control),
        error: None,
        seconds: 0.0,
    }
}

#[test]
fn a_case_that_the_fault_names_catches_it() {
    let [own, other] = [fault().caught_by[0], fault().caught_by[1]];
    let results = [
        (own, Verdict::Fail),
        (other, Verdict::Pass),
        (UNNAMED, Verdict::Fail),
    ];
    let judged = judged(&results, &[own, other, UNNAMED]);
    assert_eq!(judged.verdict(), "CAUGHT");
    assert_eq!(judged.missed(), [other]);
    assert_eq!(
        judged.cases(),
        format!("{own}\nbut not {other}\nand, not named, {UNNAMED}")
    );
}

#[test]
fn a_case_that_the_fault_does_not_name_catches_nothing_and_is_said() {
    let own = fault().caught_by[0];
    let results = [(own, Verdict::Pass), (UNNAMED, Verdict::Fail)];
    let judged = judged(&results, &[own, UNNAMED]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
    let said = format!("only cases that it does not name failed: {UNNAMED}");
    assert!(judged.line().ends_with(&said), "{}", judged.line());
    assert_eq!(judged.json()["failedToo"][0]["case"], UNNAMED);
}

#[test]
fn a_case_that_fails_without_the_fault_as_well_catches_nothing() {
    let own = fault().caught_by[0];
    let judged = judged(&[(own, Verdict::Fail)], &[]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
    assert_eq!(judged.outcome.unjudged.len(), 1);
}

#[test]
fn a_case_that_errs_catches_nothing() {
    let own = fault().caught_by[0];
    let judged = judged(&[(own, Verdict::Error)], &[own]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
}
