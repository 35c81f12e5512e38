//! JUnit, as CI systems render it.

use std::time::Duration;

use onehop_harness::run::{CaseResult, ProxyInfo, ProxyResults, Results, RunInfo, Verdict};
use quick_junit::{
    NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite, XmlString,
};

use crate::of_family;

/// The name of what stands for a proxy as a whole, where it is no success whatever its cases say.
const WHOLE: &str = "the run as a whole";

/// The results as JUnit: a suite for each proxy, a test case for each case.
///
/// A case that fails because of a known defect counts as skipped, with the defect as its reason: JUnit has no word for it, and
/// it is no news.
pub fn junit(results: &Results) -> String {
    let mut report = Report::new("onehop");
    report.set_time(seconds(results.run.seconds));
    report.add_test_suites(
        results
            .results
            .iter()
            .map(|proxy| suite(&results.run, proxy)),
    );
    report
        .to_string()
        .expect("what is written to memory is written")
}

fn suite(run: &RunInfo, results: &ProxyResults) -> TestSuite {
    let mut suite = TestSuite::new(results.proxy.name.clone());
    for (name, value) in properties(run, &results.proxy) {
        suite.add_property(Property::new(name, value));
    }
    suite.add_test_cases(results.cases.iter().map(test_case));
    // Where there was no lab, each case says so already.
    let judged = |case: &CaseResult| case.verdict != Verdict::Error;
    if let Some(error) = &results.error
        && (results.cases.is_empty() || results.cases.iter().any(judged))
    {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(error.clone());
        let mut whole = TestCase::new(WHOLE, status);
        whole.set_classname("run");
        suite.add_test_case(whole);
    }
    let cases = results.phases.get("cases").copied();
    suite.set_time(seconds(cases.unwrap_or_default()));
    suite
}

fn properties(run: &RunInfo, proxy: &ProxyInfo) -> Vec<(&'static str, String)> {
    let known = [
        ("proxy.version", proxy.version.clone()),
        ("proxy.mode", proxy.mode.clone()),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let run = [
        ("onehop.version", run.tool_version.clone()),
        ("provider", run.provider.clone()),
        ("api", run.api.clone()),
        ("kernel", run.kernel.clone()),
        ("seed", run.seed.to_string()),
    ];
    known.chain(run).collect()
}

fn test_case(case: &CaseResult) -> TestCase {
    let reason = case.reason.clone().unwrap_or_default();
    let status = match case.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => not_passed(NonSuccessKind::Failure, reason, wrong(case)),
        Verdict::Error => not_passed(NonSuccessKind::Error, reason, String::new()),
        Verdict::Skip => skipped(reason),
        Verdict::Known => {
            let finding = case.finding.as_deref().unwrap_or("a known defect");
            skipped(format!("known, {finding}: {reason}"))
        }
    };
    // CI systems group by this.
    let (subject, _) = case.id.split_once('/').unwrap_or((&case.id, ""));
    let mut test = TestCase::new(case.id.clone(), status);
    test.set_classname(subject);
    test.set_time(seconds(case.seconds));
    test.add_property(Property::new("claim", case.claim.clone()));
    test
}

fn not_passed(kind: NonSuccessKind, message: String, text: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    if !text.is_empty() {
        status.set_description(XmlString::new(text));
    }
    status
}

fn skipped(message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(message);
    status
}

/// Everything that is wrong in a case as text: its claim, a paragraph a question, and where its evidence is.
pub fn wrong(case: &CaseResult) -> String {
    let wrong = case.flows.iter().filter(|flow| !flow.passed());
    let paragraphs = wrong.map(|flow| {
        let family = of_family(flow);
        format!(
            "{}: {} -> {} ({}{family})\n  expected  {}\n  got       {}\n{}",
            flow.check,
            flow.from,
            flow.to,
            flow.protocol,
            flow.expected,
            flow.got,
            flow.wrong
                .iter()
                .map(|text| format!("  {text}\n"))
                .collect::<String>(),
        )
    });
    let text = paragraphs.collect::<Vec<_>>().join("\n");
    let evidence = case.evidence.as_ref();
    let evidence = evidence.map_or_else(String::new, |dir| {
        format!("\nevidence: {}\n", dir.display())
    });
    format!("{}\n\n{text}{evidence}", case.claim)
}

/// A time of a result. One that is none counts as none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use quick_junit::Report;

    use super::*;
    use crate::sample::sample;

    /// As CI systems read it.
    fn read() -> Report {
        Report::deserialize_from_str(&junit(&sample())).expect("JUnit")
    }

    #[test]
    fn every_case_is_there_with_its_verdict_and_only_news_fails() {
        let report = read();
        assert_eq!((report.tests, report.failures, report.errors), (6, 1, 2));
        let [suite] = &report.test_suites[..] else {
            panic!("one suite a proxy");
        };
        assert_eq!(suite.name.as_str(), "mine");
        let of = |name: &str| {
            let mut tests = suite.test_cases.iter();
            tests
                .find(|test| test.name.as_str() == name)
                .expect("there")
        };
        assert!(matches!(
            of("external/passes").status,
            TestCaseStatus::Success { .. }
        ));
        assert_eq!(
            of("external/passes")
                .classname
                .as_ref()
                .map(quick_junit::XmlString::as_str),
            Some("external")
        );
        for name in ["external/is-known", "external/is-skipped"] {
            assert!(matches!(of(name).status, TestCaseStatus::Skipped { .. }));
        }
        let TestCaseStatus::NonSuccess {
            kind,
            message,
            description,
            ..
        } = &of("internal/fails").status
        else {
            panic!("it failed");
        };
        assert_eq!(*kind, NonSuccessKind::Failure);
        let message = message.as_ref().expect("a reason").as_str();
        assert_eq!(message, "pods 1-0-2: dropped (3 of 20)");
        let description = description.as_ref().expect("what is wrong").as_str();
        for words in [
            "pod(client-vm1) -> cluster-ip (TCP, IPv4)",
            "expected  web-0 <& nobody else>",
            "dropped (3 of 20)",
            "evidence: ",
        ] {
            assert!(description.contains(words), "{description}");
        }
        assert!(!description.contains("IPv6"), "what is right is not told");
    }

    /// A proxy that exits while its rules stay passes every case.
    #[test]
    fn what_is_wrong_with_the_run_as_a_whole_is_an_error_of_its_own() {
        let report = read();
        let whole = report.test_suites[0].test_cases.last().expect("some");
        assert_eq!(whole.name.as_str(), WHOLE);
        let mut results = sample();
        results.results[0]
            .cases
            .retain(|case| case.verdict == Verdict::Error);
        let report = Report::deserialize_from_str(&junit(&results)).expect("JUnit");
        assert_eq!(report.tests, 1, "every case says it already");
    }
}
