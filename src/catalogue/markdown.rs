//! The catalogue as a page of Markdown: `docs/catalogue.md`.

use onehop_harness::case::Case;
use onehop_report::source_link;

use super::{by_subject, features};

/// A chapter for each subject, and a row for each case.
pub(super) fn catalogue(cases: &[Case]) -> String {
    let subjects: Vec<_> = by_subject(cases).collect();
    let contents = subjects.iter().map(|(subject, own)| {
        let name = subject.name;
        format!("- [{name}](#{name}), {}: {}\n", own.len(), subject.about)
    });
    let chapters = subjects.iter().map(|(subject, own)| {
        let rows = own.iter().map(|case| row(case));
        format!(
            "\n## {}\n\n{}\n\n| case | claim | needs | sources |\n|---|---|---|---|\n{}",
            subject.name,
            subject.about,
            rows.collect::<String>()
        )
    });
    format!(
        "# The catalogue\n\n\
         {} cases, in IPv4 and in IPv6 where both have what they are about. This page is what `onehop list --format markdown` \
         prints; `onehop show CASE` draws a case's world and has every expectation.\n\n{}{}",
        cases.len(),
        contents.collect::<String>(),
        chapters.collect::<String>()
    )
}

fn row(case: &Case) -> String {
    let sources = case.sources.iter().map(|name| match source_link(name) {
        Some(link) => format!("[{}]({link})", short(name)),
        None => (*name).to_owned(),
    });
    let sources: Vec<_> = sources.collect();
    format!(
        "| `{}` | {} | {} | {} |\n",
        case.id,
        case.claim,
        features(case),
        sources.join(", ")
    )
}

/// Of a file, its name is enough to be told by.
fn short(source: &str) -> &str {
    match source.strip_prefix("kubernetes/") {
        Some(path) => path.rsplit('/').next().unwrap_or(path),
        None => source,
    }
}
