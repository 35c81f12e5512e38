//! What a command prints.

use std::io::{self, Write};
use std::process::ExitCode;

use miette::{IntoDiagnostic, Result};

/// Prints all of a command's output.
pub(crate) fn print(text: &str) -> Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.into_diagnostic().map(|()| ExitCode::SUCCESS),
    }
}
