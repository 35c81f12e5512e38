//! Faults of node ports, external addresses, and VIPs.

use super::{NFTABLES, TOPOLOGY};
use crate::faults::{Deed, Fault, plans, rules, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "ignores-external-local",
        breaks: "External Local, outside client: localEPs, source kept; else DROP.",
        sources: &[TOPOLOGY, "k#62537"],
        caught_by: &[
            "external/local/client-ip-kept",
            "load-balancer/vip/local/client-ip-kept",
            "external-ip/local/client-ip-kept",
        ],
        deed: Deed::World(worlds::external_local_is_cluster),
    },
    Fault {
        name: "falls-back-under-external-local",
        breaks: "External Local: no local endpoint means DROP, not endpoints elsewhere.",
        sources: &[TOPOLOGY, "k#66062"],
        caught_by: &["external/local/node-without-pods-drops"],
        deed: Deed::World(worlds::external_local_falls_back),
    },
    Fault {
        name: "forwards-to-remote-pods-under-local",
        breaks: "External Local, outside client: local endpoints alone.",
        sources: &[TOPOLOGY, "k#66062", "k#74383"],
        caught_by: &[
            "external/local/only-pods-of-the-entry-node",
            "external/local/pods-of-other-nodes-are-outside",
        ],
        deed: Deed::Plan(plans::local_has_all),
    },
    Fault {
        name: "ignores-local-on-node-ports",
        breaks: "NodePort, ExternalIP and VIP: one logic.",
        sources: &[NFTABLES],
        caught_by: &["external/local/node-without-pods-drops"],
        deed: Deed::Plan(plans::local_node_ports_are_cluster),
    },
    Fault {
        name: "ignores-local-on-vips",
        breaks: "NodePort, ExternalIP and VIP: one logic.",
        sources: &[NFTABLES, "k#71596"],
        caught_by: &["load-balancer/vip/local/node-without-pods-drops"],
        deed: Deed::Plan(plans::local_vips_are_cluster),
    },
    Fault {
        name: "ignores-local-on-external-ips",
        breaks: "NodePort, ExternalIP and VIP: one logic.",
        sources: &[NFTABLES, "k#62537", "k#121909"],
        caught_by: &["external-ip/local/client-ip-kept"],
        deed: Deed::Plan(plans::local_external_ips_are_cluster),
    },
    Fault {
        name: "loses-the-source-under-local",
        breaks: "External Local, outside client: source kept.",
        sources: &[NFTABLES, "c#9284"],
        caught_by: &["external/local/client-ip-kept"],
        deed: Deed::Plan(plans::local_loses_the_source),
    },
    Fault {
        name: "loses-public-sources-under-local",
        breaks: "External Local: the source is kept wherever the client is.",
        sources: &[NFTABLES, "Azure/AKS#785"],
        caught_by: &["external/local/public-client-ip-kept"],
        deed: Deed::Rules(rules::masquerade_public),
    },
    Fault {
        name: "masquerades-whatever-it-translates",
        breaks: "What a client's address is kept for is not masqueraded.",
        sources: &[NFTABLES],
        caught_by: &[
            "internal/cluster/pod-reaches-all",
            "external/local/client-ip-kept",
        ],
        deed: Deed::Rules(rules::masquerade_whatever),
    },
    Fault {
        name: "masquerades-nothing",
        breaks: "External Cluster: masqueraded.",
        sources: &[NFTABLES],
        caught_by: &[
            "external/cluster/client-ip-lost",
            "external/cluster/pod-client-is-masqueraded",
        ],
        deed: Deed::Options(rules::masquerade_nothing),
    },
    Fault {
        name: "holds-pods-and-nodes-to-external-local",
        breaks: "External Local, pod or node: clusterEPs.",
        sources: &[
            NFTABLES, "k#75262", "k#93456", "k#131765", "c#45252", "fx#3076",
        ],
        caught_by: &[
            "external/local/node-client-reaches-all",
            "load-balancer/vip/local/in-cluster-short-circuits",
        ],
        deed: Deed::Plan(plans::no_short_circuit),
    },
    Fault {
        name: "cannot-tell-pods",
        breaks: "External Local, pod: clusterEPs, source kept, where there is a local detector.",
        sources: &[NFTABLES],
        caught_by: &["external/local/pod-client-short-circuits"],
        deed: Deed::Options(rules::no_detector),
    },
    Fault {
        name: "takes-everybody-for-a-pod",
        breaks: "External Local: who is no pod by the local detector is outside.",
        sources: &[NFTABLES],
        caught_by: &["external/local/node-without-pods-drops"],
        deed: Deed::Options(rules::all_are_pods),
    },
    Fault {
        name: "gives-one-pod-a-double-share",
        breaks: "Equal probability per new connection.",
        sources: &[NFTABLES],
        caught_by: &[
            "external/cluster/shares-are-even",
            "internal/cluster/shares-are-even",
            "external/local/shares-on-a-node-are-even",
        ],
        deed: Deed::Plan(plans::double_share),
    },
    Fault {
        name: "balances-nothing",
        breaks: "Equal probability per new connection.",
        sources: &[NFTABLES],
        caught_by: &["external/cluster/every-node-answers"],
        deed: Deed::Plan(plans::only_first_endpoint),
    },
];
