//! External programs that a run may need, built from Go modules into a cache.
//!
//! kube-proxy, the control plane (etcd, kube-apiserver, kubectl), kind, and all that its nodes need are published
//! as Go modules, so any release can be had with the `go` command alone: no container registry, no root. Everything
//! here is synchronous and starts no thread, because it runs before the lab enters its namespaces, and a process
//! with threads cannot enter a user namespace.
//!
//! - [`ToolRef`] names a tool and a version: `kube-proxy@v1.36.3`.
//! - [`locate`] finds an installed one, and otherwise says which command installs it.
//! - [`install`] builds one into the cache; [`list`] tells what is there.

mod build;
mod cache;
mod error;
mod go;
mod kind;
mod locate;
mod node;
mod progress;
mod reference;
#[cfg(test)]
pub(crate) mod testing;

pub use build::{Installation, install, install_in};
pub(crate) use cache::is_executable;
pub use cache::{Cache, Installed, list};
pub use error::ToolError;
pub use locate::{Located, Search, Source, find_in_path, locate, reported_version};
pub use progress::{Progress, Step};
pub use reference::{ParseToolError, Project, Tool, ToolRef, Version};
