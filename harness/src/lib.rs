//! Worlds, providers, probes, journeys, the load balancer, and verdicts.

pub mod agent;
pub mod balancer;
pub mod bench;
pub mod case;
pub mod cluster;
pub mod control_plane;
mod descriptors;
pub mod error;
pub mod image;
pub mod kind;
pub mod lab;
pub mod netns;
pub mod prepare;
pub mod probe;
pub mod profile;
pub mod provided;
pub mod run;
pub mod stray;
pub mod survey;
pub mod tap;
pub mod timing;
pub mod tools;
pub mod verdict;
pub mod world;
