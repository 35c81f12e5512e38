//! Faults of following changes.

use std::time::Duration;

use super::{NFTABLES, SLICES, TOPOLOGY};
use crate::faults::{Deed, Fault, plans, rules, worlds};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "sticks-to-the-first-external-policy",
        breaks: "A change of externalTrafficPolicy takes effect.",
        sources: &[TOPOLOGY, "an#3301", "kr#466"],
        caught_by: &[
            "transitions/external-policy-switched-both-ways",
            "external-ip/external-policy-switched-both-ways",
            "transitions/external-policy-switched-behind-a-balancer",
            "established/source-kept-after-local-ends",
        ],
        deed: Deed::World(worlds::external_policy_stays),
    },
    Fault {
        name: "sticks-to-the-first-internal-policy",
        breaks: "A change of internalTrafficPolicy takes effect.",
        sources: &[TOPOLOGY],
        caught_by: &[
            "internal/local/switched-on-and-off",
            "policies/switched-one-by-one",
        ],
        deed: Deed::World(worlds::internal_policy_stays),
    },
    Fault {
        name: "sticks-to-the-first-families",
        breaks: "A Service that becomes dual stack is served in its second family.",
        sources: &["KEP-563", NFTABLES],
        caught_by: &[
            "families/changed/cluster",
            "families/changed/local",
            "families/changed/load-balancer",
        ],
        deed: Deed::World(worlds::families_stay),
    },
    Fault {
        name: "sticks-to-the-first-source-ranges",
        breaks: "A change of loadBalancerSourceRanges takes effect.",
        sources: &[NFTABLES],
        caught_by: &["source-ranges/changed"],
        deed: Deed::World(worlds::source_ranges_stay),
    },
    Fault {
        name: "never-switches-affinity-off",
        breaks: "Affinity ends when it is switched off.",
        sources: &[NFTABLES],
        caught_by: &["affinity/switched-on-and-off"],
        deed: Deed::World(worlds::affinity_stays),
    },
    Fault {
        name: "keeps-node-ports-that-are-gone",
        breaks: "A Service that is no NodePort any more has none.",
        sources: &[NFTABLES],
        caught_by: &["transitions/cluster-ip-survives-a-change-of-type"],
        deed: Deed::World(worlds::node_ports_stay),
    },
    Fault {
        name: "keeps-endpoints-that-are-gone",
        breaks: "An endpoint that is gone gets nothing.",
        sources: &[SLICES, "k#121362"],
        caught_by: &[
            "transitions/pods-come-and-go-under-cluster",
            "transitions/pod-moves-under-local",
            "lifecycle/rolling-update-under-cluster",
            "lifecycle/rolling-update-of-the-only-local-pod",
            "lifecycle/rolling-update-behind-a-load-balancer",
            "lifecycle/node-is-drained",
            "lifecycle/taint-evicts",
        ],
        deed: Deed::World(worlds::endpoints_stay),
    },
    Fault {
        name: "keeps-services-that-are-gone",
        breaks: "A Service that is gone, or another proxy's, is served no longer.",
        sources: &[NFTABLES],
        caught_by: &["scope/service-proxy-name"],
        deed: Deed::Changes(plans::keep_services),
    },
    Fault {
        name: "leaves-one-node-behind",
        breaks: "Every node follows every change.",
        sources: &[SLICES, "k#99299", "k#121362"],
        caught_by: &[
            "health-check/follows-the-last-pod",
            "endpoints/cluster/terminating",
        ],
        deed: Deed::World(worlds::one_node_is_stale),
    },
    Fault {
        name: "withdraws-before-it-announces",
        breaks: "A Service that changes is served all the while, and so is every one while a proxy starts.",
        sources: &[NFTABLES, "an#3301", "cal#12192"],
        caught_by: &[
            "live/external-policy-switched/tcp",
            "live/external-policy-switched/udp",
            "live/internal-policy-switched",
            "live/churn/cluster",
            "live/churn/local",
            "live/churn/in-a-crowd",
            "live/handed-over",
            "live/proxies-restarted/cluster",
            "live/proxies-restarted/local",
        ],
        deed: Deed::First(plans::without_what_changes, Duration::from_millis(300)),
    },
    Fault {
        name: "is-late",
        breaks: "A change takes effect within seconds.",
        sources: &[NFTABLES],
        caught_by: &["external/cluster/every-node-answers"],
        deed: Deed::Late(Duration::from_secs(20)),
    },
    Fault {
        name: "keeps-stale-udp-flows",
        breaks: "UDP: flows whose endpoint no longer serves are ended after a sync.",
        sources: &[
            "kubernetes/pkg/proxy/conntrack/cleanup.go",
            "k#98305",
            "k#126934",
            "an#5112",
        ],
        caught_by: &[
            "established/udp/pod-replaced/cluster-ip",
            "established/udp/pod-replaced/node-port",
            "established/udp/pod-replaced/load-balancer",
            "established/udp/pod-stops-serving",
            "established/udp/pod-replaced/cluster-ip-from-a-node",
            "established/udp/pod-removed-under-local",
            "established/udp/only-local-pod-is-replaced",
        ],
        deed: Deed::StaleFlows,
    },
    Fault {
        name: "ends-udp-flows-that-a-policy-excludes",
        breaks: "A change of policy ends no flow that a pod still answers.",
        sources: &["kubernetes/pkg/proxy/conntrack/cleanup.go"],
        caught_by: &[
            "established/external-policy-switched-both-ways",
            "established/internal-policy-switched-both-ways",
        ],
        deed: Deed::Plan(plans::flows_follow_policies),
    },
    Fault {
        name: "cuts-connections-that-a-policy-excludes",
        breaks: "Rules look at the first packet of a connection: a change of policy cuts none that is established.",
        sources: &[NFTABLES],
        caught_by: &[
            "established/external-policy-switched-both-ways",
            "established/internal-policy-switched-both-ways",
        ],
        deed: Deed::Rules(rules::established_are_refused),
    },
    Fault {
        name: "forgets-connections-that-rest",
        breaks: "A connection goes on as long as both ends want it to, used or not.",
        sources: &[
            "kubernetes/pkg/proxy/apis/config/types.go",
            "fx#2588",
            "cal#4310",
        ],
        caught_by: &["established/idle-and-busy"],
        deed: Deed::Conntrack(rules::rest_is_short),
    },
];
