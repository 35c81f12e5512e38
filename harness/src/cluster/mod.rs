//! Clusters that are there already, which a kubeconfig leads to.

mod context;

pub use context::{ContextError, client, contexts};
