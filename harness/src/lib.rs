//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod netns;
pub mod tap;
pub mod timing;
pub mod world;
