//! What shells and manuals know of the command line, made from the arguments themselves.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use miette::{IntoDiagnostic, Result};

use crate::arguments::Arguments;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut command = Arguments::command();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "onehop", &mut text);
    print(&text)
}

/// Prints the manual: that of the program, and then that of each command that is not hidden.
pub(crate) fn manual() -> Result<ExitCode> {
    let mut program = Arguments::command();
    // Names the commands by their whole way, as they are typed.
    program.build();
    let commands = program.get_subcommands();
    let commands =
        commands.filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let mut text = Vec::new();
    for command in std::iter::once(&program).chain(commands) {
        Man::new(command.clone())
            .render(&mut text)
            .into_diagnostic()?;
    }
    print(&text)
}

fn print(text: &[u8]) -> Result<ExitCode> {
    match io::stdout().write_all(text) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.into_diagnostic().map(|()| ExitCode::SUCCESS),
    }
}
