//! The log, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Begins to log what a filter lets through, such as `info,kube=debug`, unless the environment has another one in
/// `ONEHOP_LOG`. To be called once.
pub(crate) fn start(filter: &str) {
    let filter = EnvFilter::try_from_env("ONEHOP_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
}
