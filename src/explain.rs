//! `onehop explain`.

use std::process::ExitCode;

use miette::{IntoDiagnostic, Result, miette};
use onehop::files::{RESULTS, read_evidence};
use onehop_harness::run::{CaseResult, Results, Verdict};
use serde_json::json;

use crate::arguments::{ExplainArguments, Format};
use crate::output;

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
    if cases.is_empty() && !arguments.cases.is_empty() {
        let help = "its summary.md names those that failed; --dir is the --out of the run";
        let asked = arguments.cases.join(", ");
        return Err(miette!(
            help = help,
            "{} has no case {asked}",
            file.display()
        ));
    }
    let read = |case: &CaseResult, name: &str| read_evidence(&arguments.dir, case, name);
    let explained = cases
        .into_iter()
        .map(|(proxy, case)| (proxy, onehop_report::explain(case, &read)));
    let whole = results.results.iter();
    let whole = whole.filter_map(|one| Some((&one.proxy.name, one.error.as_ref()?)));
    let text = match arguments.format {
        Format::Text => {
            let whole = whole
                .map(|(proxy, error)| format!("{proxy}\nERROR  the run as a whole: {error}\n"));
            let texts = explained.map(|(proxy, why)| format!("{proxy}\n{why}"));
            let texts: Vec<_> = whole.chain(texts).collect();
            if texts.is_empty() {
                "no case has failed\n".to_owned()
            } else {
                texts.join("\n")
            }
        }
        Format::Json => {
            let cases = explained.map(|(proxy, why)| json!({ "proxy": proxy, "explanation": why }));
            let cases: Vec<_> = cases.collect();
            let errors = whole.map(|(proxy, error)| json!({ "proxy": proxy, "error": error }));
            let errors: Vec<_> = errors.collect();
            format!(
                "{:#}\n",
                json!({ "schema": SCHEMA, "errors": errors, "cases": cases })
            )
        }
    };
    output::print(&text)
}

fn wanted(arguments: &ExplainArguments, case: &CaseResult) -> bool {
    let failed = matches!(
        case.verdict,
        Verdict::Fail | Verdict::Error | Verdict::Known
    );
    if arguments.cases.is_empty() {
        return failed;
    }
    let patterns = &arguments.cases;
    patterns
        .iter()
        .any(|pattern| onehop_suites::matches(pattern, &case.id))
}
