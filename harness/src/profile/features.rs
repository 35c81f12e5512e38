//! The names that a profile may use for what a proxy does and does not do.

use std::fmt;

/// Declares a fieldless enum whose variants have names in kebab case, as they stand in YAML and in results.
macro_rules! names {
    (
        $(#[$about:meta])* $kind:ident { $( $(#[$doc:meta])* $variant:ident = $name:literal ),+ $(,)? }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $( $(#[$doc])* $variant ),+ }

        impl $kind {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [$kind] = &[$($kind::$variant),+];

            /// The name in YAML and in results.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<$kind> {
                $kind::ALL.iter().copied().find(|known| known.name() == name)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                let unknown = || serde::de::Error::custom(format!("unknown name `{name}`"));
                $kind::from_name(&name).ok_or_else(unknown)
            }
        }

        impl schemars::JsonSchema for $kind {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let names: Vec<_> = $kind::ALL.iter().map(|known| known.name()).collect();
                schemars::json_schema!({ "type": "string", "enum": names })
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

names! {
    /// Something that cases need, and that a proxy may not do.
    Feature {
        /// ClusterIP addresses.
        ClusterIp = "cluster-ip",
        /// A refusal on ports of a ClusterIP that its Service does not have.
        ClusterIpOtherPorts = "cluster-ip-other-ports",
        /// A refusal, on a node, of its own calls to external and load-balancer addresses without
        /// endpoints.
        NodeExternalRefusal = "node-external-refusal",
        /// NodePorts on the node's own addresses.
        NodePort = "node-port",
        /// `nodePortAddresses`: NodePorts and health check ports on those addresses of a node alone.
        NodePortAddresses = "node-port-addresses",
        /// `spec.externalIPs`.
        ExternalIp = "external-ip",
        /// Load-balancer VIPs (ipMode VIP).
        LoadBalancer = "load-balancer",
        /// `externalTrafficPolicy`.
        ExternalTrafficPolicy = "external-traffic-policy",
        /// `internalTrafficPolicy`.
        InternalTrafficPolicy = "internal-traffic-policy",
        /// The health check port of a Service.
        HealthCheckNodePort = "health-check-node-port",
        /// `:10256/healthz` and `:10256/livez`.
        ProxyHealth = "proxy-health",
        /// Traffic to terminating endpoints where no others are left.
        TerminatingEndpoints = "terminating-endpoints",
        /// `sessionAffinity: ClientIP`.
        SessionAffinity = "session-affinity",
        /// Zone and node hints in EndpointSlices.
        TopologyHints = "topology-hints",
        /// `loadBalancerSourceRanges`.
        SourceRanges = "source-ranges",
        /// Load balancers of ipMode Proxy.
        IpModeProxy = "ip-mode-proxy",
        /// Services labelled for another proxy are left alone.
        ServiceProxyName = "service-proxy-name",
        /// UDP Services, with stale flows removed.
        Udp = "udp",
        /// SCTP Services.
        Sctp = "sctp",
        /// IPv6 Services.
        Ipv6 = "ipv6",
    }
}

names! {
    /// Something that implementations do in different ways, all of them right. What a proxy does is measured, shown
    /// beside what its profile declares, and never judged.
    Variation {
        /// Whether NodePorts answer on 127.0.0.1.
        LocalhostNodePort = "localhost-node-port",
        /// The source that a pod sees when it reaches itself through its own VIP under Local.
        HairpinVipSource = "hairpin-vip-source",
        /// The source that a pod sees when its own node reaches it through a NodePort of that node.
        NodeClientSource = "node-client-source",
        /// The source that a pod on the entry node sees under externalTrafficPolicy Cluster.
        LocalBackendSource = "local-backend-source",
        /// What happens to a packet for a service address that no Service has.
        UnallocatedAddress = "unallocated-address",
        /// What a node without endpoints of its own does under externalTrafficPolicy Local with a NodePort on
        /// an address outside of nodePortAddresses.
        NodePortElsewhere = "node-port-elsewhere",
    }
}

impl Variation {
    /// Its values: what a profile may declare, and what may be measured.
    #[must_use]
    pub const fn values(self) -> &'static [&'static str] {
        match self {
            Variation::LocalhostNodePort => &["served", "closed"],
            Variation::HairpinVipSource => &["node", "gateway", "client"],
            Variation::NodeClientSource => &["node", "gateway"],
            Variation::LocalBackendSource => &["node", "client"],
            Variation::UnallocatedAddress => &["drop", "reject", "pass"],
            Variation::NodePortElsewhere => &["drop", "reject"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for feature in Feature::ALL {
            assert_eq!(Feature::from_name(feature.name()), Some(*feature));
        }
        for variation in Variation::ALL {
            assert_eq!(Variation::from_name(variation.name()), Some(*variation));
            assert!(variation.values().len() > 1, "{variation}");
        }
        assert_eq!(Feature::from_name("cluster_ip"), None);
    }
}
