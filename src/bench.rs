//! `onehop bench`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use miette::{IntoDiagnostic, Result, WrapErr, miette};
use onehop_harness::bench::{Bench, BenchOptions, Better, Measure, Report, Row, digits};
use onehop_harness::error::chain;
use onehop_harness::{netns, prepare};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::arguments::BenchArguments;
use crate::output::say;
use crate::{preparation, signals};

/// The results, in the directory for them.
pub(crate) const RESULTS: &str = "bench.json";

pub(crate) fn bench(arguments: &BenchArguments) -> Result<ExitCode> {
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to create {}", out.display()))?;
        forget(&out.join(RESULTS))?;
    }
    let binary = arguments.proxy_binary.as_deref();
    let proxies = prepare::proxies(&arguments.proxies, binary, &mut preparation::show_progress)
        .into_diagnostic()?;
    let _sandbox = netns::enter_as_root().into_diagnostic()?;
    let place = Place::new(arguments.out.as_deref())?;
    let options = BenchOptions {
        proxies,
        services: arguments.services,
        rounds: arguments.rounds,
        changes: arguments.changes,
        connecting: Duration::from_millis(arguments.connect_millis),
        large_of_all: arguments.measures.contains(&Measure::ColdStartLarge),
        measures: selected(&arguments.measures),
        family: arguments.family.into(),
        dir: place.labs(),
        patience: Duration::from_secs(arguments.patience_seconds),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // Only now: a runtime has threads.
    let runtime = Runtime::new().into_diagnostic()?;
    let mut bench = Bench::new(options);
    let done = runtime.block_on(measure(&mut bench));
    // What waits on threads of its own need not be waited for.
    runtime.shutdown_background();
    if let Err(report) = &done {
        bench.failed(chain(report.as_ref()));
    }
    let report = bench.report();
    if !report.measures.is_empty() {
        say!("{}", table(&report));
    }
    if let Some(out) = &arguments.out {
        write(&out.join(RESULTS), &report)?;
    }
    done.map(|()| ExitCode::SUCCESS)
}

async fn measure(bench: &mut Bench) -> Result<()> {
    let interrupted = signals::asked_to_end().into_diagnostic()?;
    let say = |line: &str| say!("{line}");
    tokio::select! {
        biased;
        () = interrupted => Err(miette!(
            help = "what was measured until then is reported",
            "the bench was interrupted"
        )),
        done = bench.run(&say) => done.into_diagnostic(),
    }
}

/// Where labs are, and results go.
enum Place {
    Out(PathBuf),
    /// Removed at the end.
    Temporary(TempDir),
}

impl Place {
    fn new(out: Option<&Path>) -> Result<Self> {
        match out {
            Some(out) => Ok(Self::Out(std::path::absolute(out).into_diagnostic()?)),
            None => Ok(Self::Temporary(TempDir::new().into_diagnostic()?)),
        }
    }

    fn labs(&self) -> PathBuf {
        match self {
            Self::Out(out) => out.join("labs"),
            Self::Temporary(dir) => dir.path().join("labs"),
        }
    }
}

/// Removes the results of an earlier bench: they must not be taken for those of this one.
fn forget(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to remove {}", path.display())),
        _ => Ok(()),
    }
}

fn write(path: &Path, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(report).into_diagnostic()?;
    fs::write(path, text)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to write {}", path.display()))?;
    say!("{}", path.display());
    Ok(())
}

fn selected(measures: &[Measure]) -> BTreeSet<Measure> {
    if measures.is_empty() {
        Measure::ALL.into()
    } else {
        measures.iter().copied().collect()
    }
}

/// Reads the name of a measure.
pub(crate) fn measure_named(name: &str) -> Result<Measure, String> {
    Measure::try_from(name.to_owned())
}

/// What the measures are, for `--help`.
pub(crate) fn measures_help() -> String {
    let mut text = String::from("Measures, and what exactly each is:\n");
    for measure in Measure::ALL {
        let (unit, explanation) = (measure.unit(), measure.explanation());
        text.push_str(&format!("  {measure} ({unit})\n      {explanation}\n"));
    }
    text.push_str(
        "\nA value is the median of its samples (of changes also the 99th percentile, of memory \
         the largest, of wrong connections the sum), with the smallest and the largest below it. \
         A ratio says how many times better the first proxy is than the last: the last's value ÷ \
         the first's, and for rates, of which more is better, the first's ÷ the last's. Above 1, \
         the first is the better one in every row.",
    );
    text
}

fn table(report: &Report) -> Table {
    let proxies = &report.run.proxies;
    let mut header = vec![
        "measure".to_owned(),
        "Services".to_owned(),
        "unit".to_owned(),
    ];
    header.extend(proxies.iter().map(|proxy| match &proxy.version {
        Some(version) => format!("{}\n{version}", proxy.name),
        None => proxy.name.clone(),
    }));
    let compared = proxies.len() > 1;
    header.extend(compared.then(|| "ratio".to_owned()));
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for row in &report.measures {
        let mut cells = vec![
            row.name.to_string(),
            row.services.to_string(),
            format!("{}{}", row.unit, arrow(row.name)),
        ];
        cells.extend(proxies.iter().map(|proxy| value(row, &proxy.name)));
        cells.extend(compared.then(|| {
            row.ratio
                .map_or("–".to_owned(), |r| format!("{}×", digits(r)))
        }));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn arrow(measure: Measure) -> &'static str {
    match measure.better() {
        Better::Lower => "",
        Better::Higher => " (more is better)",
    }
}

/// A value, and below it the spread of the samples behind it.
fn value(row: &Row, proxy: &str) -> String {
    let Some(value) = row.values.get(proxy) else {
        return "–".to_owned();
    };
    match (row.spread.get(proxy), row.samples.get(proxy)) {
        (Some([least, most]), Some(count @ 2..)) => {
            format!(
                "{}\n{}–{} of {count}",
                digits(*value),
                digits(*least),
                digits(*most)
            )
        }
        _ => digits(*value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_that_is_not_there_lists_those_that_are() {
        assert_eq!(measure_named("burst"), Ok(Measure::Burst));
        let error = measure_named("speed").expect_err("there is none");
        assert!(
            error.contains("cold-start") && error.contains("burst"),
            "{error}"
        );
    }
}
