//! What others read of a run: CI systems, whoever looks at a proposed change, and users of a proxy.
//!
//! Pure: results in, text out. Everything here is made from [`Results`] alone, so that it can be made again from a
//! `results.json`.

mod compare;
mod conformance;
mod explain;
mod html;
mod journey;
mod junit;
mod markdown;
mod source;

use onehop_harness::run::Results;

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

/// A file that is made from results, and what makes it.
pub type File = (&'static str, fn(&Results) -> String);

/// Every file, by its name in the directory of the results.
pub const FILES: [File; 4] = [
    ("report.html", html),
    ("junit.xml", junit),
    ("conformance.yaml", conformance),
    ("summary.md", markdown),
];

#[cfg(test)]
mod sample;
