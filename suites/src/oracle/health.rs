//! What nodes say of a Service's health, and which of them a load balancer chooses for it.
//!
//! | policy | the load balancer asks | a node is healthy |
//! |---|---|---|
//! | external Local | the health check node port, by HTTP | where it has a ready endpoint of its own |
//! | external Cluster | the node port, by TCP | while anything serves anywhere |
//! | external Cluster, no TCP node port | the node's proxy, by HTTP | unless it is about to be removed |
//!
//! All healthy nodes have the same weight, except where the load balancer goes by what they announce on the health check
//! node port: that is their number of ready endpoints.

use std::collections::BTreeMap;

use onehop_harness::case::{BalancerCheck, BalancerMode, Policy, ServiceType};
use onehop_harness::world::World;

use super::{Situation, endpoints};

/// Whether `spec.healthCheckNodePort` is allocated: of type LoadBalancer, under external Local.
pub fn has_health_check_port(now: &Situation) -> bool {
    matches!(now.service.kind, ServiceType::LoadBalancer(_))
        && now.service.external == Policy::Local
}

/// What the health check node port of a node counts, as the Service looks [in a family](Situation::in_family): the ready endpoints on it. None where it must be closed.
///
/// # Panics
/// When the world does not have the node.
pub fn health_check(world: &World, now: &Situation, node: &str) -> Option<u32> {
    let node = world.node(node).expect("a node of the world");
    let ready = endpoints::ready_on(world, &now.backends, node);
    let open = has_health_check_port(now) && now.is_served();
    open.then(|| u32::try_from(ready).expect("a node has few pods"))
}

/// The nodes that a load balancer finds healthy, as the Service looks [in a family](Situation::in_family), each with its
/// weight, and how it does.
pub fn healthy_nodes(world: &World, now: &Situation) -> (BalancerCheck, BTreeMap<String, u32>) {
    let check = if has_health_check_port(now) {
        BalancerCheck::HealthCheckNodePort
    } else if now.service.is_balanced_by_proxy_health() {
        BalancerCheck::ProxyHealth
    } else {
        BalancerCheck::NodePort
    };
    let weighs = now.service.kind == ServiceType::LoadBalancer(BalancerMode::Weighted);
    let answers = now.is_served() && endpoints::any(&now.backends);
    let weight = |node: &str| match check {
        BalancerCheck::HealthCheckNodePort => {
            let ready = health_check(world, now, node).unwrap_or_default();
            if weighs { ready } else { ready.min(1) }
        }
        BalancerCheck::NodePort => u32::from(answers),
        BalancerCheck::ProxyHealth => u32::from(eligible(now, node)),
    };
    let weighed = world
        .nodes
        .iter()
        .map(|node| (node.name.clone(), weight(&node.name)));
    (check, weighed.filter(|(_, weight)| *weight > 0).collect())
}

/// Whether a node is eligible for new connections, which `/healthz` of its proxy says (KEP-3836): not when it is about to
/// be removed.
pub fn eligible(now: &Situation, node: &str) -> bool {
    !now.leaving.contains(&node)
}
