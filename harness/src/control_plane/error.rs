//! Why a control plane does not run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A control plane could not be started, or ended.
#[derive(Debug, Error)]
pub enum ControlPlaneError {
    /// A program cannot be started.
    #[error("cannot run {path}", path = path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process has ended by itself.
    #[error("{program} ended ({status}); its last lines:\n{said}")]
    Ended {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        said: String,
    },
    /// The API did not get ready in time.
    #[error("{url} is not ready: {answer}; the last lines of kube-apiserver:\n{said}")]
    NotReady {
        /// Its address.
        url: String,
        /// What came instead of 200.
        answer: String,
        /// The last lines of its log.
        said: String,
    },
    /// No key could be made.
    #[error("cannot make a key for service accounts")]
    Key(#[source] rcgen::Error),
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

impl ControlPlaneError {
    /// Attaches the action and the path to an I/O error.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> ControlPlaneError {
        let path = path.into();
        move |source| ControlPlaneError::Io {
            action,
            path,
            source,
        }
    }
}
