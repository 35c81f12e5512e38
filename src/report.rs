//! `onehop report`.

use std::process::ExitCode;

use miette::{IntoDiagnostic, Result};
use onehop::files::{self, RESULTS};
use onehop_harness::run::Results;
use onehop_report::FILES;

use crate::arguments::ReportArguments;

/// Makes the reports of a run again, or prints what its results look like.
pub(crate) fn report(arguments: &ReportArguments) -> Result<ExitCode> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&Results::schema()).into_diagnostic()?;
        println!("{schema}");
        return Ok(ExitCode::SUCCESS);
    }
    let out = &arguments.dir;
    let results = Results::read(&out.join(RESULTS)).into_diagnostic()?;
    files::make(out, &results).into_diagnostic()?;
    for (name, _) in FILES {
        println!("{}", out.join(name).display());
    }
    Ok(ExitCode::SUCCESS)
}
