//! What can go wrong with a kind cluster. Each text says what to do.

use std::io;
use std::path::PathBuf;

use crate::agent::AgentError;
use crate::cluster::ClusterError;

/// A kind cluster that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// A program is not there.
    #[error("{program} is not in PATH; {help}")]
    Missing {
        /// The program.
        program: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// The engine does not answer.
    #[error(
        "no Docker engine answers: start it, or name it with DOCKER_HOST, and see that you may use \
         it; without one, kind-configs/offline/ has a way; docker said:\n{said}"
    )]
    NoEngine {
        /// What docker said.
        said: String,
    },
    /// A program cannot be run.
    #[error("failed to run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program did not do what it should.
    #[error("failed to {what}: {program} ended with {status} and said:\n{said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it should do.
        what: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        said: String,
    },
    /// This program cannot be made an image.
    #[error("failed to make an image of this program")]
    OwnImage(#[source] io::Error),
    /// There is a cluster of that name, and onehop has not made it.
    #[error(
        "there is a kind cluster named {name} already, and it is not onehop's: use it with \
         --cluster {name}, or remove it with: kind delete cluster --name {name}"
    )]
    Exists {
        /// The name.
        name: String,
    },
    /// An earlier run has kept the cluster.
    #[error(
        "the kind cluster {name} was kept by an earlier run: use it with --cluster {name}, or remove \
         it with: kind delete cluster --name {name}"
    )]
    Kept {
        /// The name.
        name: String,
    },
    /// Another run uses the cluster.
    #[error("another run of onehop has the kind cluster {name}; wait for it, or end it")]
    InUse {
        /// The name.
        name: String,
    },
    /// There is no cluster of the name that was given.
    #[error("there is no kind cluster named {name}; kind has {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The profile does not say how the proxy runs on kind.
    #[error(
        "the profile {profile} says nothing about kind: add `kind:` with `kubeProxyMode`, and with \
         `manifests` where that is none"
    )]
    NoProfile {
        /// The profile.
        profile: String,
    },
    /// Nothing takes the arguments that the proxy is to get.
    #[error(
        "no manifest of the profile {profile} has {{arguments}}, where the proxy's command would get `{arguments}`"
    )]
    NoArguments {
        /// The profile.
        profile: String,
        /// What the proxy was to get.
        arguments: String,
    },
    /// The cluster has another proxy.
    #[error("the kind cluster {name} runs {found}, and not {wanted}; name one that does, or none")]
    OtherProxy {
        /// The cluster.
        name: String,
        /// What it runs.
        found: String,
        /// What is to be judged.
        wanted: String,
    },
    /// A file of the profile or of the run.
    #[error("failed to {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no home for the cache.
    #[error("failed to find a place for the file of the cluster: {0}")]
    Home(String),
    /// The container outside of the cluster.
    #[error("failed to run the container of clients, router and load balancer")]
    Outside(#[source] Box<testcontainers::TestcontainersError>),
    /// What is the same on every cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl KindError {
    /// A program that is not there, and how to get it.
    pub(super) fn missing(program: &'static str) -> Self {
        let help = match program {
            "docker" => {
                "install a Docker engine and its command line, see kind-configs/offline/ for one without registry"
            }
            _ => "install it: onehop tools install kind",
        };
        Self::Missing { program, help }
    }
}

impl From<AgentError> for KindError {
    fn from(error: AgentError) -> Self {
        Self::Cluster(error.into())
    }
}
