//! The bundled Service proxy: the reference implementation of both traffic policies and of the
//! health contracts, and a drop-in for kube-proxy.
//!
//! ```text
//! watch ─► index ─► plan (pure) ─► dataplane (one netlink transaction) ─► health, conntrack, metrics
//! ```
//!
//! Nothing here is shared with what judges proxies: one checks the other.

pub mod clock;
pub mod config;
pub mod conntrack;
pub mod dataplane;
pub mod events;
pub mod fuzzing;
pub mod health;
pub mod host;
pub mod index;
pub mod metrics;
pub mod model;
pub mod objects;
pub mod plan;
pub mod run;
pub mod server;
pub mod watch;
