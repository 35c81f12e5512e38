//! What can go wrong with a tool, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{Project, ToolRef, Version};

/// A tool could not be found, built or listed.
#[derive(Debug, Error)]
pub enum ToolError {
    /// There is nowhere to keep a cache.
    #[error("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the cache of tools")]
    NoCacheHome,
    /// Nothing of that name and version is on this machine.
    #[error("{tool} is not on this machine; install it with: onehop tools install {tool}{seen}")]
    NotInstalled {
        /// What was looked for.
        tool: ToolRef,
        /// Another version that was seen in PATH, as a phrase, or nothing.
        seen: String,
    },
    /// A program that was named explicitly is not there.
    #[error("{path} (from {origin}) is not an executable file", path = path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// The option or variable that named it.
        origin: &'static str,
    },
    /// A program does not tell its version.
    #[error("{path} --version {problem}", path = path.display())]
    NoVersion {
        /// The program.
        path: PathBuf,
        /// What happened instead.
        problem: String,
    },
    /// The `go` command is missing.
    #[error(
        "{tool} is built from Go modules, and the `go` command is not in PATH; \
         install Go (the package golang-go, or https://go.dev/dl), or put the program itself in PATH"
    )]
    NoGo {
        /// What was to be built.
        tool: ToolRef,
    },
    /// The `go` command is too old for this version of the tool.
    #[error(
        "{tool} needs Go {needed} or newer, and the `go` in PATH is {found}; see https://go.dev/dl"
    )]
    GoTooOld {
        /// What was to be built.
        tool: ToolRef,
        /// The oldest Go that can build it.
        needed: String,
        /// The Go that was found.
        found: String,
    },
    /// That version is not published as a Go module.
    #[error(
        "there is no {project} {version} among the published Go modules; go said:\n{said}",
        project = project.name()
    )]
    NoSuchVersion {
        /// Whose version.
        project: Project,
        /// The version.
        version: Version,
        /// The last lines of go.
        said: String,
    },
    /// A module could not be downloaded, for a reason that only go knows.
    #[error(
        "cannot download {project} {version} as a Go module (is it a released version?); go said:\n{said}",
        project = project.name()
    )]
    Download {
        /// Whose version.
        project: Project,
        /// The version.
        version: Version,
        /// The last lines of go.
        said: String,
    },
    /// The `go` command failed.
    #[error("`go {command}` failed ({status}); its last lines:\n{said}")]
    Go {
        /// Its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines that it printed.
        said: String,
    },
    /// The `go` command printed something else than documented.
    #[error("`go {command}` printed no JSON that is understood")]
    GoOutput {
        /// Its arguments.
        command: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A file or a process could not be handled.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ToolError {
    /// Attaches the action and the path to an I/O error.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> ToolError {
        let path = path.into();
        move |source| ToolError::Io {
            action,
            path,
            source,
        }
    }
}
