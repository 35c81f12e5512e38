//! Proves where Kubernetes Service traffic goes.
//!
//! onehop judges Service proxies by what becomes of real packets under `externalTrafficPolicy` and `internalTrafficPolicy`.
//! Mostly it is run as a program; as a library it makes the same cases tests of a project of its own, one `cargo test` for each:
//!
//! ```no_run
#![doc = include_str!("../examples/conformance.rs")]
//! ```
//!
//! What it is made of is here as well: [`harness`] (worlds, labs, probes, journeys, verdicts), [`suites`] (the cases, and the
//! oracle that they are held against) and [`report`] (what people and CI systems read of results).

pub mod files;
mod suite;

pub use onehop_harness as harness;
pub use onehop_report as report;
pub use onehop_suites as suites;

pub use suite::Suite;
