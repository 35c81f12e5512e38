//! What a command prints.

use std::fmt;
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

/// Prints a line of what goes on, whose work does not end when nobody reads any more.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// As `println`, and nothing happens where nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}
pub(crate) use say;
