//! The log, on standard error.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

/// What is logged for so many `-v`. What onehop itself does counts: the libraries below it say much that nobody asked for.
pub(crate) fn filter(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "error",
        1 => "warn,onehop=info,onehop_harness=info,onehop_apiserver=info",
        _ => "info,onehop=debug,onehop_harness=debug,onehop_apiserver=debug",
    }
}

/// Begins to log what a filter lets through, such as `info,kube=debug`, unless the environment has another one in
/// `ONEHOP_LOG`. To be called once.
pub(crate) fn start(filter: &str) {
    let filter = EnvFilter::try_from_env("ONEHOP_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(console::colors_enabled_stderr())
        .init();
}
