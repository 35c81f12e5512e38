//! One case: what it claims, the world, every flow, journeys, shares, and what it waited for.

use std::collections::BTreeSet;
use std::path::Path;

use maud::{Markup, html};
use onehop_harness::run::{CaseResult, Verdict, WorldInfo};
use onehop_harness::verdict::FlowResult;

use super::matrix::class;
use super::{anchor, mark, shares, world};
use crate::explain::{Tracked, WrongRow, explain, of_rules};
use crate::{Evidence, journey, of_family, source_link};

/// A case, folded unless it is to be open.
pub(super) fn case(
    case: &CaseResult,
    surroundings: Option<&WorldInfo>,
    prefix: &str,
    evidence: Evidence<'_>,
    open: bool,
) -> Markup {
    html! {
        details.case.(class(case.verdict)) data-verdict=(class(case.verdict)) data-text=(searched(case)) open[open] {
            summary {
                span.verdict.(class(case.verdict)) { (mark(case.verdict).0) " " (mark(case.verdict).1) }
                " " span.id { (case.id) }
                span.seconds { (seconds(case.seconds)) }
            }
            div.body id=(anchor(prefix, &case.id)) tabindex="-1" {
                p.claim { (case.claim) }
                @if let Some(reason) = &case.reason { p.reason { (reason) } }
                @if let Some(finding) = &case.finding {
                    p { (if case.verdict == Verdict::Pass { "Known, and not shown this time: " } else { "Known: " }) code { (finding) } }
                }
                (sources(case))
                @if let Some(surroundings) = surroundings {
                    div.worlds {
                        @for situation in &case.situations { (world::drawing(surroundings, case, situation)) }
                    }
                }
                @if !case.flows.is_empty() { (flows(case, prefix)) }
                @for row in &case.flows { (shares::bars(row)) }
                (journeys(case, prefix, open))
                (waited(case))
                (evidence_of(case, evidence))
            }
        }
    }
}

/// What was kept of a case that is not as expected: of each row who did what, who tracked it, and which rules it met; and where the
/// rest is.
fn evidence_of(case: &CaseResult, evidence: Evidence<'_>) -> Markup {
    let explanation = explain(case, evidence);
    // Rows of both families may have one example.
    let mut shown = BTreeSet::new();
    html! {
        @if !explanation.rows.is_empty() || case.evidence.is_some() {
            details.evidence {
                summary { "Evidence" }
                @for WrongRow { row, ways, rules, .. } in &explanation.rows {
                    @let family = of_family(row);
                    p.claim { (row.check) ": " (row.from) " to " (row.to) (family) }
                    ul { @for way in ways { li { (way.sample.outcome) ": " (way.conclusion) } } }
                    @for Tracked { node, entries } in ways.iter().filter(|way| shown.insert(way.number)).flat_map(|way| &way.tracked) {
                        div.scroll tabindex="0" role="region" aria-label=(format!("what {node} tracked")) {
                            pre { @for entry in entries { (node) " tracked: " (entry) "\n" } }
                        }
                    }
                    @for ruled in rules {
                        div.scroll tabindex="0" role="region" aria-label="rules that such a call met" { pre { (of_rules(ruled).trim_start()) } }
                    }
                }
                @if let (Some(kept), Some(beside)) = (&case.evidence, case.evidence_below()) {
                    p { "All rules, connections and logs: " a href=(link(&beside)) { code { (kept.display()) } } }
                }
            }
        }
    }
}

