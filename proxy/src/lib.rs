//! The bundled Service proxy: the reference implementation of both traffic policies and of the
//! health contracts, and a drop-in for kube-proxy.
//!
//! ```text
//! watch ─► index ─► plan (pure) ─► dataplane (one netlink transaction) ─► health, conntrack, metrics
//! ```
//!
//! Nothing here is shared with what judges proxies: one checks the other.

pub mod fuzzing;
pub mod index;
pub mod model;
pub mod objects;
pub mod plan;
