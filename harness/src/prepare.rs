//! What a run needs of this machine, found or built before the sandbox is entered: inside it
//! there is no way out to a module proxy.

use std::env;
use std::path::{Path, PathBuf};

use crate::lab::{ApiKind, ProxyUnderTest};
use crate::profile::{Profile, ProfileError};
use crate::tools::{self, Progress, Tool, ToolError, ToolRef, Version};

/// Something that a run needs is missing. The text says what, and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A profile, or its program.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A tool that could be neither found nor built.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A program that is not part of onehop.
    #[error("{program} is not in PATH; install it: the package {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// The package that has it, by the name that most distributions use.
        package: &'static str,
    },
}

/// Loads a profile and finds its program; builds it first if it is a tool that is not here yet.
///
/// # Errors
/// When there is no such profile, or its program can be neither found nor built.
pub fn proxy(
    spec: &str,
    binary: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<ProxyUnderTest, PrepareError> {
    let profile = Profile::load(spec)?;
    let program = match profile.find_program(binary) {
        Err(ProfileError::Tool(ToolError::NotInstalled { tool, .. })) => {
            tools::install(tool, progress)?;
            profile.find_program(binary)?
        }
        found => found?,
    };
    Ok(ProxyUnderTest { profile, program })
}

/// Finds a real control plane, and builds it first if there is none.
///
/// # Errors
/// When it can be neither found nor built.
pub fn real_api(progress: &mut dyn FnMut(Progress)) -> Result<ApiKind, PrepareError> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    let located = match tools::locate(tool, None) {
        Err(ToolError::NotInstalled { .. }) => {
            tools::install(tool, progress)?;
            tools::locate(tool, None)?
        }
        found => found?,
    };
    Ok(ApiKind::Real(located.path))
}

/// Checks that the programs are here that every lab runs: the load balancer's rules are written
/// with `nft`.
///
/// # Errors
/// When one is not in `PATH`.
pub fn programs() -> Result<(), PrepareError> {
    find("nft", "nftables").map(drop)
}

fn find(program: &'static str, package: &'static str) -> Result<PathBuf, PrepareError> {
    let path = env::var_os("PATH").unwrap_or_default();
    tools::find_in_path(program, &path).ok_or(PrepareError::Program { program, package })
}
