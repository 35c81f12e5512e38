//! A comparison as text, as Markdown, and as a page.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use comfy_table::presets::NOTHING;
use maud::{Markup, html};
use onehop_harness::run::Outcome;

use super::tables::{Column, Section, Table, sections, verdict};
use super::{Change, Comparison};
use crate::html::{of_outcome, page};
use crate::markdown::cell;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in sections(self) {
            writeln!(f, "{}\n", section.heading)?;
            for note in &section.notes {
                writeln!(f, "  {note}")?;
            }
            if !section.notes.is_empty() {
                writeln!(f)?;
            }
            for table in &section.tables {
                writeln!(f, "{}\n", as_text(table))?;
            }
        }
        for unjudged in &self.unjudged {
            writeln!(f, "not judged: {unjudged}")?;
        }
        match self.outcome() {
            Outcome::NotJudged => writeln!(f, "nothing that was judged is worse"),
            Outcome::Passed => writeln!(f, "nothing is worse"),
            Outcome::Failed => {
                let worse = &self.regressions;
                writeln!(f, "{} worse:\n  {}", worse.len(), worse.join("\n  "))
            }
        }
    }
}

/// In columns, indented. Lines are as long as they are: what stands in them is searched for.
fn as_text(table: &Table) -> String {
    let mut columns = comfy_table::Table::new();
    columns.load_style(NOTHING);
    if table.columns.iter().any(is_named) {
        columns.set_header(table.columns.iter().map(|column| column.name));
    }
    columns.add_rows(&table.rows);
    for column in columns.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = columns.trim_fmt();
    let lines = lines.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_named(column: &Column) -> bool {
    !column.name.is_empty()
}

impl Comparison {
    /// Whether nothing is worse.
    pub fn is_clean(&self) -> bool {
        self.regressions.is_empty()
    }

    /// What it comes to: whether something is worse, or everything could be compared.
    pub fn outcome(&self) -> Outcome {
        match self.is_clean() {
            false => Outcome::Failed,
            true if !self.unjudged.is_empty() => Outcome::NotJudged,
            true => Outcome::Passed,
        }
    }

    /// What is worse besides verdicts of cases, which are in a table of their own, with their reasons.
    fn worse_besides(&self) -> Vec<&String> {
        let changes = self.proxies.iter().flat_map(|pair| &pair.verdicts);
        let in_tables = changes.filter(|change| change.is_regression());
        let in_tables: BTreeSet<_> = in_tables.map(Change::line).collect();
        let all = self.regressions.iter();
        all.filter(|worse| !in_tables.contains(*worse)).collect()
    }

    /// The comparison in GitHub-flavoured Markdown.
    pub fn markdown(&self) -> String {
        let sign = match self.outcome() {
            Outcome::NotJudged => "⚠️",
            Outcome::Passed => "✅",
            Outcome::Failed => "❌",
        };
        let mut text = format!("## {sign} {}\n", verdict(self));
        for unjudged in &self.unjudged {
            let _ = write!(text, "\n**Not judged:** {}\n", cell(unjudged));
        }
        let worse = self.worse_besides();
        if !worse.is_empty() {
            text.push('\n');
        }
        for worse in worse {
            let _ = writeln!(text, "- **Worse:** {}", cell(worse));
        }
        for section in sections(self) {
            let _ = write!(text, "\n### {}\n", cell(&section.heading));
            for note in &section.notes {
                let _ = write!(text, "\n{}\n", cell(note));
            }
            for table in &section.tables {
                text.push('\n');
                write_markdown(&mut text, table);
            }
        }
        text
    }

    /// The comparison as a page that needs no network.
    pub fn html(&self) -> String {
        let verdict = verdict(self);
        let body = html! {
            header {
                p.brand { "onehop compare" }
                h1.(of_outcome(self.outcome())) { (verdict) }
                @if !self.unjudged.is_empty() { ul { @for unjudged in &self.unjudged { li { "Not judged: " (unjudged) } } } }
                @let worse = self.worse_besides();
                @if !worse.is_empty() { ul { @for worse in worse { li { (worse) } } } }
            }
            main { @for section in sections(self) { (as_html(&section)) } }
        };
        page(&verdict, &html! {}, &body)
    }
}

fn write_markdown(text: &mut String, table: &Table) {
    let names = table.columns.iter().map(|column| column.name.to_owned());
    let rule = table.columns.iter().map(|_| "---".to_owned());
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().zip(&table.columns);
        let cells = cells.map(|(text, column)| match column.is_id {
            true => format!("`{text}`"),
            false => cell(text),
        });
        cells.collect::<Vec<_>>()
    });
    for row in [names.collect(), rule.collect()].into_iter().chain(rows) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
}

fn as_html(section: &Section) -> Markup {
    html! {
        section {
            h2 { (section.heading) }
            @for note in &section.notes { p { (note) } }
            @for (number, table) in section.tables.iter().enumerate() {
                // The first table needs no title of its own: the section has one.
                @if number > 0 { h3 { (table.caption) } }
                div.scroll tabindex="0" role="region" aria-label=(table.caption) {
                    table {
                        @if table.columns.iter().any(is_named) {
                            thead { tr { @for column in &table.columns { th scope="col" { (column.name) } } } }
                        }
                        tbody { @for row in &table.rows { (row_as_html(table, row)) } }
                    }
                }
            }
        }
    }
}

fn row_as_html(table: &Table, row: &[String]) -> Markup {
    let is_titled = table.columns.iter().any(is_named);
    html! {
        tr {
            @for (number, (text, column)) in row.iter().zip(&table.columns).enumerate() {
                @if number == 0 && !is_titled { th scope="row" { (text) } }
                @else if column.is_id { td.id { (text) } }
                @else { td { (text) } }
            }
        }
    }
}
