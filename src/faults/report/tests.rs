use onehop_harness::run::{CaseResult, Spent, Verdict};

use super::super::fault::Fault;
use super::super::judge::Outcome;
use super::{Judged, Report};

const UNNAMED: &str = "a/case/that-no-fault-names";

/// A fault of two cases at least.
fn fault() -> Fault {
    let mut faults = Fault::all();
    let fault = faults.find(|fault| cases(*fault).len() > 1);
    fault.expect("some fault names two cases")
}

/// The cases that a fault of the bundled proxy names.
fn cases(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::Inside(fault) => fault.caught_by,
        Fault::Beside(_) => &[],
    }
}

fn result(id: &str, verdict: Verdict) -> CaseResult {
    CaseResult {
        id: id.to_owned(),
        claim: String::new(),
        features: Vec::new(),
        sources: Vec::new(),
        verdict,
        reason: None,
        finding: None,
        seconds: 0.0,
        waited_for: Spent::new(),
        flows: Vec::new(),
        journeys: Vec::new(),
        situations: Vec::new(),
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
    let [own, other] = [cases(fault())[0], cases(fault())[1]];
    let results = [(own, Verdict::Fail), (other, Verdict::Skip)];
    assert_eq!(judged(&results, &[own, other]).verdict(), "CAUGHT");
}

/// A fault that only some of its cases notice says of the others that they do not see what they are said to see.
#[test]
fn a_case_that_the_fault_names_and_that_passes_is_told() {
    let [own, other] = [cases(fault())[0], cases(fault())[1]];
    let results = [
        (own, Verdict::Fail),
        (other, Verdict::Pass),
        (UNNAMED, Verdict::Fail),
    ];
    let judged = judged(&results, &[own, other, UNNAMED]);
    assert_eq!(judged.verdict(), "IN PART");
    assert_eq!(judged.missed(), [other]);
    let said = format!("not caught by {other}");
    assert!(judged.line().ends_with(&said), "{}", judged.line());
    assert_eq!(
        judged.cases(),
        format!("{own}\nbut not {other}\nand, not named, {UNNAMED}")
    );
}

#[test]
fn a_case_that_the_fault_does_not_name_catches_nothing_and_is_said() {
    let own = cases(fault())[0];
    let results = [(own, Verdict::Pass), (UNNAMED, Verdict::Fail)];
    let judged = judged(&results, &[own, UNNAMED]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
    let said = format!("only cases that it does not name failed: {UNNAMED}");
    assert!(judged.line().ends_with(&said), "{}", judged.line());
    assert_eq!(judged.json()["failedToo"][0]["case"], UNNAMED);
}

#[test]
fn a_case_that_fails_without_the_fault_as_well_catches_nothing() {
    let own = cases(fault())[0];
    let judged = judged(&[(own, Verdict::Fail)], &[]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
    assert_eq!(judged.outcome.unjudged.len(), 1);
}

#[test]
fn a_case_that_errs_catches_nothing() {
    let own = cases(fault())[0];
    let judged = judged(&[(own, Verdict::Error)], &[own]);
    assert_eq!(judged.verdict(), "UNCAUGHT");
}

/// A fault beside the proxy says for what reason its cases fail.
#[test]
fn a_case_that_fails_for_another_reason_than_the_fault_says_catches_nothing() {
    let beside = Fault::all().find_map(|fault| match fault {
        Fault::Beside(beside) => Some((fault, beside.caught_by[0])),
        Fault::Inside(_) => None,
    });
    let (fault, (id, words)) = beside.expect("some are beside the proxy");
    let control = [result(id, Verdict::Pass)];
    let words = words.split('|').next().expect("some words");
    for (reason, caught) in [
        (format!("Local: {words} (1 of 1)"), 1),
        ("another".to_owned(), 0),
    ] {
        let failed = CaseResult {
            reason: Some(reason),
            ..result(id, Verdict::Fail)
        };
        let outcome = Outcome::of(fault, vec![failed], &control);
        assert_eq!(outcome.caught.len(), caught);
        assert_eq!(outcome.others.len(), 1 - caught);
    }
}

#[test]
fn a_case_that_no_fault_made_fail_is_told_of_a_whole_matrix_alone() {
    let own = cases(fault())[0];
    let judged = || {
        judged(
            &[(own, Verdict::Fail), (UNNAMED, Verdict::Pass)],
            &[own, UNNAMED],
        )
    };
    let (whole, some) = (report(true, judged()), report(false, judged()));
    assert_eq!(whole.unfailed(), [UNNAMED]);
    let said = format!("NO FAULT MADE FAIL  {UNNAMED}\n");
    assert!(whole.summary().contains(&said));
    let said = "NOT PROVEN  a/case/that-was-not-run: ";
    assert!(whole.summary().contains(said));
    assert!(some.unfailed().is_empty());
    assert!(!some.summary().contains("NO FAULT"));
    assert!(!some.summary().contains("NOT PROVEN"));
}

#[test]
fn a_whole_matrix_says_of_each_case_which_faults_made_it_fail() {
    let own = cases(fault())[0];
    let judged = || {
        judged(
            &[(own, Verdict::Fail), (UNNAMED, Verdict::Pass)],
            &[own, UNNAMED],
        )
    };
    let whole = report(true, judged());
    let expected = [(own, vec![fault().name()]), (UNNAMED, vec![])];
    assert_eq!(whole.faults_of_cases(), expected.into());
    let table = whole.table_of_cases().expect("a table").to_string();
    assert!(table.contains(fault().name()), "{table}");
    assert!(report(false, judged()).table_of_cases().is_none());
}

/// On a machine that is busy a case may be late by chance, and a matrix has some hundred chances.
#[test]
fn a_case_that_was_only_late_is_not_shown_to_fail_by_a_fault_that_does_not_name_it() {
    let own = cases(fault())[0];
    for (reason, unfailed) in [
        (
            "Local: not as expected within 5 s, only later",
            vec![UNNAMED],
        ),
        ("Local: dropped (1 of 20)", vec![]),
    ] {
        let mut judged = judged(&[(own, Verdict::Fail)], &[own]);
        let late = CaseResult {
            reason: Some(reason.to_owned()),
            ..result(UNNAMED, Verdict::Fail)
        };
        judged.outcome.passed = vec!["another".to_owned(); 3];
        judged.outcome.others = vec![late];
        assert_eq!(report(true, judged).unfailed(), unfailed);
    }
}

/// A fault that is too coarse fails cases that it says it leaves alone.
#[test]
fn a_fault_that_fails_what_it_spares_is_told() {
    let beside = Fault::all().find_map(|fault| match fault {
        Fault::Beside(beside) => Some((fault, beside.caught_by[0].0, *beside.spares.first()?)),
        Fault::Inside(_) => None,
    });
    let (fault, named, spared) = beside.expect("some spare a case");
    let mut judged = judged(&[], &[]);
    judged.fault = fault;
    judged.outcome.caught = vec![result(named, Verdict::Fail)];
    assert_eq!(judged.verdict(), "CAUGHT");
    judged.outcome.others = vec![result(spared, Verdict::Fail)];
    assert_eq!(judged.verdict(), "TOO MUCH");
    assert!(
        judged
            .cases()
            .ends_with(&format!("and, not spared, {spared}"))
    );
    assert_eq!(judged.json()["notSpared"][0], spared);
}

#[test]
fn a_fault_that_fails_everything_shows_nothing_of_a_case_that_it_does_not_name() {
    let own = cases(fault())[0];
    let failed = |id| (id, Verdict::Fail);
    let everything = judged(&[failed(own), failed(UNNAMED)], &[own, UNNAMED]);
    assert_eq!(report(true, everything).unfailed(), [UNNAMED]);
    let passed = (own, Verdict::Pass);
    let half = judged(&[failed(UNNAMED), passed], &[own, UNNAMED]);
    assert_eq!(report(true, half).unfailed(), [own]);
}

/// Of two cases that pass without a fault, and one that was not run.
fn report(whole: bool, judged: Judged) -> Report {
    Report {
        proxy: "bundled".to_owned(),
        provider: "netns".to_owned(),
        quick: false,
        whole,
        seconds: 0.0,
        timing: onehop_harness::timing::Timing::default(),
        interrupted: false,
        control: vec![
            result(cases(fault())[0], Verdict::Pass),
            result(UNNAMED, Verdict::Pass),
            result("a/case/that-was-not-run", Verdict::Skip),
        ],
        judged: vec![judged],
    }
}
