//! What came of faults: a line as each ends, the matrix, and `faults.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_harness::run::{CaseResult, Summary, Verdict};
use onehop_harness::timing::Timing;
use serde_json::{Value, json};

use super::fault::Fault;
use super::judge::Outcome;
use crate::output::say;

/// The results, in the directory for them.
const RESULTS: &str = "faults.json";
/// Where labs are, in the same.
pub(super) const LABS: &str = "labs";
/// The failed cases that a row of the matrix names beside those of the fault.
const NAMED: usize = 8;
/// The faults that a row of the table of cases names.
const NAMED_OF_A_CASE: usize = 4;

/// All that a command found.
pub(super) struct Report {
    /// The name of the proxy.
    pub(super) proxy: String,
    /// Who provided the labs.
    pub(super) provider: String,
    pub(super) quick: bool,
    /// Whether every fault on the proxy was judged by every case.
    pub(super) whole: bool,
    pub(super) seconds: f64,
    pub(super) timing: Timing,
    pub(super) interrupted: bool,
    /// The same cases without a fault.
    pub(super) control: Vec<CaseResult>,
    pub(super) judged: Vec<Judged>,
}

/// One fault, and what came of it.
pub(super) struct Judged {
    pub(super) fault: Fault,
    pub(super) outcome: Outcome,
    /// Why nothing could be judged.
    pub(super) error: Option<String>,
    pub(super) seconds: f64,
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
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
pub(super) fn list(faults: &[Fault]) {
    let widths = faults.iter().map(|fault| fault.name().len());
    let width = widths.max().unwrap_or_default();
    for fault in faults {
        say!("{:width$}  {}", fault.name(), fault.breaks());
    }
}

impl Judged {
    fn verdict(&self) -> &'static str {
        match &self.error {
            Some(_) => "ERROR",
            None if self.outcome.caught.is_empty() => "UNCAUGHT",
            None if !self.missed().is_empty() => "IN PART",
            None if !self.not_spared().is_empty() => "TOO MUCH",
            None => "CAUGHT",
        }
    }

    fn is_caught(&self) -> bool {
        self.verdict() == "CAUGHT"
    }

    /// Whether it failed more than half of the cases: a proxy that does next to nothing fails each of them, which does not
    /// show that a case can tell what it is about.
    fn breaks_everything(&self) -> bool {
        self.failed() > self.outcome.passed.len()
    }

    /// How many cases failed, those that it names and others.
    fn failed(&self) -> usize {
        self.outcome.caught.len() + self.outcome.others.len()
    }

    /// Whether it shows that this case can fail. One that was only late, and that the fault does not name, may have been so by
    /// chance.
    fn shows_to_fail(&self, id: &str) -> bool {
        let Outcome { caught, others, .. } = &self.outcome;
        let others = others.iter();
        let others = others.filter(|result| !self.breaks_everything() && !result.is_only_late());
        caught.iter().chain(others).any(|result| result.id == id)
    }

    /// Cases that failed although the fault says that it leaves them alone.
    fn not_spared(&self) -> Vec<&str> {
        let failed = self.outcome.caught.iter().chain(&self.outcome.others);
        let ids = failed.map(|result| result.id.as_str());
        ids.filter(|id| self.fault.spares(id)).collect()
    }

    /// Cases that the fault names, and that did not catch it.
    fn missed(&self) -> Vec<&str> {
        self.outcome.missed(self.fault)
    }

    /// For people who wait.
    pub(super) fn line(&self) -> String {
        let Outcome {
            passed, unjudged, ..
        } = &self.outcome;
        let why = self.why().map_or(String::new(), |why| format!(": {why}"));
        format!(
            "{:8} {}  {} cases failed, {} passed, {} not judged ({:.1} s){why}",
            self.verdict(),
            self.fault.name(),
            self.failed(),
            passed.len(),
            unjudged.len(),
            self.seconds,
        )
    }

    /// Why it was not caught, or not by every case that it names, where there is more to say than that no case failed.
    fn why(&self) -> Option<String> {
        let others = &self.outcome.others;
        let only_others = self.outcome.caught.is_empty() && !others.is_empty();
        let only_others = only_others.then(|| {
            let own = others.iter().find(|case| self.fault.names(&case.id));
            if let Some(CaseResult { id, reason, .. }) = own {
                let reason = reason.as_deref().unwrap_or("no reason");
                return format!("{id} failed for another reason than it names: {reason}");
            }
            let ids: Vec<_> = others.iter().map(|case| case.id.as_str()).collect();
            format!(
                "only cases that it does not name failed: {}",
                ids.join(", ")
            )
        });
        let missed = self.missed();
        let in_part = (!self.outcome.caught.is_empty() && !missed.is_empty())
            .then(|| format!("not caught by {}", missed.join(", ")));
        self.error.clone().or(only_others).or(in_part)
    }

    /// Which of its cases failed and which did not, and which others failed as well.
    fn cases(&self) -> String {
        let Outcome { caught, others, .. } = &self.outcome;
        let mut lines: Vec<_> = caught.iter().map(|case| case.id.clone()).collect();
        let passed = self.outcome.passed.iter();
        let passed = passed.filter(|id| self.fault.names(id));
        lines.extend(passed.map(|id| format!("but not {id}")));
        // Those that it names first.
        let (own, more): (Vec<_>, Vec<_>) =
            others.iter().partition(|case| self.fault.names(&case.id));
        let named = own.into_iter().chain(more).take(NAMED);
        lines.extend(named.map(|case| {
            let how = if self.fault.names(&case.id) {
                "for another reason"
            } else if self.fault.spares(&case.id) {
                "not spared"
            } else {
                "not named"
            };
            format!("and, {how}, {}", case.id)
        }));
        let more = others.len().saturating_sub(NAMED);
        lines.extend((more > 0).then(|| format!("and {more} more")));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let reasons = |results: &[CaseResult]| -> Vec<Value> {
            let reason =
                |r: &CaseResult| json!({ "case": r.id, "verdict": r.verdict, "reason": r.reason });
            results.iter().map(reason).collect()
        };
        json!({
            "name": self.fault.name(),
            "breaks": self.fault.breaks(),
            "sources": self.fault.sources(),
            "verdict": self.verdict().to_lowercase(),
            "error": self.error,
            "caughtBy": reasons(&self.outcome.caught),
            "failedToo": reasons(&self.outcome.others),
            "passed": self.outcome.passed,
            "missed": self.missed(),
            "notSpared": self.not_spared(),
            "notJudged": reasons(&self.outcome.unjudged),
            "seconds": self.seconds,
        })
    }
}

