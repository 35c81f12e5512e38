//! `onehop list` and `onehop show`.

mod markdown;
mod show;
mod text;
mod world;

use std::process::ExitCode;

use miette::{Result, miette};
use onehop_harness::case::{Case, Feature};
use onehop_suites as suites;
use onehop_suites::Subject;
use serde_json::json;

use crate::arguments::{ListArguments, ListFormat};
use crate::output;

pub(crate) use show::show;
pub(crate) use text::backends;

/// The schema of the catalogue as JSON.
const SCHEMA: &str = "onehop.catalogue/v1";

/// The cases that match these patterns and need this feature.
///
/// # Errors
/// When a pattern matches no case, when there is no such feature, or when no case needs it.
pub(crate) fn select(patterns: &[String], feature: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = suites::matching(patterns).map_err(|unmatched| {
        miette!(
            help = "onehop list names every case",
            "no case matches {}",
            unmatched.join(", ")
        )
    })?;
    if let Some(name) = feature {
        let Some(feature) = Feature::from_name(name) else {
            let known: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
            return Err(miette!(
                help = format!("one of {}", known.join(", ")),
                "no feature {name}"
            ));
        };
        cases.retain(|case| case.features.contains(&feature));
        if cases.is_empty() {
            return Err(miette!("no selected case needs {name}"));
        }
    }
    Ok(cases)
}

/// Prints the cases, by subject.
pub(crate) fn list(arguments: &ListArguments) -> Result<ExitCode> {
    let cases = select(&arguments.patterns, arguments.feature.as_deref())?;
    let text = match arguments.format {
        ListFormat::Text => as_text(&cases),
        ListFormat::Markdown => markdown::catalogue(&cases),
        ListFormat::Json => as_json(&cases),
    };
    output::print(&text)
}

fn as_json(cases: &[Case]) -> String {
    format!("{:#}\n", json!({ "schema": SCHEMA, "cases": cases }))
}

/// The subjects of these cases, each with its own, in the order of the catalogue.
fn by_subject(cases: &[Case]) -> impl Iterator<Item = (&'static Subject, Vec<&Case>)> {
    let subjects = Subject::ALL.iter().map(|subject| {
        let own = cases.iter().filter(|case| subject.has(case));
        (subject, own.collect::<Vec<_>>())
    });
    subjects.filter(|(_, own)| !own.is_empty())
}

fn as_text(cases: &[Case]) -> String {
    let each = by_subject(cases).map(|(subject, own)| {
        let cases = own.iter().map(|case| {
            format!(
                "  {}\n      {}\n      needs {}; by {}\n",
                case.id,
                case.claim,
                features(case),
                case.sources.join(", ")
            )
        });
        let cases: String = cases.collect();
        format!(
            "{} ({}): {}\n{cases}",
            subject.name,
            own.len(),
            subject.about
        )
    });
    each.collect::<Vec<_>>().join("\n")
}

fn features(case: &Case) -> String {
    let names: Vec<_> = case.features.iter().map(|feature| feature.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use onehop_report::source_link;

    #[test]
    fn every_source_of_the_catalogue_is_to_be_found_or_is_a_document() {
        for case in onehop_suites::catalogue() {
            for source in &case.sources {
                let is_document = source.starts_with("kubernetes.io/docs: ");
                assert!(
                    source_link(source).is_some() || is_document,
                    "{}: {source}",
                    case.id
                );
            }
        }
    }
}
