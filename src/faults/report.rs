//! What came of faults: a line as each ends, the matrix, and `faults.json`.

use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_harness::run::{CaseResult, Summary, Verdict};
use onehop_harness::timing::Timing;
use onehop_proxy::faults::Fault;
use serde_json::{Value, json};

use super::judge::Outcome;

/// The results, in the directory for them.
const RESULTS: &str = "faults.json";
/// Where labs are, in the same.
pub(super) const LABS: &str = "labs";
/// The cases that a row of the matrix names.
const NAMED: usize = 8;

/// All that a command found.
pub(super) struct Report {
    pub(super) quick: bool,
    pub(super) seconds: f64,
    pub(super) timing: Timing,
    pub(super) interrupted: bool,
    /// The same cases without a fault.
    pub(super) control: Vec<CaseResult>,
    pub(super) judged: Vec<Judged>,
}

/// One fault, and what came of it.
pub(super) struct Judged {
    pub(super) fault: &'static Fault,
    pub(super) outcome: Outcome,
    /// Why nothing could be judged.
    pub(super) error: Option<String>,
    pub(super) seconds: f64,
}

/// Makes the directory of the results, and removes those of an earlier run from it.
pub(super) fn create(out: &Path) -> Result<PathBuf> {
    let out = std::path::absolute(out).into_diagnostic()?;
    fs::create_dir_all(&out)
        .into_diagnostic()
        .wrap_err_with(|| format!("failed to create {}", out.display()))?;
    let old = out.join(RESULTS);
    if old.exists() {
        fs::remove_file(&old)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to remove {}", old.display()))?;
    }
    Ok(out)
}

/// Prints each fault, and what it breaks.
pub(super) fn list(faults: &[&'static Fault]) {
    let widths = faults.iter().map(|fault| fault.name.len());
    let width = widths.max().unwrap_or_default();
    for fault in faults {
        println!("{:width$}  {}", fault.name, fault.breaks);
    }
}

impl Judged {
    fn verdict(&self) -> &'static str {
        match &self.error {
            Some(_) => "ERROR",
            None if self.outcome.caught.is_empty() => "UNCAUGHT",
            None => "CAUGHT",
        }
    }

    fn is_caught(&self) -> bool {
        self.verdict() == "CAUGHT"
    }

    /// Cases that the fault names, and that passed all the same.
    fn missed(&self) -> Vec<&str> {
        let passed = self.outcome.passed.iter().map(String::as_str);
        passed
            .filter(|id| self.fault.caught_by.contains(id))
            .collect()
    }

    /// For people who wait.
    pub(super) fn line(&self) -> String {
        let Outcome {
            caught,
            passed,
            unjudged,
        } = &self.outcome;
        let error = self.error.as_ref();
        let error = error.map_or(String::new(), |error| format!(": {error}"));
        format!(
            "{:8} {}  {} cases failed, {} passed, {} not judged ({:.1} s){error}",
            self.verdict(),
            self.fault.name,
            caught.len(),
            passed.len(),
            unjudged.len(),
            self.seconds,
        )
    }

    fn json(&self) -> Value {
        let reasons = |results: &[CaseResult]| -> Vec<Value> {
            let reason =
                |r: &CaseResult| json!({ "case": r.id, "verdict": r.verdict, "reason": r.reason });
            results.iter().map(reason).collect()
        };
        json!({
            "name": self.fault.name,
            "breaks": self.fault.breaks,
            "sources": self.fault.sources,
            "verdict": self.verdict().to_lowercase(),
            "error": self.error,
            "caughtBy": reasons(&self.outcome.caught),
            "passed": self.outcome.passed,
            "missed": self.missed(),
            "notJudged": reasons(&self.outcome.unjudged),
            "seconds": self.seconds,
        })
    }
}

impl Report {
    /// The faults that no case caught.
    pub(super) fn uncaught(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| !judged.is_caught())
    }

    /// Whether every case that was run passes without a fault.
    pub(super) fn control_is_clean(&self) -> bool {
        let Summary { failed, errors, .. } = Summary::of(&self.control);
        failed + errors == 0
    }

    /// The matrix.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["fault", "breaks", "failed", "cases that caught it"]);
        for judged in &self.judged {
            let color = if judged.is_caught() {
                Color::Green
            } else {
                Color::Red
            };
            let Outcome { caught, passed, .. } = &judged.outcome;
            let mut ids: Vec<_> = caught.iter().map(|case| case.id.as_str()).collect();
            // Those that the fault names first.
            ids.sort_by_key(|id| !judged.fault.caught_by.contains(id));
            let more = ids.len().saturating_sub(NAMED);
            let mut text = ids[..ids.len() - more].join("\n");
            if more > 0 {
                text.push_str(&format!("\nand {more} more"));
            }
            for missed in judged.missed() {
                text.push_str(&format!("\nbut not {missed}"));
            }
            table.add_row([
                Cell::new(judged.fault.name).fg(color),
                Cell::new(judged.fault.breaks),
                Cell::new(format!("{} of {}", ids.len(), ids.len() + passed.len())),
                Cell::new(judged.error.as_ref().unwrap_or(&text).trim_start()),
            ]);
        }
        table
    }

    /// In one line, and one for each fault that was not caught.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        if !self.control_is_clean() {
            text.push_str("cases fail without a fault as well: those count for nothing\n");
        }
        if self.interrupted {
            text.push_str("interrupted\n");
        }
        for judged in self.uncaught() {
            let Judged { fault, .. } = judged;
            text.push_str(&format!("{}  {}\n", judged.verdict(), fault.name));
        }
        let uncaught = self.uncaught().count();
        let caught = self.judged.len() - uncaught;
        let seconds = self.seconds;
        text + &format!("{caught} faults caught, {uncaught} not, in {seconds:.1} s")
    }

    /// Writes `faults.json`.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let control = self.control.iter().filter(|r| r.verdict != Verdict::Pass);
        let control: Vec<_> = control
            .map(|r| json!({ "case": r.id, "verdict": r.verdict, "reason": r.reason }))
            .collect();
        let judged: Vec<_> = self.judged.iter().map(Judged::json).collect();
        let report = json!({
            "schema": "onehop.faults/v1",
            "toolVersion": env!("CARGO_PKG_VERSION"),
            "quick": self.quick,
            "seconds": self.seconds,
            "timing": self.timing,
            "withoutFault": { "cases": self.control.len(), "notPassed": control },
            "faults": judged,
        });
        let path = out.join(RESULTS);
        let text = serde_json::to_string_pretty(&report).into_diagnostic()?;
        fs::write(&path, text)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", path.display()))
    }
}
