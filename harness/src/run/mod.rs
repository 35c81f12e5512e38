//! Running cases in a lab, and the results.

mod ask;
mod evidence;
mod results;
mod runner;

pub use evidence::capture;
pub use results::{CaseResult, ProxyInfo, ProxyResults, Results, RunInfo, SCHEMA, Summary, Verdict};
pub use runner::{CaseRun, Sabotage, skipped};
