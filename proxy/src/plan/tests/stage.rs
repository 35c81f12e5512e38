//! A Service with every kind of address, on the node `here`, and what its plan means for a client.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::fuzzing::assert_sound;
use crate::model::{
    Endpoint, Family, Node, ObjectName, Policy, Protocol, Service, ServicePort, Slice, SlicePort,
};
use crate::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan, service};

pub(super) const HERE: Option<&str> = Some("here");
pub(super) const ELSEWHERE: Option<&str> = Some("elsewhere");

/// The fronts to which `externalTrafficPolicy` applies.
pub(super) const OUTSIDE: [FrontKind; 3] = [
    FrontKind::NodePort,
    FrontKind::ExternalIp,
    FrontKind::LoadBalancer,
];

/// The three conditions of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Ready,
    Unready,
    /// Terminating, and serving.
    Leaving,
    /// Terminating, and not serving.
    Gone,
}

/// An endpoint, as the last number of its address, its node and its state.
pub(super) type Row = (u8, Option<&'static str>, State);

pub(super) fn node() -> Node {
    Node {
        name: "here".into(),
        zone: Some("zone-1".into()),
        addresses: vec![ip("192.168.0.1"), ip("fd00:1::1")],
        own_ports: BTreeSet::from([10250]),
    }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A load balancer Service with one address of every kind, under policy Cluster.
pub(super) fn web() -> Service {
    Service {
        name: ObjectName {
            namespace: "default".into(),
            name: "web".into(),
        },
        cluster_ips: vec![ip("10.96.0.1")],
        external_ips: vec![ip("203.0.113.9")],
        vips: vec![ip("198.51.100.7")],
        source_ranges: Vec::new(),
        external_policy: Policy::Cluster,
        internal_policy: Policy::Cluster,
        affinity: None,
        health_check_node_port: None,
        ports: vec![port("http", Protocol::Tcp, 80, Some(30080))],
    }
}

/// The same, under these policies.
pub(super) fn web_under(internal: Policy, external: Policy) -> Service {
    Service {
        internal_policy: internal,
        external_policy: external,
        ..web()
    }
}

pub(super) fn port(
    name: &str,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port,
    }
}

pub(super) fn endpoint((last, node, state): Row) -> Endpoint {
    let (ready, serving, terminating) = match state {
        State::Ready => (true, true, false),
        State::Unready => (false, false, false),
        State::Leaving => (false, true, true),
        State::Gone => (false, false, true),
    };
    Endpoint {
        address: IpAddr::from([10, 0, 0, last]),
        node: node.map(Into::into),
        ready,
        serving,
        terminating,
        zones: BTreeSet::new(),
        nodes: BTreeSet::new(),
    }
}

/// The same endpoint with hints.
pub(super) fn hinted(row: Row, zones: &[&str], nodes: &[&str]) -> Endpoint {
    let set = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    Endpoint {
        zones: set(zones),
        nodes: set(nodes),
        ..endpoint(row)
    }
}

/// A slice of the Service, of port `http` at 8080.
pub(super) fn slice(endpoints: impl IntoIterator<Item = Endpoint>) -> Slice {
    let ports = vec![SlicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 8080,
    }];
    Slice {
        service: web().name,
        family: Family::V4,
        ports,
        endpoints: endpoints.into_iter().collect(),
    }
}

/// The plan of a Service with slices, which is sound.
pub(super) fn plan(of: &Service, slices: &[Slice]) -> ServicePlan {
    plan_on(&node(), of, slices)
}

/// The same, on another node.
pub(super) fn plan_on(node: &Node, of: &Service, slices: &[Slice]) -> ServicePlan {
    let plan = service(of, &slices.iter().collect::<Vec<_>>(), node);
    assert_sound(&plan, &of.name);
    plan
}

/// The plan of a Service with one slice of these endpoints.
pub(super) fn plan_of(of: &Service, rows: &[Row]) -> ServicePlan {
    plan(of, &[slice(rows.iter().copied().map(endpoint))])
}

/// The plan's only port.
pub(super) fn only_port(plan: &ServicePlan) -> &PortPlan {
    let [port] = &*plan.ports else {
        panic!("one port is expected: {plan:?}")
    };
    port
}

/// The last numbers of sockets' addresses.
pub(super) fn last(sockets: &[SocketAddr]) -> Vec<u8> {
    let last = |socket: &SocketAddr| match socket.ip() {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    sockets.iter().map(last).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Pod,
    Node,
    External,
}

pub(super) const CLIENTS: [Client; 3] = [Client::Pod, Client::Node, Client::External];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One of these, by the last numbers of their addresses.
    Kept(Vec<u8>),
    /// One of these, which sees the node's address as its client.
    Masqueraded(Vec<u8>),
    Dropped,
    Refused,
}

/// The fronts of a kind.
pub(super) fn fronts(port: &PortPlan, kind: FrontKind) -> Vec<Front> {
    port.fronts
        .iter()
        .filter(|front| front.kind == kind)
        .copied()
        .collect()
}

/// What becomes of a connection to the front of a kind, where pods can be told: the words of [`Handling`], as a
/// dataplane follows them.
pub(super) fn outcome(plan: &ServicePlan, kind: FrontKind, client: Client) -> Outcome {
    let port = only_port(plan);
    let [front] = *fronts(port, kind) else {
        panic!("one front of {kind:?} is expected: {plan:?}")
    };
    let (cluster, local) = (last(&port.cluster), last(&port.local));
    let is_pod = client == Client::Pod;
    let internal = |to| {
        if is_pod {
            Outcome::Kept(to)
        } else {
            Outcome::Masqueraded(to)
        }
    };
    match front.handling {
        Handling::InternalCluster => internal(cluster),
        Handling::InternalLocal => internal(local),
        Handling::ExternalCluster => Outcome::Masqueraded(cluster),
        Handling::ExternalLocal => match client {
            Client::Pod => Outcome::Kept(cluster),
            Client::Node => Outcome::Masqueraded(cluster),
            Client::External if local.is_empty() => Outcome::Dropped,
            Client::External => Outcome::Kept(local),
        },
        Handling::Drop => Outcome::Dropped,
        Handling::Reject => Outcome::Refused,
    }
}
