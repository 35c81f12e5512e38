//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod case;
pub mod netns;
pub mod probe;
pub mod timing;
pub mod verdict;
pub mod world;
