//! What others read of a run: CI systems, whoever looks at a proposed change, and users of a proxy.
//!
//! Pure: results in, text out. Everything here is made from [`Results`], and what explains a failure from its evidence, so that it
//! can be made again from the directory of a run.

mod compare;
mod conformance;
mod explain;
mod html;
mod journey;
mod junit;
mod markdown;
mod source;

use onehop_harness::run::{CaseResult, Results};
use onehop_harness::verdict::FlowResult;

pub use compare::{
    BenchPair, Change, Comparison, Difference, FALSE_ALARM, Loss, MeasurePair, Moved, Pair, Ratio,
    SELDOM, compare, compare_turns,
};
pub use conformance::conformance;
pub use explain::{Explanation, Tracked, Way, WrongRow, explain};
pub use html::html;
pub use journey::journey_svg;
pub use junit::{junit, wrong};
pub use markdown::markdown;
pub use source::source_link;

/// Reads a file of a case's evidence by its name, such as `vm1.conntrack`, if it is there.
pub type Evidence<'a> = &'a dyn Fn(&CaseResult, &str) -> Option<String>;

/// The family that a row is about, for the end of what is said of it.
fn of_family(row: &FlowResult) -> String {
    let family = row.family;
    family.map_or_else(String::new, |family| format!(", {family}"))
}

/// A file that is made from results and their evidence, and what makes it.
pub type File = (&'static str, fn(&Results, Evidence<'_>) -> String);

/// Every file, by its name in the directory of the results.
pub const FILES: [File; 4] = [
    ("report.html", html),
    ("junit.xml", |results, _| junit(results)),
    ("conformance.yaml", |results, _| conformance(results)),
    ("summary.md", |results, _| markdown(results)),
];

#[cfg(test)]
mod sample;
