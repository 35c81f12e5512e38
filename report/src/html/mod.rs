//! The report for people: one HTML file that needs no network.

mod case;
mod matrix;
mod shares;
mod world;

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use onehop_harness::run::{CaseResult, Outcome, ProxyResults, Results, Verdict};

use self::matrix::class;
use crate::{Evidence, journey};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// How many cases that are news are unfolded, and have a way drawn: reading and laying out hundreds takes a browser seconds.
const UNFOLDED: usize = 20;

/// The whole report.
pub fn html(results: &Results, evidence: Evidence<'_>) -> String {
    let outcome = results.outcome();
    let word = match outcome {
        Outcome::Passed => "Everything is as expected",
        Outcome::Failed => "Something is not as expected",
        Outcome::NotJudged => "Not everything could be judged",
    };
    let head = html! {
        meta name="generator" content=(format!("onehop {}", results.run.tool_version));
        style { (PreEscaped(journey::RULES)) }
    };
    let mut unfolded = UNFOLDED;
    let body = html! {
        a.skip href="#cases" { "to the cases" }
        header {
            p.brand { "onehop" }
            h1.(of_outcome(outcome)) { (word) }
            (summaries(results))
            (run(results))
        }
        main {
            (filter())
            @for (number, proxy) in results.results.iter().enumerate() {
                (proxy_section(proxy, number, evidence, &mut unfolded))
            }
            p.none hidden { "No case matches." }
        }
        script { (PreEscaped(SCRIPT)) }
    };
    page(word, &head, &body)
}

/// The class of a heading that says what all of it comes to.
pub(crate) fn of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "pass",
        Outcome::Failed => "fail",
        Outcome::NotJudged => "error",
    }
}

/// A page that needs no network, with what is its own of head and body.
pub(crate) fn page(title: &str, head: &Markup, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // A browser would ask a server for a picture of its own otherwise.
                link rel="icon" href="data:,";
                title { "onehop: " (title.to_lowercase()) }
                style { (PreEscaped(STYLE)) }
                (head)
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// How many cases of each proxy ended in which way.
fn summaries(results: &Results) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="summary" {
            table.summary {
                thead { tr { th scope="col" { "proxy" } th scope="col" { "version" }
                    @for verdict in VERDICTS { th scope="col" { (mark(verdict).0) " " (plural(verdict)) } } } }
                tbody {
                    @for (number, proxy) in results.results.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#proxy-{number}")) { (proxy.proxy.name) } }
                            td { (proxy.proxy.version.as_deref().unwrap_or("unknown")) }
                            @for verdict in VERDICTS {
                                @let count = count(proxy, verdict);
                                td.number { span.(if count > 0 { class(verdict) } else { "dim" }) { (count) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn run(results: &Results) -> Markup {
    let run = &results.run;
    html! {
        dl.run {
            @for (name, value) in [
                ("started", to_the_second(&run.started)),
                ("took", format!("{:.1} s", run.seconds)),
                ("provider", run.provider.clone()),
                ("Kubernetes API", run.api.clone()),
                ("kernel", run.kernel.clone()),
                ("seed", run.seed.to_string()),
                ("onehop", run.tool_version.clone()),
            ] {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn filter() -> Markup {
    html! {
        form.filter role="search" hidden {
            label { "Find " input type="search" name="text" placeholder="case, claim or source"; }
            fieldset {
                legend { "Show" }
                @for verdict in VERDICTS {
                    label.(class(verdict)) { input type="checkbox" name="verdict" value=(class(verdict)) checked; " " (mark(verdict).0) " " (plural(verdict)) }
                }
            }
            button type="button" name="open" { "Unfold all" }
        }
    }
}

/// What became of one proxy. So many of its cases may be unfolded.
fn proxy_section(
    results: &ProxyResults,
    number: usize,
    evidence: Evidence<'_>,
    unfolded: &mut usize,
) -> Markup {
    let prefix = format!("p{number}-");
    html! {
        section.proxy id=(format!("proxy-{number}")) {
            h2 {
                (results.proxy.name)
                @if let Some(mode) = &results.proxy.mode { " " span.dim { (mode) } }
            }
            @if let Some(error) = &results.error { p.reason { strong { "The run as a whole: " } (error) } }
            (matrix::matrix(results, &prefix))
            (variations(results))
            h3 id=[(number == 0).then_some("cases")] { "Cases" }
            @for (subject, cases) in by_subject(&results.cases) {
                section.subject {
                    h4 { (subject) " " span.dim { (cases.len()) } }
                    @for one in cases {
                        @let open = may_unfold(one, unfolded);
                        (case::case(one, results.world.as_ref(), &prefix, evidence, open))
                    }
                }
            }
        }
    }
}

/// Whether a case is news, and one of the first.
fn may_unfold(case: &CaseResult, left: &mut usize) -> bool {
    let is_news = matches!(case.verdict, Verdict::Fail | Verdict::Error) && *left > 0;
    *left -= usize::from(is_news);
    is_news
}

/// What the proxy does where implementations differ and none is wrong.
fn variations(results: &ProxyResults) -> Markup {
    let variations = &results.proxy.variations;
    html! {
        @if !variations.is_empty() {
            details.variations {
                summary { "What it does where implementations differ" }
                table {
                    tbody { @for (name, differs) in variations { tr { th scope="row" { (name) } td { (differs.to_string()) } } } }
                }
            }
        }
    }
}

/// The cases by the first part of their ids, in the order of the catalogue.
fn by_subject(cases: &[CaseResult]) -> Vec<(&str, Vec<&CaseResult>)> {
    let mut places = BTreeMap::new();
    let mut subjects: Vec<(&str, Vec<&CaseResult>)> = Vec::new();
    for case in cases {
        let subject = case.id.split('/').next().unwrap_or_default();
        let place = *places.entry(subject).or_insert_with(|| {
            subjects.push((subject, Vec::new()));
            subjects.len() - 1
        });
        subjects[place].1.push(case);
    }
    subjects
}

/// The verdicts in the order of their news.
const VERDICTS: [Verdict; 5] = [
    Verdict::Fail,
    Verdict::Error,
    Verdict::Known,
    Verdict::Pass,
    Verdict::Skip,
];

/// A sign and a word for a verdict: no colour is needed to tell them apart.
fn mark(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("✔", "pass"),
        Verdict::Fail => ("✘", "fail"),
        Verdict::Known => ("◐", "known"),
        Verdict::Skip => ("–", "skipped"),
        Verdict::Error => ("⚠", "error"),
    }
}

fn plural(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Known => "known",
        Verdict::Skip => "skipped",
        Verdict::Error => "errors",
    }
}

fn count(results: &ProxyResults, verdict: Verdict) -> usize {
    match verdict {
        Verdict::Pass => results.summary.passed,
        Verdict::Fail => results.summary.failed,
        Verdict::Known => results.summary.known,
        Verdict::Skip => results.summary.skipped,
        Verdict::Error => results.summary.errors,
    }
}

/// A time of RFC 3339 without the parts of a second.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, rest)) => format!(
            "{seconds}{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => time.to_owned(),
    }
}

/// What links to a case point to.
fn anchor(prefix: &str, id: &str) -> String {
    format!("{prefix}{}", id.replace('/', "-"))
}

#[cfg(test)]
mod tests;
