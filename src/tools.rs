//! `onehop tools`.

use std::process::ExitCode;

use miette::{IntoDiagnostic, Result};
use onehop_harness::tools::{self, ToolRef};

use crate::arguments::ToolsCommand;
use crate::output::say;
use crate::preparation::show_progress;

pub(crate) fn tools(command: ToolsCommand) -> Result<ExitCode> {
    match command {
        ToolsCommand::List => list()?,
        ToolsCommand::Install { tools } => install(&tools)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> Result<()> {
    let installed = tools::list().into_diagnostic()?;
    if installed.is_empty() {
        say!("nothing is installed; onehop tools install kube-proxy@v1.36.3 installs one");
    }
    for tool in installed {
        let megabytes = tool.bytes / 1_000_000;
        say!("{}  {megabytes} MB  {}", tool.tool, tool.dir.display());
    }
    Ok(())
}

fn install(names: &[String]) -> Result<()> {
    // All names are read before the first build, so that a typing error costs no minutes.
    let tools: Vec<ToolRef> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .into_diagnostic()?;
    for tool in tools {
        let installation = tools::install(tool, &mut show_progress).into_diagnostic()?;
        let how = if installation.already {
            "was already installed in"
        } else {
            "is now in"
        };
        say!("{tool} {how} {}", installation.path.display());
    }
    Ok(())
}
