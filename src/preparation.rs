//! What a command needs before it enters the sandbox.

use std::path::Path;

use console::Term;
use miette::{IntoDiagnostic, Result};
use onehop_harness::lab::{ApiKind, ProxyUnderTest};
use onehop_harness::netns::{self, Sandbox};
use onehop_harness::prepare;
use onehop_harness::tools::Progress;

use crate::arguments::{Api, LabArguments};

/// Finds, or builds, each proxy under test.
pub(crate) fn proxies(specs: &[String], binary: Option<&Path>) -> Result<Vec<ProxyUnderTest>> {
    let prepare = |spec: &String| prepare::proxy(spec, binary, &mut show_progress);
    specs
        .iter()
        .map(prepare)
        .collect::<Result<_, _>>()
        .into_diagnostic()
}

/// Finds, or builds, the API.
pub(crate) fn api(arguments: &LabArguments) -> Result<ApiKind> {
    match arguments.api {
        Api::Embedded => Ok(ApiKind::Embedded),
        Api::Real => prepare::real_api(&mut show_progress).into_diagnostic(),
    }
}

/// Checks the programs that every lab needs, and enters the sandbox. From here on there are no
/// other namespaces to come back to, so everything else is prepared first.
pub(crate) fn enter(door: bool) -> Result<Sandbox> {
    prepare::programs().into_diagnostic()?;
    netns::enter(door).into_diagnostic()
}

/// Shows an installation's progress: on one line of a terminal, or as plain lines.
pub(crate) fn show_progress(progress: Progress) {
    let terminal = Term::stderr();
    if terminal.is_term() {
        // A terminal that cannot be written to is no reason to stop a build.
        let _ = terminal.clear_line();
        let _ = terminal.write_str(&progress.to_string());
        if matches!(progress, Progress::Finished(..)) {
            let _ = terminal.write_line("");
        }
    } else if progress.is_milestone() {
        eprintln!("{progress}");
    }
}
