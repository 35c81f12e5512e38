//! What ends a bench before it has measured everything.

use std::io;
use std::time::Duration;

use onehop_apiserver::Refusal;

use crate::lab::{ApiError, DirectoryError, ProxyError, UnexpectedExit};
use crate::netns::NetworkError;

/// Something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The directory of a lab.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The proxy could not be started.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// An object, over HTTP.
    #[error("failed to {what} through the API")]
    Object {
        /// What was tried.
        what: String,
        /// What the API answered.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object, without HTTP.
    #[error("failed to write {name} to the API")]
    Refused {
        /// Its name.
        name: String,
        /// What the API answered.
        #[source]
        source: Refusal,
    },
    /// The kernel gave a prober or an endpoint no socket.
    #[error("failed to {what} of the bench")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The proxy exited. In a bench nothing makes it.
    #[error("{proxy} exited {} times, last with {}; its last lines:\n{}", .exit.exits, .exit.status, .exit.said)]
    Exited {
        /// The proxy.
        proxy: String,
        /// How.
        exit: Box<UnexpectedExit>,
    },
    /// What was waited for did not come.
    #[error(
        "{proxy} did not serve {what} right within {} s, of the last connection {last}; \
         --patience-seconds has it wait longer",
        .after.as_secs()
    )]
    Unsettled {
        /// The proxy.
        proxy: String,
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What became of the last connection.
        last: String,
    },
    /// A connection failed while nothing changed.
    #[error("a connection through {proxy} failed while nothing changed: {source}")]
    Failed {
        /// The proxy.
        proxy: String,
        /// How.
        source: io::Error,
    },
}

impl BenchError {
    /// For `map_err` on requests over HTTP.
    pub(super) fn object(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Object {
            what,
            source: Box::new(source),
        }
    }

    /// For `map_err` on sockets.
    pub(super) fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { what, source }
    }
}
