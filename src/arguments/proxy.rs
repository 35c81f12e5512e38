//! What `onehop proxy` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of kube-proxy's name and meaning. What a file says is said there alone.
#[derive(Args)]
pub(crate) struct ProxyArguments {
    /// A file with a KubeProxyConfiguration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The name of the Node, instead of the machine's hostname
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Remove what a proxy made on this machine, and exit
    #[arg(long)]
    pub(crate) cleanup: bool,
    /// How much is logged: from 2 every sync, from 4 all details. Wins over the file
    #[arg(short = 'v', long = "v", value_name = "N")]
    pub(crate) verbosity: Option<u32>,
    /// The address of the API, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// A kubeconfig; without one the proxy is a pod of its cluster
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where /healthz and /livez are served; empty: nowhere
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    #[arg(default_value = "0.0.0.0:10256")]
    pub(crate) healthz_bind_address: String,
    /// Where /metrics is served; empty: nowhere
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    #[arg(default_value = "127.0.0.1:10249")]
    pub(crate) metrics_bind_address: String,
    /// nftables, which is the only one
    #[arg(long, value_name = "MODE", conflicts_with = "config", value_parser = ["nftables"])]
    pub(crate) proxy_mode: Option<String>,
    /// How a pod is told from other clients
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        conflicts_with = "config",
        default_value_t
    )]
    pub(crate) detect_local_mode: LocalMode,
    /// The network of all pods, one a family, with a comma between
    #[arg(long, value_name = "CIDRS", conflicts_with = "config")]
    pub(crate) cluster_cidr: Option<String>,
    /// The bridge that pods come from
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    #[arg(required_if_eq("detect_local_mode", "BridgeInterface"))]
    pub(crate) pod_bridge_interface: Option<String>,
    /// How the names of the interfaces begin that pods come from
    #[arg(long, value_name = "PREFIX", conflicts_with = "config")]
    #[arg(required_if_eq("detect_local_mode", "InterfaceNamePrefix"))]
    pub(crate) pod_interface_name_prefix: Option<String>,
    /// Which addresses of the node have node ports: networks, or `primary`, `localhost`, `all`
    #[arg(
        long,
        value_name = "CIDR",
        conflicts_with = "config",
        value_delimiter = ','
    )]
    pub(crate) nodeport_addresses: Vec<String>,
    /// Masquerade all traffic to cluster addresses
    #[arg(long, conflicts_with = "config")]
    pub(crate) masquerade_all: bool,
    /// Be wrong in this way, see `onehop faults --list`
    #[cfg(feature = "faults")]
    #[arg(long, value_name = "NAME")]
    pub(crate) fault: Option<String>,
}

/// How a pod is told from other clients. Spelled as in the API.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LocalMode {
    /// By the network of all pods
    #[default]
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By the network of the node's pods
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By the bridge that they come from
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By the interface that they come from
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}
