//! A conformance report: what a proxy's makers publish, as implementations of the Gateway API do.

use std::collections::{BTreeMap, BTreeSet};

use onehop_harness::case::Feature;
use onehop_harness::profile::Implementation;
use onehop_harness::run::{
    CaseResult, Differs, Outcome, ProxyResults, Results, RunInfo, Summary, Verdict,
};
use serde::Serialize;

/// The schema that a report follows.
const SCHEMA: &str = "onehop.conformance/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    schema: &'static str,
    kind: &'static str,
    date: &'a str,
    result: &'static str,
    implementation: Named<'a>,
    tool: Tool<'a>,
    environment: Environment<'a>,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    features: Features,
    variations: &'a BTreeMap<String, Differs>,
    failed_cases: Vec<Case<'a>>,
    known_defects: Vec<Case<'a>>,
    skipped_cases: Vec<Case<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    version: Option<&'a str>,
    mode: Option<&'a str>,
    #[serde(flatten)]
    made_by: &'a Implementation,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct Environment<'a> {
    provider: &'a str,
    api: &'a str,
    kernel: &'a str,
}

#[derive(Serialize)]
struct Features {
    supported: BTreeSet<Feature>,
    unsupported: BTreeSet<Feature>,
}

#[derive(Serialize)]
struct Case<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<&'a str>,
    reason: Option<&'a str>,
}

/// A report for each proxy: a YAML document each.
pub fn conformance(results: &Results) -> String {
    let documents = results.results.iter().map(|proxy| {
        let report = report(&results.run, proxy);
        serde_saphyr::to_string(&report).expect("plain data")
    });
    documents.collect::<Vec<_>>().join("---\n")
}

fn report<'a>(run: &'a RunInfo, results: &'a ProxyResults) -> Report<'a> {
    let proxy = &results.proxy;
    let of = |verdicts: &[Verdict]| {
        let cases = results.cases.iter();
        let cases = cases.filter(|case| verdicts.contains(&case.verdict));
        cases.map(Case::of).collect()
    };
    Report {
        schema: SCHEMA,
        kind: "ConformanceReport",
        date: &run.started,
        result: match results.outcome() {
            Outcome::Passed => "success",
            Outcome::Failed => "failure",
            Outcome::NotJudged => "incomplete",
        },
        implementation: Named {
            name: &proxy.name,
            version: proxy.version.as_deref(),
            mode: proxy.mode.as_deref(),
            made_by: &proxy.implementation,
        },
        tool: Tool {
            name: "onehop",
            version: &run.tool_version,
        },
        environment: Environment {
            provider: &run.provider,
            api: &run.api,
            kernel: &run.kernel,
        },
        summary: results.summary,
        error: results.error.as_deref(),
        features: Features {
            supported: supported(results),
            unsupported: proxy.unsupported.clone(),
        },
        variations: &proxy.variations,
        failed_cases: of(&[Verdict::Fail, Verdict::Error]),
        known_defects: of(&[Verdict::Known]),
        skipped_cases: of(&[Verdict::Skip]),
    }
}

/// The features that are there: a case has passed that needs them. What is wrong with one is in the failed cases, which
/// need several and cannot tell which of them it was.
fn supported(results: &ProxyResults) -> BTreeSet<Feature> {
    let passed = results.cases.iter();
    let passed = passed.filter(|case| case.verdict == Verdict::Pass);
    let needed = passed.flat_map(|case| case.features.iter().copied());
    needed
        .filter(|feature| !results.proxy.unsupported.contains(feature))
        .collect()
}

impl<'a> Case<'a> {
    fn of(result: &'a CaseResult) -> Self {
        Self {
            id: &result.id,
            finding: result.finding.as_deref(),
            reason: result.reason.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sample::sample;

    #[test]
    fn it_says_who_made_what_and_what_became_of_it() {
        let text = conformance(&sample());
        let report: Value = serde_saphyr::from_str(&text).expect("YAML");
        let implementation = json!({
            "name": "mine", "version": "mine 1.2.3", "mode": "ebpf", "organization": "Example",
            "url": "https://example.org", "contact": ["@me"],
        });
        assert_eq!(report["implementation"], implementation);
        assert_eq!(report["result"], "failure");
        let features = json!({ "supported": ["cluster-ip"], "unsupported": ["sctp"] });
        assert_eq!(report["features"], features);
        let summary = json!({ "passed": 1, "failed": 1, "known": 1, "skipped": 1, "errors": 1 });
        assert_eq!(report["summary"], summary);
        let ids = |what: &str| -> Vec<Value> {
            let cases = report[what].as_array().expect("a list").iter();
            cases.map(|case| case["id"].clone()).collect()
        };
        assert_eq!(ids("failedCases"), ["internal/fails", "internal/errs"]);
        assert_eq!(ids("skippedCases"), ["external/is-skipped"]);
        let known = json!([{
            "id": "external/is-known", "finding": "docs/findings/one.md", "reason": "pods 1-0-2: dropped (20 of 20)",
        }]);
        assert_eq!(report["knownDefects"], known);
    }

    #[test]
    fn each_proxy_has_a_document_of_its_own() {
        let mut results = sample();
        results.results.push(results.results[0].clone());
        let text = conformance(&results);
        let reports: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0], reports[1]);
    }
}
