//! What the rules of a fault are about: a case's Service in one family, in the words of rules.

use std::net::{IpAddr, SocketAddr};

use onehop_harness::case::{Backend, Policy, Service};
use onehop_harness::lab::{AllocatedPort, target_port};
use onehop_harness::run::Victim;
use onehop_harness::world::{AddressPlan, Dual, Family, Protocol};

use super::rules::{ip, rewrite_leaving};

/// The Service of a case in one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) victim: &'a Victim<'a>,
    pub(super) family: Family,
}

impl Scene<'_> {
    /// The Service as the case first asks for it.
    pub(super) fn spec(&self) -> Service {
        self.victim.case.service
    }

    pub(super) fn is_local(&self) -> bool {
        self.spec().external == Policy::Local
    }

    pub(super) fn is_internal_local(&self) -> bool {
        self.spec().internal == Policy::Local
    }

    /// Whether the case ever has a backend of which this is true.
    pub(super) fn has_backend(&self, which: impl Fn(&Backend) -> bool) -> bool {
        self.victim.case.every_backends().flatten().any(which)
    }

    /// Whether its backends are these from beginning to end, all ready.
    pub(super) fn has_only(&self, pods: &[&str]) -> bool {
        let are = |backends: &Vec<Backend>| {
            backends.len() == pods.len()
                && (backends.iter()).all(|one| one.ready && pods.contains(&one.pod.as_str()))
        };
        self.victim.case.every_backends().all(are)
    }

    /// `ip` or `ip6`.
    pub(super) fn ip(&self) -> &'static str {
        ip(self.family)
    }

    /// The protocol of its first port.
    pub(super) fn protocol(&self) -> &'static str {
        protocol(self.spec().ports[0].protocol)
    }

    /// Its ports of a protocol as the API has allocated them, each with its position.
    pub(super) fn ports(
        &self,
        protocol: Protocol,
    ) -> impl Iterator<Item = (usize, &AllocatedPort)> {
        let ports = self.victim.service.ports.iter().zip(self.spec().ports);
        let ports = ports.enumerate();
        ports.filter_map(move |(position, (allocated, port))| {
            (port.protocol == protocol).then_some((position, allocated))
        })
    }

    /// What calls its first node port.
    pub(super) fn node_port(&self) -> Option<String> {
        let number = self.victim.service.node_port()?;
        Some(format!(
            "{} dport {number} fib daddr type local",
            self.protocol()
        ))
    }

    /// What calls its ClusterIP, by the first port.
    pub(super) fn cluster_ip(&self) -> Option<String> {
        self.calls_own(self.victim.service.cluster_ip?)
    }

    /// What calls its load-balancer address, by the first port.
    pub(super) fn vip(&self) -> Option<String> {
        self.calls_own(self.victim.service.vip?)
    }

    /// What calls an address of its own by the first port. There is none in a family that it does not have.
    fn calls_own(&self, address: Dual) -> Option<String> {
        let address = self.of(address);
        (!address.is_unspecified()).then(|| self.calls(&[address]))
    }

    /// What calls any of these addresses by the first port.
    pub(super) fn calls(&self, addresses: &[IpAddr]) -> String {
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        format!(
            "{} daddr {{ {} }} {} dport {}",
            self.ip(),
            addresses.join(", "),
            self.protocol(),
            self.spec().ports[0].number
        )
    }

    /// What comes to its backends by the first port, when it has been rewritten.
    pub(super) fn rewritten(&self) -> String {
        format!("{} dport {}", self.protocol(), self.victim.port)
    }

    /// A pod's address, and the port that it listens on for the first port.
    pub(super) fn target(&self, pod: &str) -> SocketAddr {
        self.target_of(pod, 0, 0)
    }

    /// A pod's address, and the port that it listens on for the port at a position, as a slice has it.
    pub(super) fn target_of(&self, pod: &str, position: usize, slice: u16) -> SocketAddr {
        let pod = self.victim.lab.world().pod(pod).expect("in the story");
        let port = target_port(self.victim.port, position, slice);
        SocketAddr::new(self.of(pod.address), port)
    }

    /// The addresses of nodes and pods: everybody else is outside.
    pub(super) fn inside(&self) -> String {
        let index = usize::from(self.family == Family::V6);
        let networks = [AddressPlan::node_networks(), AddressPlan::cluster_cidrs()];
        let networks = networks.map(|both| both[index].to_string());
        format!("{{ {} }}", networks.join(", "))
    }

    /// Hides clients outside from its backends.
    pub(super) fn masquerade(&self) -> String {
        let (ip, inside) = (self.ip(), self.inside());
        rewrite_leaving(&format!(
            "{ip} saddr != {inside} {} masquerade",
            self.rewritten()
        ))
    }

    /// The address of this family.
    pub(super) fn of(&self, dual: Dual) -> IpAddr {
        dual.of(self.family)
    }
}

/// A protocol's name in rules.
fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