impl Report {
    /// The faults that not every judged case of theirs caught, or that failed more than they may.
    pub(super) fn uncaught(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| !judged.is_caught())
    }

    /// The cases that pass without a fault, and with every one as well: nothing has shown that they can fail. A fault
    /// that fails more than half of all cases counts for those alone that it names. None where not every fault was judged by
    /// every case.
    pub(super) fn unfailed(&self) -> Vec<&str> {
        if !self.is_complete() {
            return Vec::new();
        }
        let failed = |id: &str| self.judged.iter().any(|judged| judged.shows_to_fail(id));
        let passed = self.control.iter();
        let passed = passed.filter(|result| result.verdict == Verdict::Pass);
        let ids = passed.map(|result| result.id.as_str());
        ids.filter(|id| !failed(id)).collect()
    }

    /// The cases of which nothing can be shown, because they do not pass without a fault either: those that this lab cannot
    /// run, and those that fail as is known.
    pub(super) fn unproven(&self) -> impl Iterator<Item = &CaseResult> {
        let unproven = |result: &&CaseResult| {
            self.is_complete() && matches!(result.verdict, Verdict::Skip | Verdict::Known)
        };
        self.control.iter().filter(unproven)
    }

    /// Whether every fault has met every case.
    fn is_complete(&self) -> bool {
        self.whole && !self.interrupted
    }

    /// Whether every case that was run passes without a fault.
    pub(super) fn control_is_clean(&self) -> bool {
        let Summary { failed, errors, .. } = Summary::of(&self.control);
        failed + errors == 0
    }

    /// The matrix.
    pub(super) fn table(&self) -> Table {
        let mut table = table();
        table.set_header(["fault", "breaks", "failed", "cases that it names"]);
        for judged in &self.judged {
            let color = if judged.is_caught() {
                Color::Green
            } else {
                Color::Red
            };
            let (failed, passed) = (judged.failed(), judged.outcome.passed.len());
            table.add_row([
                Cell::new(judged.fault.name()).fg(color),
                Cell::new(judged.fault.breaks()),
                Cell::new(format!("{failed} of {}", failed + passed)),
                Cell::new(judged.error.clone().unwrap_or_else(|| judged.cases())),
            ]);
        }
        table
    }

    /// The matrix read the other way: for each case that passes without a fault, those that made it fail, the ones that name it
    /// first. Empty where not every fault was judged by every case.
    pub(super) fn faults_of_cases(&self) -> BTreeMap<&str, Vec<&'static str>> {
        if !self.is_complete() {
            return BTreeMap::new();
        }
        let passed = self.control.iter();
        let passed = passed.filter(|result| result.verdict == Verdict::Pass);
        let shown = |result: &CaseResult| {
            let shows = self.judged.iter();
            let shows = shows.filter(|judged| judged.shows_to_fail(&result.id));
            let mut faults: Vec<Fault> = shows.map(|judged| judged.fault).collect();
            faults.sort_by_key(|fault| !fault.names(&result.id));
            faults.into_iter().map(Fault::name).collect()
        };
        passed
            .map(|result| (result.id.as_str(), shown(result)))
            .collect()
    }

    /// The same for people.
    pub(super) fn table_of_cases(&self) -> Option<Table> {
        let faults = self.faults_of_cases();
        let mut table = table();
        table.set_header(["case", "faults", "such as"]);
        for (case, faults) in &faults {
            let first = faults.iter().take(NAMED_OF_A_CASE).copied();
            let first: Vec<_> = first.collect();
            table.add_row([
                Cell::new(case),
                Cell::new(faults.len()),
                Cell::new(first.join(", ")),
            ]);
        }
        (!faults.is_empty()).then_some(table)
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
            let why = judged
                .why()
                .map_or_else(String::new, |why| format!(": {why}"));
            let name = judged.fault.name();
            text.push_str(&format!("{}  {name}{why}\n", judged.verdict()));
        }
        for case in self.unfailed() {
            text.push_str(&format!("NO FAULT MADE FAIL  {case}\n"));
        }
        for CaseResult { id, reason, .. } in self.unproven() {
            let reason = reason.as_deref().unwrap_or("no reason");
            text.push_str(&format!("NOT PROVEN  {id}: {reason}\n"));
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
            "proxy": self.proxy,
            "provider": self.provider,
            "quick": self.quick,
            "seconds": self.seconds,
            "timing": self.timing,
            "withoutFault": { "cases": self.control.len(), "notPassed": control },
            "faults": judged,
            "faultsOfCases": self.whole.then(|| self.faults_of_cases()),
            "casesThatNoFaultMadeFail": self.whole.then(|| self.unfailed()),
        });
        let path = out.join(RESULTS);
        let text = serde_json::to_string_pretty(&report).into_diagnostic()?;
        fs::write(&path, text)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", path.display()))
    }
}

#[cfg(test)]
mod tests;
