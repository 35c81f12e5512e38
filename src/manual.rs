//! What shells and manuals know of the command line, made from the arguments themselves.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use miette::{IntoDiagnostic, Result};

use crate::arguments::Arguments;
use crate::output;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut command = Arguments::command();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "onehop", &mut text);
    output::print(&String::from_utf8(text).into_diagnostic()?)
}

/// Prints the manual: that of the program, and then that of each command that is not hidden.
pub(crate) fn manual() -> Result<ExitCode> {
    output::print(&as_roff()?)
}

fn as_roff() -> Result<String> {
    let mut text = Vec::new();
    for command in shown(&whole()) {
        Man::new(command.clone())
            .render(&mut text)
            .into_diagnostic()?;
    }
    String::from_utf8(text).into_diagnostic()
}

/// The program with its commands, each named by its whole way, as it is typed.
fn whole() -> Command {
    let mut program = Arguments::command();
    program.build();
    program
}

/// A command, and below it all that are not hidden.
fn shown(command: &Command) -> Vec<&Command> {
    let own = command.get_subcommands();
    let own = own.filter(|one| !one.is_hide_set() && one.get_name() != "help");
    std::iter::once(command)
        .chain(own.flat_map(shown))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command that is not hidden, and every option of it.
    #[test]
    fn the_manual_has_every_command_and_every_option() {
        let manual = as_roff().expect("it can be written");
        let mut commands = 0;
        for command in shown(&whole()) {
            commands += 1;
            let name = command.get_display_name().unwrap_or(command.get_name());
            let header = format!(".TH {name} 1");
            assert!(manual.contains(&header), "no page of {name}");
            let page = manual.split(&header).nth(1).expect("a page");
            let page = page.split(".TH ").next().expect("its text");
            for option in command.get_arguments().filter(|one| !one.is_hide_set()) {
                if let Some(long) = option.get_long() {
                    // Dashes are escaped in roff.
                    let long = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(page.contains(&long), "{name}: no {long}");
                }
            }
        }
        assert!(commands > 20, "{commands} commands");
    }
}
