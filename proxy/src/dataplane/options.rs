//! What the rules depend on besides the Services: the configuration of the proxy on this node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::Family;

/// The configuration that shapes the rules. Fixed while the dataplane lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The families to program, each with a table of its own.
    pub families: Vec<Family>,
    /// The bit of the packet mark that asks for masquerade; upstream's default is bit 14.
    pub masquerade_mark: u32,
    /// Whether all traffic to cluster addresses is masqueraded, pods' as well.
    pub masquerade_all: bool,
    /// How a pod is told from other clients.
    pub detector: Detector,
    /// Which addresses of the node have node ports.
    pub node_ports: NodePorts,
    /// The node's own addresses. Where source ranges admit one of them, they admit the Service's own VIPs
    /// as well: a node that has a VIP as an address of its own calls it from that very address.
    pub node_ips: Vec<IpAddr>,
    /// Whether forwarded packets that connection tracking finds invalid are dropped. Upstream does it unless
    /// the sysctl `nf_conntrack_tcp_be_liberal` is set (`pkg/proxy/iptables/proxier.go`).
    pub drop_invalid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            families: Family::ALL.to_vec(),
            masquerade_mark: 1 << 14,
            masquerade_all: false,
            detector: Detector::None,
            node_ports: NodePorts::AnyLocal,
            node_ips: Vec::new(),
            drop_invalid: true,
        }
    }
}

/// How a pod is told from other clients (`detectLocalMode`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detector {
    /// It cannot be told.
    #[default]
    None,
    /// By its source address: modes `ClusterCIDR` and `NodeCIDR`. A family without a range has no detector.
    Sources(Vec<IpNet>),
    /// By the interface that it comes in by: mode `BridgeInterface`.
    Interface(Box<str>),
    /// By how the name of that interface begins: mode `InterfaceNamePrefix`.
    InterfacePrefix(Box<str>),
}

/// Which addresses of the node have node ports (`nodePortAddresses`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePorts {
    /// Every address of the node but loopback.
    #[default]
    AnyLocal,
    /// Those given by [`super::Changes::node_port_addresses`], none before that.
    Listed,
}

/// The addresses that have node ports, without loopback, which upstream excludes under nftables.
pub(super) fn without_loopback(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    addresses
        .iter()
        .copied()
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .collect()
}
