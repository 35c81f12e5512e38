//! What a command needs before it enters the sandbox.

use console::Term;
use miette::{IntoDiagnostic, Result};
use onehop_harness::lab::{ApiKind, ProxyUnderTest};
use onehop_harness::netns::{self, Sandbox};
use onehop_harness::prepare;
use onehop_harness::tools::Progress;

use crate::arguments::{Api, LabArguments};

/// What a lab needs of this machine. Whoever has it is in the sandbox.
pub(crate) struct Prepared {
    pub(crate) proxies: Vec<ProxyUnderTest>,
    pub(crate) api: ApiKind,
    pub(crate) sandbox: Sandbox,
}

/// Checks what is quickly checked, then builds what is missing of the proxies and the API, then
/// enters the sandbox: from there on are no other namespaces to come back to.
pub(crate) fn prepare(specs: &[String], lab: &LabArguments, door: bool) -> Result<Prepared> {
    let binary = lab.proxy_binary.as_deref();
    let proxies = prepare::proxies(specs, binary, &mut show_progress).into_diagnostic()?;
    let api = match lab.api {
        Api::Embedded => ApiKind::Embedded,
        Api::Real => prepare::real_api(&mut show_progress).into_diagnostic()?,
    };
    Ok(Prepared {
        proxies,
        api,
        sandbox: netns::enter(door).into_diagnostic()?,
    })
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
