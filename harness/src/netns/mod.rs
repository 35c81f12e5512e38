//! The `netns` provider: a world in Linux network namespaces, without root.

pub mod attach;
mod link;
mod namespace;
mod network;
mod process;
mod sandbox;

pub use link::{Host, NetworkError};
pub use namespace::Namespace;
pub(crate) use network::RESET_IS_KNOWN;
pub use network::{API, FABRIC, Network, ROUTER};
pub use process::start_in;
pub(crate) use sandbox::threads;
pub use sandbox::{Sandbox, SandboxError, check, enter, enter_as_root};
