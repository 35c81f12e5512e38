//! The words that the cases share: the story of three nodes with one, no and two pods.

use onehop_harness::case::{
    Backend, BalancerMode, Entry, Expectation, Hops, Place, Port, Question, Reach, Service, Source,
    Target, Variation,
};
use onehop_harness::case::{external, node, pod};
use onehop_harness::world::{CLIENT_PRIVATE, CLIENT_PUBLIC, Protocol};

/// The nodes.
pub const NODES: [&str; 3] = ["vm1", "vm2", "vm3"];
/// The backends: `web-0` on vm1, none on vm2, `web-1` and `web-2` on vm3.
pub const STORY: [&str; 3] = ["web-0", "web-1", "web-2"];
/// Backends of another placement: five on vm1, `web-1` alone on vm3.
pub const FIVE_AND_ONE: [&str; 6] = ["web-0", "web-4", "web-5", "web-6", "web-7", "web-1"];
/// A pod on vm2, for when one moves there.
pub const ON_VM2: &str = "web-3";

/// The backends of the story on this node.
pub fn on(node: &str) -> &'static [&'static str] {
    match node {
        "vm1" => &STORY[..1],
        "vm3" => &STORY[1..],
        _ => &[],
    }
}

/// The outside client with a private address.
pub fn private() -> Place {
    external(CLIENT_PRIVATE)
}

/// The outside client with a public address.
pub fn public() -> Place {
    external(CLIENT_PUBLIC)
}

/// The client pod on this node.
pub fn client_on(node: &str) -> Place {
    pod(&format!("client-{node}"))
}

/// The node itself as a client.
pub fn host(name: &str) -> Place {
    node(name)
}

/// The node port on this node.
pub fn node_port(node: &str) -> Target {
    Target::NodePort(node.to_owned())
}

/// The external address that the network sends to this node.
pub fn external_ip(node: &str) -> Target {
    Target::ExternalIp(node.to_owned())
}

/// An address beside the node port, to which the same applies: who calls it from outside by a node, and as what, and what
/// calls it on a node.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// As a part of a case's id.
    pub name: &'static str,
    /// As a part of its claim.
    pub about: &'static str,
    /// A Service that has it.
    pub service: fn() -> Service,
    /// Who calls it from outside.
    pub outside: fn() -> Place,
    /// The address by which a caller outside enters at this node.
    pub by: fn(&str) -> Target,
    /// The address that is called on this node.
    pub inside: fn(&str) -> Target,
}

/// Both of them.
pub const ADDRESSES: [Address; 2] = [
    Address {
        name: "external-ip",
        about: "external addresses",
        service: || Service::cluster_ip().external_ips(),
        outside: private,
        by: external_ip,
        inside: external_ip,
    },
    Address {
        name: "load-balancer",
        about: "the load-balancer address",
        service: || Service::load_balancer(BalancerMode::Vip),
        outside: balancer,
        by: |node| Target::VipAt(node.to_owned()),
        inside: |_| Target::Vip,
    },
];

/// A named TCP port.
pub const fn tcp(name: &'static str, number: u16) -> Port {
    Port {
        name,
        number,
        protocol: Protocol::Tcp,
    }
}

/// A named UDP port.
pub const fn udp(name: &'static str, number: u16) -> Port {
    Port {
        name,
        number,
        protocol: Protocol::Udp,
    }
}

/// These pods, all ready.
pub fn ready(pods: &[&str]) -> Vec<Backend> {
    pods.iter().map(|pod| Backend::ready(pod)).collect()
}

/// The load balancer's own host: a client outside that can choose the node by which it enters.
pub fn balancer() -> Place {
    Place::LoadBalancer
}

/// Traffic from outside under Cluster: any of these pods, the source lost to the entry node, one
/// hop more to a pod elsewhere.
pub fn spread_by(node: &str, pods: &[&str]) -> Reach {
    Reach::pods(
        pods,
        Source::EntryNode,
        Hops::OneIfRemote,
        Entry::Node(node.to_owned()),
    )
}

/// Traffic that stays on its node: these pods, the source kept, no extra hop.
pub fn kept_on(node: &str, pods: &[&str]) -> Reach {
    Reach::pods(
        pods,
        Source::Preserved,
        Hops::Direct,
        Entry::Node(node.to_owned()),
    )
}

/// Traffic of a pod that its own node sends to any of these pods, the source kept. No hop is
/// extra: the direct way crosses the same node.
pub fn from_pod_on(node: &str, pods: &[&str]) -> Reach {
    kept_on(node, pods)
}

/// Traffic of a node's own processes, which have an address of the node in any case.
pub fn from_node(node: &str, pods: &[&str]) -> Reach {
    Reach::pods(
        pods,
        Source::EntryNode,
        Hops::Direct,
        Entry::Node(node.to_owned()),
    )
}

/// A flow that must be answered.
pub fn reaches(from: &Place, to: Target, reach: Reach) -> Question {
    from.calls(to, reach.into())
}

/// A flow that must be answered, or may be, in one of the ways in which implementations differ.
pub fn varies(from: &Place, to: Target, how: Variation, reach: &Reach) -> Question {
    from.calls(to, Expectation::varies(how, Some(reach)))
}

/// A flow that must be dropped.
pub fn dropped(from: &Place, to: Target) -> Question {
    from.calls(to, Expectation::Dropped)
}

/// A flow that must be refused.
pub fn refused(from: &Place, to: Target) -> Question {
    from.calls(to, Expectation::Refused)
}

/// What a pod on each node sees of the ClusterIP, of which these pods serve the node: none means a drop.
pub fn inside(pods: impl Fn(&str) -> &'static [&'static str]) -> [Question; 3] {
    NODES.map(|node| match pods(node) {
        [] => dropped(&client_on(node), Target::ClusterIp),
        pods => reaches(&client_on(node), Target::ClusterIp, from_pod_on(node, pods)),
    })
}
