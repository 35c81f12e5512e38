//! The table at the end of a run.

use crate::output::say;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use onehop_harness::run::{
    CaseResult, Differs, ProxyInfo, ProxyResults, Results, Summary, Verdict,
};
use onehop_suites::Subject;

/// Prints, for each proxy, a row for each subject, and every wrong row in full.
pub(crate) fn print(results: &Results) {
    for proxy in &results.results {
        say!("\n{}", title(&proxy.proxy));
        let judged = proxy.summary.passed + proxy.summary.failed > 0;
        if let (Some(error), false) = (&proxy.error, judged) {
            say!("nothing could be judged: {error}");
            continue;
        }
        say!("{}", subjects(proxy));
        if let Some(variations) = variations(&proxy.proxy) {
            say!("{variations}");
        }
        if let Some(wrong) = wrong(proxy) {
            say!("{wrong}");
        }
        for case in proxy
            .cases
            .iter()
            .filter(|case| case.verdict != Verdict::Pass)
        {
            let reason = case.reason.as_deref().unwrap_or("no reason");
            say!("{}  {}  {reason}", case.verdict, case.id);
            if let Some(finding) = &case.finding {
                say!("      finding: {finding}");
            }
            if let Some(evidence) = &case.evidence {
                say!("      evidence: {}", evidence.display());
            }
        }
        if let Some(error) = &proxy.error {
            say!("ERROR  {error}");
        }
    }
    let Summary {
        passed,
        failed,
        known,
        skipped,
        errors,
    } = results.summary;
    let known = match known {
        0 => String::new(),
        known => format!(", {known} failed as is known"),
    };
    say!(
        "{passed} passed, {failed} failed{known}, {skipped} skipped, {errors} errors in {:.1} s",
        results.run.seconds
    );
}

/// What was judged: its name, its version, and its mode if the name does not say it.
fn title(proxy: &ProxyInfo) -> String {
    let version = proxy.version.as_deref().unwrap_or("of unknown version");
    match &proxy.mode {
        Some(mode) if !proxy.name.contains(mode) => format!("{} {version} ({mode})", proxy.name),
        _ => format!("{} {version}", proxy.name),
    }
}

/// A table as all commands print them.
pub(crate) fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    table
}

/// A row for each subject of the catalogue that was asked about.
fn subjects(proxy: &ProxyResults) -> Table {
    let of = |subject: &Subject| -> Vec<&CaseResult> {
        let cases = proxy.cases.iter();
        cases.filter(|case| subject.has_id(&case.id)).collect()
    };
    let subjects = Subject::ALL
        .iter()
        .map(|subject| (subject.name, of(subject)));
    let subjects = subjects.filter(|(_, cases)| !cases.is_empty());
    let mut table = new_table(&[
        "subject",
        "cases",
        "passed",
        "connections",
        "converged in",
        "verdict",
    ]);
    for (subject, cases) in subjects {
        let summary = Summary::of(cases.iter().copied());
        let connections: u64 = cases
            .iter()
            .flat_map(|c| &c.flows)
            .map(|row| row.count)
            .sum();
        let slowest = cases.iter().map(|c| c.converged_in()).fold(0.0, f64::max);
        let (verdict, color) = match summary {
            Summary { failed: 1.., .. } => ("FAIL", Color::Red),
            Summary { errors: 1.., .. } => ("ERROR", Color::Magenta),
            Summary { known: 1.., .. } => ("KNOWN", Color::Yellow),
            Summary { passed: 0, .. } => ("SKIP", Color::Yellow),
            _ => ("PASS", Color::Green),
        };
        table.add_row([
            Cell::new(subject),
            Cell::new(cases.len()),
            Cell::new(summary.passed),
            Cell::new(connections),
            Cell::new(format!("≤ {slowest:.2} s")),
            Cell::new(verdict).fg(color),
        ]);
    }
    table
}

/// What was measured where implementations differ and all of them are right, a line for each variation; nothing where
/// none was measured and none is declared.
fn variations(proxy: &ProxyInfo) -> Option<String> {
    let known = |differs: &Differs| differs.declared.is_some() || !differs.measured.is_empty();
    if !proxy.variations.values().any(known) {
        return None;
    }
    let lines = proxy.variations.iter();
    let lines = lines.map(|(name, differs)| format!("\n  {name:21} {differs}"));
    let title = "Where proxies differ, and none is wrong for it:";
    Some(format!("{title}{}", lines.collect::<String>()))
}

/// What was seen beside what was expected, for every row that is wrong.
fn wrong(proxy: &ProxyResults) -> Option<Table> {
    let mut table = new_table(&["case", "flow", "WRONG", "EXPECTED"]);
    for case in &proxy.cases {
        for row in case.flows.iter().filter(|row| !row.passed()) {
            let family = row
                .family
                .map(|family| format!(" {} {family}", row.protocol))
                .unwrap_or_default();
            table.add_row([
                format!("{}\n{}", case.id, row.check),
                format!("{} ->\n{}{family}", row.from, row.to),
                format!("{}\n{}", row.got, row.wrong.join("\n")),
                row.expected.clone(),
            ]);
        }
    }
    (table.row_count() > 0).then_some(table)
}
