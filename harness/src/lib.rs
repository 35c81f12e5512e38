//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod profile;
pub mod tools;
