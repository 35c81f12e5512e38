//! What is asked of a Service.

use onehop_harness::case::{Place, ServiceType, Target, external, node, pod};
use onehop_harness::world::{CLIENT_PRIVATE, CLIENT_PUBLIC, Family, Protocol, World};

use crate::draw::Drawn;

/// One flow to one port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    /// Who calls.
    pub(crate) from: Place,
    /// What it calls.
    pub(crate) to: Target,
    /// The name of the port.
    pub(crate) port: &'static str,
    /// By which family.
    pub(crate) family: Family,
    /// The protocol of the port.
    pub(crate) protocol: Protocol,
}

impl Flow {
    /// The node by which the load balancer's host is to send it.
    pub(crate) fn by(&self) -> Option<&str> {
        match &self.to {
            Target::VipAt(node) => Some(node),
            _ => None,
        }
    }
}

/// Every flow that is asked of a Service: from outside by each node, from a pod and from the node
/// itself on each node, and from its backends to themselves. Its ports take turns.
pub(crate) fn of(drawn: &Drawn, world: &World) -> Vec<Flow> {
    // A twin is asked the same, by the same clients.
    let number = drawn.twin.unwrap_or(drawn.number);
    let ways = ways(drawn, number, world);
    let ports = drawn.spec.ports;
    let turn = |(position, (from, to)): (usize, (Place, Target))| {
        let port = ports[(number + position) % ports.len()];
        Family::ALL.map(|family| Flow {
            from: from.clone(),
            to: to.clone(),
            port: port.name,
            family,
            protocol: port.protocol,
        })
    };
    ways.into_iter().enumerate().flat_map(turn).collect()
}

fn ways(drawn: &Drawn, number: usize, world: &World) -> Vec<(Place, Target)> {
    if drawn.spec.kind == ServiceType::Headless {
        return Vec::new();
    }
    let names: Vec<_> = world.nodes.iter().map(|node| node.name.clone()).collect();
    let node_ports: Vec<_> = names.iter().cloned().map(Target::NodePort).collect();
    let balanced = matches!(drawn.spec.kind, ServiceType::LoadBalancer(_));
    let has_node_ports =
        drawn.spec.allocate_node_ports && (balanced || drawn.spec.kind == ServiceType::NodePort);
    let mut inside = vec![Target::ClusterIp, Target::ClusterIpWrongPort];
    let mut outside = Vec::new();
    if has_node_ports {
        inside.extend(node_ports.clone());
        outside.extend(node_ports);
    }
    if drawn.spec.external_ips {
        // Every node serves every external address, wherever the network would send it.
        inside.push(Target::ExternalIp(names[number % names.len()].clone()));
        outside.extend(names.iter().cloned().map(Target::ExternalIp));
    }
    let mut ways = Vec::new();
    let client = [CLIENT_PRIVATE, CLIENT_PUBLIC][number % 2];
    ways.extend(outside.into_iter().map(|to| (external(client), to)));
    if balanced {
        inside.push(Target::Vip);
        let by = names.iter().cloned().map(Target::VipAt);
        ways.extend(by.map(|to| (Place::LoadBalancer, to)));
    }
    for name in &names {
        for to in &inside {
            ways.push((pod(&format!("client-{name}")), to.clone()));
            ways.push((node(name), to.clone()));
        }
    }
    // A pod that calls what leads to itself, one for each Service.
    if let Some(backend) = drawn.backends.first() {
        ways.extend(inside.into_iter().map(|to| (pod(&backend.pod), to)));
    }
    ways
}
