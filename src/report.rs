//! `onehop report`, and the files that a run leaves for others.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_harness::run::{Results, RunInfo};
use onehop_harness::timing::Timing;
use onehop_report::FILES;

use crate::arguments::ReportArguments;

/// The results, in the directory for them.
pub(crate) const RESULTS: &str = "results.json";

/// Makes the reports of a run again, or prints what its results look like.
pub(crate) fn report(arguments: &ReportArguments) -> Result<ExitCode> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&Results::schema()).into_diagnostic()?;
        println!("{schema}");
        return Ok(ExitCode::SUCCESS);
    }
    let out = &arguments.dir;
    let results = Results::read(&out.join(RESULTS)).into_diagnostic()?;
    make(out, &results)?;
    for (name, _) in FILES {
        println!("{}", out.join(name).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What results say of a run: where it ran and by which API, its seed, when it began and how long it took.
pub(crate) fn run_info(
    (provider, api): (&str, &str),
    seed: u64,
    (started, took): (SystemTime, Duration),
    timing: &Timing,
) -> RunInfo {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let started = Timestamp::try_from(started).map(|time| time.to_string());
    RunInfo {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        provider: provider.to_owned(),
        api: api.to_owned(),
        kernel: kernel.trim().to_owned(),
        seed,
        started: started.unwrap_or_default(),
        seconds: took.as_secs_f64(),
        timing: timing.clone(),
    }
}

/// Writes the results, and all that is made from them.
pub(crate) fn write(out: &Path, results: &Results) -> Result<()> {
    // In lines of their own, the thousands of steps of ways would be three times as much.
    let text = serde_json::to_string(results).into_diagnostic()?;
    write_file(out, RESULTS, &text)?;
    make(out, results)
}

fn make(out: &Path, results: &Results) -> Result<()> {
    let mut files = FILES.into_iter();
    files.try_for_each(|(name, text)| write_file(out, name, &text(results)))
}

fn write_file(out: &Path, name: &str, text: &str) -> Result<()> {
    let path = out.join(name);
    fs::write(&path, text)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to write {}", path.display()))
}
