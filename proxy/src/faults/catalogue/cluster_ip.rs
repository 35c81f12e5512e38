//! Faults of ClusterIPs.

use super::{NFTABLES, TOPOLOGY};
use crate::faults::{Deed, Fault, plans, rules, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "ignores-internal-local",
        breaks: "ClusterIP, internal Local: localEPs, else DROP.",
        sources: &[TOPOLOGY, "cal#8255"],
        caught_by: &[
            "internal/local/pod-reaches-its-own-node",
            "internal/local/switched-on-and-off",
        ],
        deed: Deed::World(worlds::internal_local_is_cluster),
    },
    Fault {
        name: "falls-back-under-internal-local",
        breaks: "ClusterIP, internal Local: no local endpoint means DROP, not endpoints elsewhere.",
        sources: &[TOPOLOGY, "KEP-2086"],
        caught_by: &[
            "internal/local/node-reaches-its-own-pods",
            "policies/external-local-internal-local",
            "udp/cluster-ip/local/own-pods-or-drop",
        ],
        deed: Deed::World(worlds::internal_local_falls_back),
    },
    Fault {
        name: "restricts-outside-traffic-by-the-internal-policy",
        breaks: "The two policies are independent: internal Local leaves outside traffic alone.",
        sources: &["KEP-2086", "k#105470"],
        caught_by: &[
            "internal/local/does-not-restrict-outside-traffic",
            "policies/external-cluster-internal-local",
            "affinity/internal-local/external-draw-does-not-count",
        ],
        deed: Deed::World(worlds::internal_local_holds_outside),
    },
    Fault {
        name: "restricts-cluster-ips-by-the-external-policy",
        breaks: "The two policies are independent: external Local leaves the ClusterIP alone.",
        sources: &["KEP-2086", "k#57678", "kr#1597"],
        caught_by: &[
            "external/local/does-not-restrict-the-cluster-ip",
            "policies/external-local-internal-cluster",
        ],
        deed: Deed::World(worlds::external_local_holds_inside),
    },
    Fault {
        name: "masquerades-pods-to-cluster-ips",
        breaks: "ClusterIP, pod: not masqueraded, unless masqueradeAll is set.",
        sources: &[NFTABLES],
        caught_by: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Options(rules::masquerade_all),
    },
    Fault {
        name: "lets-other-ports-of-cluster-ips-pass",
        breaks: "ClusterIP on a port that the Service does not have: REJECT.",
        sources: &[NFTABLES],
        caught_by: &["scope/cluster-ip/wrong-port-refused"],
        deed: Deed::Plan(plans::other_ports_are_nobodys),
    },
    Fault {
        name: "serves-an-address-that-no-service-has",
        breaks: "An unallocated service address is served by nobody.",
        sources: &[NFTABLES, "KEP-1880"],
        caught_by: &["scope/cluster-ip/unallocated-address"],
        deed: Deed::Plan(plans::serves_an_unallocated_address),
    },
    Fault {
        name: "serves-no-node",
        breaks: "A node's own processes reach a ClusterIP as pods do.",
        sources: &[NFTABLES],
        caught_by: &[
            "internal/cluster/node-reaches-all",
            "external/cluster/node-client-source",
            "external/local/node-client-source",
            "external/cluster/localhost",
            "external-ip/cluster/in-cluster-is-masqueraded",
            "udp/cluster-ip/cluster/every-pod-answers",
        ],
        deed: Deed::Rules(rules::node_is_not_served),
    },
    Fault {
        name: "lets-refused-connections-leave-the-node",
        breaks: "No usable endpoint anywhere: the node refuses its own processes itself.",
        sources: &[NFTABLES],
        caught_by: &[
            "external-ip/no-endpoint-refused-to-nodes",
            "scope/cluster-ip/wrong-port-refused",
            "internal/local/no-endpoint-refused",
            "udp/cluster-ip/no-endpoint-refused",
        ],
        deed: Deed::Rules(rules::node_is_not_refused),
    },
];
