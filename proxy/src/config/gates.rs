//! Feature gates: which of kube-proxy's this proxy behaves as, and which change nothing here
//! (kubernetes/pkg/features/kube_features.go).

/// What a gate is to this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It always behaves as if the gate were this.
    Always(bool),
    /// The gate decides about something that this proxy does not have.
    Nothing,
}

/// A gate, or `None` where this proxy does not know what it would do.
pub(super) fn gate(name: &str) -> Option<Gate> {
    Some(match name {
        "AllowServiceExternalIPs"
        | "KubeProxyDrainingTerminatingNodes"
        | "LoadBalancerIPMode"
        | "NFTablesNetlink"
        | "NFTablesProxyMode"
        | "PreferSameTrafficDistribution"
        | "ProxyTerminatingEndpoints"
        | "ServiceInternalTrafficPolicy"
        | "ServiceTrafficDistribution"
        | "TopologyAwareHints" => Gate::Always(true),
        "KubeProxyNFTablesLocalhostNodePorts" => Gate::Always(false),
        "ComponentFlagz"
        | "ComponentSLIs"
        | "ComponentStatusz"
        | "ContextualLogging"
        | "KubeProxyIPVS"
        | "LoggingAlphaOptions"
        | "LoggingBetaOptions"
        | "MinimizeIPTablesRestore"
        | "MultiCIDRServiceAllocator"
        | "NativeHistograms"
        | "WinDSR"
        | "WinOverlay" => Gate::Nothing,
        _ => return None,
    })
}
