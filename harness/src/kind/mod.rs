//! The `kind` provider: a real cluster of Docker containers, made for the run.
//!
//! ```text
//!                                     ┌─ worker  (vm1) ── pods
//! clients ── router ── lb ── `kind` ──┼─ worker2 (vm2) ── pods      one network namespace each;
//! (namespaces of one container)       ├─ worker3 (vm3) ── pods      real kubelets and controllers
//!                                     └─ control plane
//! ```
//! Everything of a run is labelled with its cluster. A run that is killed leaves a file that says so,
//! and the next one of that cluster's name removes what it left.

mod cluster;
mod command;
mod config;
mod docker;
mod error;
mod outside;
mod start;

pub use cluster::Kind;
pub use config::{IpFamily, NetworkPlugin};
pub use docker::Docker;
pub use error::KindError;
pub use start::{Checked, KindLabError, KindOptions, check, start};
