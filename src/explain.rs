//! `onehop explain`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use miette::{IntoDiagnostic, Result, miette};
use onehop::files::RESULTS;
use onehop_harness::run::{CaseResult, Results, Verdict};
use serde_json::json;

use crate::arguments::{ExplainArguments, Format};

/// The schema of what is explained, as JSON.
const SCHEMA: &str = "onehop.explanation/v1";

/// Says of cases of a run why they failed. Exits with 0: that they did is no news.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<ExitCode> {
    let file = arguments.dir.join(RESULTS);
    let results = Results::read(&file).into_diagnostic()?;
    let cases = results.results.iter().flat_map(|proxy| {
        let cases = proxy.cases.iter().filter(|case| wanted(arguments, case));
        cases.map(|case| (&proxy.proxy.name, case))
    });
    let cases: Vec<_> = cases.collect();
    if cases.is_empty() {
        let asked = if arguments.cases.is_empty() {
            "no case that failed".to_owned()
        } else {
            format!("no case {}", arguments.cases.join(", "))
        };
        let help = "its summary.md names those that failed; --dir is the --out of the run";
        return Err(miette!(help = help, "{} has {asked}", file.display()));
    }
    let explained = cases.into_iter().map(|(proxy, case)| {
        let read = |name: &str| fs::read_to_string(evidence(arguments, case)?.join(name)).ok();
        (proxy, onehop_report::explain(case, &read))
    });
    match arguments.format {
        Format::Text => explained.for_each(|(proxy, why)| println!("{proxy}\n{why}")),
        Format::Json => {
            let cases = explained.map(|(proxy, why)| json!({ "proxy": proxy, "explanation": why }));
            let cases: Vec<_> = cases.collect();
            println!("{:#}", json!({ "schema": SCHEMA, "cases": cases }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(arguments: &ExplainArguments, case: &CaseResult) -> bool {
    let failed = matches!(
        case.verdict,
        Verdict::Fail | Verdict::Error | Verdict::Known
    );
    if arguments.cases.is_empty() {
        return failed;
    }
    arguments.cases.contains(&case.id)
}

/// The evidence of a case: beside the results, or where it was when they were written.
fn evidence(arguments: &ExplainArguments, case: &CaseResult) -> Option<PathBuf> {
    let beside = arguments.dir.join(case.evidence_below()?);
    if beside.is_dir() {
        return Some(beside);
    }
    case.evidence.clone()
}
