//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod balancer;
pub mod netns;
pub mod timing;
pub mod world;
