//! What the API promises of one flow: the decision tables of Services, as pure functions.
//!
//! A case states what it expects by hand, so that it reads like a specification. Each such statement
//! is held against [`expect`], which knows the rules and no case. Neither knows how a proxy works:
//! the planner of the bundled one shares no code with this.
//!
//! | module | the question |
//! |---|---|
//! | `situation` | what does the API say of the Service, after these changes? |
//! | `endpoints` | which of its endpoints serve a node? |
//! | `flow` | who answers, from whose address, by which way? |
//! | `health` | what do health check ports say, and which nodes does a load balancer choose? |
//! | `established` | does a flow go on that began before? |
//!
//! The rules are those of `pkg/proxy/{topology,serviceport}.go` and `pkg/proxy/healthcheck` in
//! kubernetes/kubernetes, and of KEP-1669, 1860, 2086, 2433, 3015 and 3836.

mod endpoints;
mod established;
mod flow;
mod health;
mod situation;

#[cfg(test)]
mod tests;

pub use established::{goes_on, stays};
pub use flow::expect;
pub use health::{eligible, has_health_check_port, health_check, healthy_nodes};
pub use situation::Situation;
