//! The configuration, as kube-proxy has it: the fields of `KubeProxyConfiguration`
//! (`kubeproxy.config.k8s.io/v1alpha1`; kubernetes/staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go) that apply.
//!
//! Every other field is refused by name, unless it changes nothing that this proxy does: then it is accepted, and
//! listed in [`Config::notices`] where it is set. A field that is zero, empty or null is not set, as in kube-proxy.

mod error;
mod fields;
mod gates;
mod reader;
mod tree;
mod values;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use error::{ConfigError, Place, Problem};
pub use values::{bind_address, cluster_cidrs, duration, interface_name, node_name};

/// The port of `/healthz`.
pub const HEALTHZ_PORT: u16 = 10256;
/// The port of `/metrics`.
pub const METRICS_PORT: u16 = 10249;

/// How the proxy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `hostnameOverride`, the name of the Node. `None`: the machine's hostname.
    pub node_name: Option<String>,
    /// `clientConnection.kubeconfig`. `None`: the cluster that the process runs in.
    pub kubeconfig: Option<PathBuf>,
    /// `bindAddress`: the node's primary address, where the Node does not say it. Nothing is bound to it.
    pub bind_address: Option<IpAddr>,
    /// `healthzBindAddress`. `None` serves nothing, which only a flag can ask for.
    pub healthz: Option<SocketAddr>,
    /// `metricsBindAddress`. `None` serves nothing, which only a flag can ask for.
    pub metrics: Option<SocketAddr>,
    /// `bindAddressHardFail`: the proxy ends if one of the two cannot be bound.
    pub bind_hard_fail: bool,
    /// `detectLocalMode`, with what it needs: which sources are pods.
    pub local_detector: LocalDetector,
    /// `nodePortAddresses`.
    pub node_port_addresses: NodePortAddresses,
    /// `nftables.masqueradeAll`.
    pub masquerade_all: bool,
    /// `nftables.masqueradeBit`: the bit of the packet mark that means masquerade, 0 to 31.
    pub masquerade_bit: u8,
    /// `nftables.syncPeriod`: the longest time after which a failed sync, or a health check port that could not be
    /// opened, is tried again; kube-proxy always waits that long (kubernetes/pkg/proxy/nftables/proxier.go). An update
    /// that waits for twice as long makes the proxy unhealthy.
    pub sync_period: Duration,
    /// `nftables.minSyncPeriod`: the least time between two syncs. Zero unless set, where kube-proxy has 1 s: it
    /// protects itself from syncs that take long.
    pub min_sync_period: Duration,
    /// `conntrack`.
    pub conntrack: Conntrack,
    /// `oomScoreAdj`, -1000 to 1000. `None` leaves it as it is, where kube-proxy sets -999 if it may.
    pub oom_score_adj: Option<i16>,
    /// `logging.verbosity`, from 0.
    pub verbosity: u32,
    /// Fields that were accepted and have no effect, for the log.
    pub notices: Vec<Problem>,
}

/// By what a source is known to be a pod (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDetector {
    /// Its address is in the cluster's network, at most one a family. None of a family: its pods are not known.
    ClusterCidr(Vec<IpNet>),
    /// Its address is in the node's `podCIDRs`.
    NodeCidr,
    /// It comes from this bridge.
    BridgeInterface(String),
    /// It comes from an interface whose name begins like this.
    InterfaceNamePrefix(String),
}

/// Which addresses of the node have node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// The primary addresses of the Node are among them.
    pub primary: bool,
    /// The networks in which they are.
    pub networks: Vec<IpNet>,
}

/// Settings of connection tracking that are written at the start. `None` leaves the kernel's as it is, where kube-proxy
/// has defaults of its own: those belong to the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// `conntrack.maxPerCore`: connections for each processor core.
    pub max_per_core: Option<u32>,
    /// `conntrack.min`: connections at least, if `max_per_core` is set.
    pub min: Option<u32>,
    /// `conntrack.tcpEstablishedTimeout`.
    pub tcp_established_timeout: Option<Duration>,
    /// `conntrack.tcpCloseWaitTimeout`.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `conntrack.tcpBeLiberal`.
    pub tcp_be_liberal: bool,
    /// `conntrack.udpTimeout`.
    pub udp_timeout: Option<Duration>,
    /// `conntrack.udpStreamTimeout`.
    pub udp_stream_timeout: Option<Duration>,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// It is not YAML, or has fields that cannot be used: all of those at once, each with its name, its place and what
    /// to do.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let document = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| ConfigError::Syntax(error.to_string()))?;
        fields::read(document)
    }
}

impl Default for Config {
    /// What a file with nothing but its kind says.
    fn default() -> Self {
        Self {
            node_name: None,
            kubeconfig: None,
            bind_address: None,
            healthz: Some((Ipv4Addr::UNSPECIFIED, HEALTHZ_PORT).into()),
            metrics: Some((Ipv4Addr::LOCALHOST, METRICS_PORT).into()),
            bind_hard_fail: false,
            local_detector: LocalDetector::ClusterCidr(Vec::new()),
            node_port_addresses: NodePortAddresses::default(),
            masquerade_all: false,
            masquerade_bit: 14,
            sync_period: Duration::from_secs(30),
            min_sync_period: Duration::ZERO,
            conntrack: Conntrack::default(),
            oom_score_adj: None,
            verbosity: 0,
            notices: Vec::new(),
        }
    }
}

impl Default for NodePortAddresses {
    /// The primary ones alone, as for kube-proxy in nftables mode.
    fn default() -> Self {
        Self {
            primary: true,
            networks: Vec::new(),
        }
    }
}

impl NodePortAddresses {
    /// The networks in which a node's addresses have node ports, given its primary ones. A family without any network
    /// is not restricted, as in kube-proxy (kubernetes/pkg/proxy/util/nodeport_addresses.go).
    ///
    /// While no primary address is known, it is taken for loopback, as kube-proxy does
    /// (`detectNodeIPs` of kubernetes/cmd/kube-proxy/app/server.go); but where that leaves kube-proxy without any
    /// network, and so with node ports on every address, here it leaves those of loopback, which has no node ports.
    #[must_use]
    pub fn of_node(&self, primary: &[IpAddr]) -> Vec<IpNet> {
        if self.primary && primary.is_empty() {
            return self.networks.iter().copied().chain(loopback()).collect();
        }
        let hosts = primary.iter().filter(|address| !address.is_loopback());
        let hosts = hosts
            .filter(|_| self.primary)
            .map(|address| IpNet::from(*address));
        self.networks.iter().copied().chain(hosts).collect()
    }

    /// Reads one entry: a keyword, or a network.
    ///
    /// # Errors
    /// It is neither; the text says what it must be.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        match entry {
            "primary" => self.primary = true,
            "all" => self.networks.extend([
                IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
                IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
            ]),
            "localhost" => self.networks.extend(loopback()),
            network => self.networks.push(values::network(network)?),
        }
        Ok(())
    }
}

fn loopback() -> [IpNet; 2] {
    [
        IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
    ]
}

#[cfg(test)]
mod tests;
