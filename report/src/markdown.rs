//! A summary in GitHub-flavoured Markdown: what one wants to see beside a proposed change.

use std::fmt::Write as _;

use onehop_harness::run::{CaseResult, Outcome, ProxyResults, Results, Summary, Verdict};

/// How many cases of a kind are listed. Where more fail, it is one thing that is wrong, and the report has them all.
const LISTED: usize = 25;

/// The results as Markdown.
pub fn markdown(results: &Results) -> String {
    let word = match results.outcome() {
        Outcome::Passed => "✅ Service traffic goes where it should",
        Outcome::Failed => "❌ Service traffic does not go where it should",
        Outcome::NotJudged => "⚠️ not everything could be judged",
    };
    let run = &results.run;
    let mut text = format!(
        "## {word}\n\n| proxy | version | passed | failed | known | skipped | errors |\n|---|---|---|---|---|---|---|\n"
    );
    for proxy in &results.results {
        text.push_str(&row(proxy));
    }
    let _ = write!(
        text,
        "\nonehop {}, provider {}, API {}, kernel {}, seed {}, {:.1} s\n",
        run.tool_version, run.provider, run.api, run.kernel, run.seed, run.seconds
    );
    for proxy in &results.results {
        text.push_str(&details(proxy));
    }
    text
}

fn row(results: &ProxyResults) -> String {
    let Summary {
        passed,
        failed,
        known,
        skipped,
        errors,
    } = results.summary;
    format!(
        "| {} | {} | {passed} | {failed} | {known} | {skipped} | {errors} |\n",
        cell(&results.proxy.name),
        cell(results.proxy.version.as_deref().unwrap_or("unknown")),
    )
}

/// What is not as it should be with one proxy. Nothing, where there is nothing.
fn details(results: &ProxyResults) -> String {
    let mut text = String::new();
    if let Some(error) = &results.error {
        let _ = write!(text, "\n**The run as a whole:** {}\n", cell(error));
    }
    for (title, verdict, folded) in [
        ("failed", Verdict::Fail, false),
        ("could not be judged", Verdict::Error, false),
        ("fail because of a known defect", Verdict::Known, true),
        ("were skipped", Verdict::Skip, true),
    ] {
        let cases = results.cases.iter();
        let cases: Vec<_> = cases.filter(|case| case.verdict == verdict).collect();
        if cases.is_empty() {
            continue;
        }
        let table = table(&cases);
        let title = format!("{} {title}", cases.len());
        text.push_str(&if folded {
            format!("\n<details><summary>{title}</summary>\n\n{table}\n</details>\n")
        } else {
            format!("\n#### {title}\n\n{table}")
        });
    }
    let differs = results.proxy.variations.iter();
    let differs = differs.filter(|(_, differs)| differs.is_another());
    for (name, differs) in differs {
        let _ = write!(text, "\n**{name}:** {}\n", cell(&differs.to_string()));
    }
    if text.is_empty() {
        return text;
    }
    format!("\n### {}\n{text}", cell(&results.proxy.name))
}

fn table(cases: &[&CaseResult]) -> String {
    let mut text = "| case | why |\n|---|---|\n".to_owned();
    for case in cases.iter().take(LISTED) {
        let reason = case.reason.as_deref().unwrap_or("no reason");
        let reason = match &case.finding {
            Some(finding) => format!("{finding}: {reason}"),
            None => reason.to_owned(),
        };
        let _ = writeln!(text, "| `{}` | {} |", case.id, cell(&reason));
    }
    let more = cases.len().saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(text, "| and {more} more | |");
    }
    text
}

/// A text in a cell of a table, where nothing of it means anything to Markdown or HTML.
pub(crate) fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => cell.push(' '),
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' => cell.extend(['\\', c]),
            _ => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn what_failed_is_open_and_what_is_no_news_is_folded() {
        let text = markdown(&sample());
        let position = |words: &str| {
            text.find(words)
                .unwrap_or_else(|| panic!("`{words}` is not in:\n{text}"))
        };
        assert!(text.starts_with("## ❌"));
        position("| mine | mine 1.2.3 | 1 | 1 | 1 | 1 | 1 |");
        position("**The run as a whole:** the proxy of vm1 has exited");
        let failed = position("#### 1 failed\n\n| case | why |\n|---|---|\n| `internal/fails` |");
        let known = position("<details><summary>1 fail because of a known defect</summary>");
        assert!(failed < known);
        position("docs/findings/one.md: pods 1-0-2: dropped");
        position("**localhost-node-port:** closed");
        assert!(!text.contains("external/passes"), "what passes is a number");
    }

    #[test]
    fn a_clean_run_is_a_table_and_nothing_else() {
        let mut results = sample();
        let proxy = &mut results.results[0];
        proxy.cases.truncate(1);
        proxy.error = None;
        proxy.proxy.variations.clear();
        proxy.summary = Summary::of(&proxy.cases);
        let text = markdown(&results);
        assert!(text.starts_with("## ✅"), "{text}");
        assert!(!text.contains("###"), "{text}");
    }

    #[test]
    fn no_text_breaks_out_of_its_cell() {
        assert_eq!(cell("a|b\n<c> `d`"), "a\\|b &lt;c&gt; \\`d\\`");
    }

    #[test]
    fn of_very_many_failures_there_are_the_first() {
        let mut results = sample();
        let proxy = &mut results.results[0];
        let failed = proxy.cases[3].clone();
        proxy.cases = vec![failed; LISTED + 3];
        assert!(markdown(&results).contains("| and 3 more | |"));
    }
}