/// A link to a directory below the report.
fn link(directory: &Path) -> String {
    let encoded = directory.iter().map(|part| {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
        let one = |byte: u8| match harmless(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        part.as_encoded_bytes()
            .iter()
            .copied()
            .map(one)
            .collect::<String>()
    });
    // Without the dot, a first part with a colon would be a scheme.
    format!("./{}/", encoded.collect::<Vec<_>>().join("/"))
}

/// What a reader may look for.
fn searched(case: &CaseResult) -> String {
    let sources = case.sources.join(" ");
    format!("{} {} {sources}", case.id, case.claim).to_lowercase()
}

fn sources(case: &CaseResult) -> Markup {
    html! {
        ul.sources aria-label="sources" {
            @for name in &case.sources {
                li {
                    @match source_link(name) {
                        Some(link) => a href=(link) rel="noreferrer" { (name) },
                        None => (name),
                    }
                }
            }
            @for feature in &case.features { li.feature { (feature) } }
        }
    }
}

fn flows(case: &CaseResult, prefix: &str) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="flows" {
            table.flows {
                thead { tr { th scope="col" { "" } th scope="col" { "check" } th scope="col" { "from" } th scope="col" { "to" }
                    th scope="col" { "family" } th scope="col" { "n" } th scope="col" { "expected" } th scope="col" { "got" } th scope="col" { "way" } } }
                tbody {
                    @for row in &case.flows {
                        tr.fail[!row.passed()] {
                            td { @if row.passed() { span.pass title="as expected" { "✔" } } @else { span.fail title="not as expected" { "✘" } } }
                            td { (row.check) }
                            td.short { (row.from) }
                            td { (row.to) }
                            td.short { @if let Some(family) = row.family { (row.protocol) " " (family) } }
                            td.number { (row.count) }
                            td { (row.expected) }
                            td {
                                (row.got)
                                @if !row.wrong.is_empty() { ul.wrong { @for text in &row.wrong { li { (text) } } } }
                            }
                            td { @for place in row.journeys.iter().filter(|place| **place < case.journeys.len()) { a href=(format!("#{}", way(prefix, case, *place))) { (place + 1) } " " } }
                        }
                    }
                }
            }
        }
    }
}

fn way(prefix: &str, case: &CaseResult, place: usize) -> String {
    format!("{}-way-{}", anchor(prefix, &case.id), place + 1)
}

/// The journeys of a case, what failed first. Of a case that is open, the first way that failed is unfolded.
fn journeys(case: &CaseResult, prefix: &str, open: bool) -> Markup {
    let of = |place: usize| {
        case.flows
            .iter()
            .filter(move |row| row.journeys.contains(&place))
    };
    let fails = |place: usize| of(place).any(|row| !row.passed());
    let mut places: Vec<_> = (0..case.journeys.len()).collect();
    places.sort_by_key(|place| !fails(*place));
    html! {
        @for (number, place) in places.into_iter().enumerate() {
            @let sample = &case.journeys[place];
            @let unfolded = open && number == 0 && fails(place);
            details.way open[unfolded] id=(way(prefix, case, place)) {
                summary {
                    span.(if fails(place) { "fail" } else { "pass" }) { (if fails(place) { "✘ " } else { "✔ " }) }
                    "Way " (place + 1) ": " (title(of(place).next(), sample.outcome.as_str()))
                }
                div.scroll tabindex="0" role="region" aria-label=(format!("way {}", place + 1)) {
                    // A run has thousands of drawings. What is folded is text to a browser with scripts, and drawn when it is
                    // unfolded; to one without, it is there.
                    @match (journey::draw(sample, false), unfolded) {
                        (Some(drawing), true) => (drawing),
                        (Some(drawing), false) => noscript { (drawing) },
                        (None, _) => p { (sample.to_string()) },
                    }
                }
            }
        }
    }
}

fn title(row: Option<&FlowResult>, outcome: &str) -> String {
    match row {
        Some(row) => format!("{} to {}, {outcome}", row.from, row.to),
        None => outcome.to_owned(),
    }
}

fn waited(case: &CaseResult) -> Markup {
    let all: f64 = case.waited_for.values().sum();
    let parts = case.waited_for.iter().filter(|(_, time)| **time > 0.0005);
    html! {
        @if all > 0.0 {
            p.waited {
                "Took " (seconds(all)) ": "
                @for (number, (what, time)) in parts.enumerate() {
                    @if number > 0 { ", " } (what) " " (seconds(*time))
                }
                "."
            }
        }
    }
}

/// A time, for people.
pub(super) fn seconds(time: f64) -> String {
    if time >= 1.0 {
        format!("{time:.1} s")
    } else {
        format!("{:.0} ms", time * 1000.0)
    }
}
