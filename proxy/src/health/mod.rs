//! The health contracts: the health check ports of Services, and the proxy's own `/healthz` and `/livez`
//! (`behaviour.md`, 3).
//!
//! Both read one [`HealthState`], which the sync loop tells what it queued and what the kernel accepted.

mod addresses;
mod proxy;
mod service;
mod state;

pub use addresses::HealthAddresses;
pub use proxy::serve;
pub use service::{ListenFailure, ServiceHealth};
pub use state::{FamilyHealth, Health, HealthState, eligible};
