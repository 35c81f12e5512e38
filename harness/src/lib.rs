//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod control_plane;
pub mod profile;
pub mod tools;
