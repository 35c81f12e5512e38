//! Faults of what modifies the policies: hairpins, source ranges, what is not programmed.

use super::{NFTABLES, SERVICE_HEALTH};
use crate::faults::{Deed, Fault, objects, plans, rules, worlds};

const META_PROXIER: &str = "kubernetes/pkg/proxy/metaproxier/meta_proxier.go";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "masquerades-no-hairpin",
        breaks: "Hairpin: masqueraded, on every address type.",
        sources: &[NFTABLES, "k#134884", "kube-ovn#4457"],
        caught_by: &[
            "hairpin/cluster-ip",
            "hairpin/external-addresses-under-local",
        ],
        deed: Deed::Plan(plans::no_hairpins),
    },
    Fault {
        name: "ignores-ip-mode-proxy",
        breaks: "ipMode Proxy: no rules for the VIP.",
        sources: &["KEP-1860"],
        caught_by: &[
            "scope/ip-mode-proxy/cluster",
            "scope/ip-mode-proxy/local",
            "load-balancer/proxy/local/in-cluster-goes-through-it",
        ],
        deed: Deed::Object(objects::without_ip_mode),
    },
    Fault {
        name: "ignores-source-ranges",
        breaks: "loadBalancerSourceRanges: DROP by real source.",
        sources: &[NFTABLES],
        caught_by: &["source-ranges/outside-clients", "source-ranges/several"],
        deed: Deed::World(worlds::without_source_ranges),
    },
    Fault {
        name: "holds-only-the-first-address-to-the-ranges",
        breaks: "loadBalancerSourceRanges: every load-balancer address is held to them.",
        sources: &[NFTABLES, "k#109826"],
        caught_by: &[
            "source-ranges/two-addresses/clients",
            "source-ranges/two-addresses/pods-and-nodes-under-cluster",
            "source-ranges/two-addresses/pods-and-nodes-under-local",
        ],
        deed: Deed::Plan(plans::ranges_hold_the_first_address),
    },
    Fault {
        name: "applies-source-ranges-to-node-ports",
        breaks: "loadBalancerSourceRanges: NodePorts are exempt.",
        sources: &[NFTABLES, "c#42334"],
        caught_by: &[
            "source-ranges/no-other-address-is-restricted",
            "source-ranges/node-ports-under-local",
        ],
        deed: Deed::Plan(plans::ranges_hold_node_ports),
    },
    Fault {
        name: "applies-source-ranges-to-external-ips",
        breaks: "loadBalancerSourceRanges: VIPs only.",
        sources: &[NFTABLES],
        caught_by: &["source-ranges/no-other-address-is-restricted"],
        deed: Deed::Plan(plans::ranges_hold_external_ips),
    },
    Fault {
        name: "exempts-nodes-from-source-ranges",
        breaks: "loadBalancerSourceRanges: pods and nodes are held to them too.",
        sources: &[NFTABLES],
        caught_by: &["source-ranges/several"],
        deed: Deed::Rules(rules::node_is_not_held),
    },
    Fault {
        name: "needs-node-ports-for-vips",
        breaks: "allocateLoadBalancerNodePorts false: the VIP still works.",
        sources: &[NFTABLES, "KEP-1864"],
        caught_by: &["scope/no-node-ports/cluster", "scope/no-node-ports/local"],
        deed: Deed::Plan(plans::vips_need_node_ports),
    },
    Fault {
        name: "has-node-ports-on-every-address",
        breaks: "nodePortAddresses: which addresses of the node have NodePorts.",
        sources: &[NFTABLES],
        caught_by: &["node-port-addresses/cluster", "node-port-addresses/local"],
        deed: Deed::Options(rules::node_ports_everywhere),
    },
    Fault {
        name: "has-health-check-ports-on-every-address",
        breaks: "nodePortAddresses: which addresses of the node have health check ports.",
        sources: &[SERVICE_HEALTH],
        caught_by: &["node-port-addresses/health-check-port"],
        deed: Deed::HealthEverywhere,
    },
    Fault {
        name: "lets-invalid-packets-pass",
        breaks: "Packets that connection tracking finds invalid are dropped in forward.",
        sources: &["kubernetes/pkg/proxy/iptables/proxier.go", "k#74839"],
        caught_by: &[
            "invalid-packets/out-of-window/cluster",
            "invalid-packets/out-of-window/internal-local",
        ],
        deed: Deed::Options(rules::invalid_passes),
    },
    Fault {
        name: "has-no-room-for-what-it-adds-to-a-datagram",
        breaks: "Datagrams that are as long as the MTU, or longer, come whole, and so do their answers.",
        sources: &["c#32601", "c#39690"],
        caught_by: &[
            "mtu/cluster-ip/cluster",
            "mtu/node-port/cluster",
            "mtu/node-port/local",
            "mtu/external-ip/cluster",
            "mtu/load-balancer/cluster",
            "mtu/load-balancer/local",
            "mtu/fragments/cluster-ip",
            "mtu/fragments/node-port/cluster",
            "mtu/fragments/node-port/local",
            "mtu/fragments/load-balancer/cluster",
            "mtu/fragments/load-balancer/local",
        ],
        deed: Deed::Rules(rules::long_datagrams_are_lost),
    },
    Fault {
        name: "serves-services-of-other-proxies",
        breaks: "service-proxy-name: not programmed.",
        sources: &["kubernetes/pkg/proxy/apis/well_known_labels.go"],
        caught_by: &["scope/service-proxy-name"],
        deed: Deed::Object(objects::without_proxy_name),
    },
    Fault {
        name: "serves-headless-services",
        breaks: "Headless: not programmed.",
        sources: &["kubernetes/pkg/proxy/util/utils.go"],
        caught_by: &["scope/headless"],
        deed: Deed::Object(objects::headless_as_any),
    },
    Fault {
        name: "drops-on-node-ports-of-another-family",
        breaks: "A family that a Service does not have is not programmed: the node itself refuses.",
        sources: &["KEP-563", "kubernetes/pkg/proxy/servicechangetracker.go"],
        caught_by: &[
            "families/ipv4/cluster",
            "families/ipv4/local",
            "families/ipv4/load-balancer",
            "families/ipv6/cluster",
            "families/ipv6/local",
            "families/ipv6/load-balancer",
            "families/changed/cluster",
        ],
        deed: Deed::Plan(plans::drops_in_the_other_family),
    },
    Fault {
        name: "drops-in-a-family-without-endpoints-if-the-other-has-any",
        breaks: "Whether there is an endpoint at all is decided in each family by itself.",
        sources: &["KEP-563", META_PROXIER],
        caught_by: &["families/pods-of-one/cluster", "families/pods-of-one/local"],
        deed: Deed::Plan(plans::families_in_one_pot),
    },
    Fault {
        name: "takes-a-pod-of-one-family-for-one-of-both",
        breaks: "Whether a node has an endpoint is decided in each family by itself.",
        sources: &["KEP-563", META_PROXIER],
        caught_by: &[
            "families/pods-of-one/local",
            "families/pods-of-one/internal-local",
        ],
        deed: Deed::Plan(plans::local_by_either_family),
    },
    Fault {
        name: "serves-ipv4-alone",
        breaks: "Both families of a Service are served.",
        sources: &[NFTABLES],
        caught_by: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Options(rules::no_v6),
    },
    Fault {
        name: "masquerades-no-hairpin-by-the-cluster-ip",
        breaks: "Hairpin: masqueraded, on every address type.",
        sources: &[NFTABLES, "k#134884"],
        caught_by: &[
            "hairpin/cluster-ip",
            "hairpin/cluster-ip-under-internal-local",
        ],
        deed: Deed::Rules(rules::cluster_ip_hairpins_keep_their_source),
    },
];
