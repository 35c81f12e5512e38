//! Agents: who acts on the hosts of a lab. One probes, listens and taps on every host that it
//! reaches; where that is not this process, another one does it on request.
//!
//! ```text
//!            ┌─ Here ── Agent ── namespaces of this process      (the embedded lab)
//! Lab ─ Site ┤
//!            └─ There ─ Remote ~~ stream ~~ session ── Agent     (a machine of a cluster)
//! ```
//! - A probe is one request, however many calls it makes.
//! - Everything that a session has opened, changed or started ends with its stream, so that nothing
//!   is left when the harness dies.
//! - An agent takes requests only of the version and with the token that it was started with.

mod client;
mod error;
mod frame;
mod kubeconfig;
mod local;
mod node;
mod outside;
mod pods;
mod serve;
mod session;
mod site;
mod wire;
mod workload;

pub use client::Remote;
pub use error::AgentError;
pub(crate) use kubeconfig::client_of;
pub use local::Agent;
pub use node::{NodeSettings, Route};
pub use outside::Outside;
pub use pods::pause;
pub use serve::{AgentOptions, serve};
pub use site::{Flows, Kept, Site, StrayCaller};
pub use workload::{
    BECOME_PATHS, CONTROL_PORT, READY_PATH, ServingPod, ServingPodError, serve_pod,
};

/// Which machine this is, since its last start: everything on it is stamped by one clock.
pub(crate) fn machine() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}
