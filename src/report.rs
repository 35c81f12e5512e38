//! `onehop report`.

use std::process::ExitCode;

use miette::{IntoDiagnostic, Result};
use onehop::files::{self, RESULTS};
use onehop_harness::run::Results;
use onehop_report::FILES;

use crate::arguments::ReportArguments;
use crate::output;

/// Makes the reports of a run again, or prints what its results look like.
pub(crate) fn report(arguments: &ReportArguments) -> Result<ExitCode> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&Results::schema()).into_diagnostic()?;
        return output::print(&format!("{schema}\n"));
    }
    let out = &arguments.dir;
    let results = Results::read(&out.join(RESULTS)).into_diagnostic()?;
    files::make(out, &results).into_diagnostic()?;
    let written = FILES.map(|(name, _)| format!("{}\n", out.join(name).display()));
    output::print(&written.concat())
}
