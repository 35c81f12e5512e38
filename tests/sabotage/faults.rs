//! The faults, and which cases catch them.

use onehop_harness::lab::{Allocated, Lab};

use crate::commits::{
    double_weight, endless_affinity, half_open, half_to_web_1_on_vm1, half_to_web_2_on_vm3,
    health_port_stuck, internal_local_falls_back, leak, masquerade_on_vm3, no_hairpins,
    no_source_ranges, node_port_stays, ranges_on_node_ports, reject_on_vm2, remote_pod_under_local,
    remote_pod_unmasqueraded, serves_everything, slice_stays, vip_falls_back, wrong_target_port,
};

/// One way to be wrong.
pub(crate) struct Fault {
    /// What the proxy does wrong.
    pub(crate) name: &'static str,
    /// Makes it do so for one Service, whose backends listen on this port.
    pub(crate) commit: fn(&Lab, &Allocated, u16) -> Result<(), String>,
    /// The cases that must fail, and words that their reason must contain; of several, divided by `|`, one.
    pub(crate) fail: &'static [(&'static str, &'static str)],
    /// Cases that look at the same Service and must still pass.
    pub(crate) pass: &'static [&'static str],
}

/// All of them.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "masquerades-on-vm3-only",
        commit: masquerade_on_vm3,
        fail: &[
            (
                "external/local/client-ip-kept",
                "source vm3 instead of the caller's own",
            ),
            (
                "load-balancer/vip/local/client-ip-kept",
                "source vm3 instead of the caller's own",
            ),
            (
                "external-ip/local/client-ip-kept",
                "source vm3 instead of the caller's own",
            ),
        ],
        pass: &[
            "external/cluster/client-ip-lost",
            "internal/cluster/pod-reaches-all",
        ],
    },
    Fault {
        name: "forwards-to-a-remote-pod-under-local",
        commit: remote_pod_under_local,
        fail: &[
            (
                "external/local/node-without-pods-drops",
                "reached web-1, not dropped",
            ),
            (
                "external/local/client-ip-kept",
                "reached web-1, not dropped",
            ),
        ],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "forwards-to-a-remote-pod-that-answers-itself",
        commit: remote_pod_unmasqueraded,
        fail: &[
            ("external/local/node-without-pods-drops", "forwarded by vm2"),
            ("external/local/other-nodes-are-outside", "forwarded by vm2"),
        ],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "rejects-instead-of-dropping",
        commit: reject_on_vm2,
        fail: &[("external/local/node-without-pods-drops", "refused (")],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "health-check-port-stuck-on-200",
        commit: health_port_stuck,
        fail: &[
            (
                "health-check/counts-local-endpoints",
                "status 200 instead of 503",
            ),
            (
                "load-balancer/vip/local/shares-follow-the-nodes",
                // The load balancer may come to believe it only while the last round is asked.
                "vm1+vm2+vm3|dropped (",
            ),
        ],
        pass: &["load-balancer/node-port/local/in-cluster-short-circuits"],
    },
    Fault {
        name: "gives-one-of-three-pods-double-weight",
        commit: double_weight,
        fail: &[("external/cluster/shares-are-even", "shares ")],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "internal-local-falls-back-to-remote-pods",
        commit: internal_local_falls_back,
        fail: &[(
            "internal/local/pod-reaches-its-own-node",
            "reached web-1, not dropped",
        )],
        pass: &["internal/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "leaves-a-connection-half-open-under-local",
        commit: half_open,
        fail: &[
            (
                "external/local/node-without-pods-drops",
                "answered by web-1, and the answer was lost",
            ),
            (
                "external/local/client-ip-kept",
                "answered by web-1, and the answer was lost",
            ),
        ],
        pass: &["internal/cluster/pod-reaches-all"],
    },
    Fault {
        name: "lets-what-it-should-drop-leave-the-node",
        commit: leak,
        fail: &[
            ("internal/local/pod-reaches-its-own-node", "went on to "),
            ("internal/local/node-reaches-its-own-pods", "went on to "),
            ("scope/cluster-ip/unallocated-address", "went on to "),
        ],
        pass: &[
            "internal/local/shares-on-a-node-are-even",
            "external/cluster/shares-are-even",
        ],
    },
    Fault {
        name: "lets-what-it-should-refuse-leave-the-node",
        commit: leak,
        fail: &[
            ("internal/cluster/no-endpoint-refused", "no pod: "),
            ("external-ip/cluster/no-endpoint-refused", "no pod: "),
            ("external-ip/no-endpoint-refused-to-nodes", "no pod: "),
            ("scope/cluster-ip/wrong-port-refused", "port 80 only: "),
        ],
        pass: &["internal/cluster/pod-reaches-all"],
    },
    Fault {
        name: "forwards-the-load-balancer-address-under-local",
        commit: vip_falls_back,
        fail: &[(
            "load-balancer/vip/local/node-without-pods-drops",
            "reached web-1, not dropped",
        )],
        // The load balancer follows the health checks, and never asks the node that is wrong.
        pass: &[
            "load-balancer/vip/local/client-ip-kept",
            "external/local/client-ip-kept",
        ],
    },
    Fault {
        name: "keeps-a-node-port-open-that-is-gone",
        commit: node_port_stays,
        fail: &[(
            "transitions/cluster-ip-survives-a-change-of-type",
            "ClusterIP again: the node port is closed",
        )],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "does-not-masquerade-hairpins",
        commit: no_hairpins,
        fail: &[
            ("hairpin/cluster-ip", "pod(web-0) to cluster-ip"),
            ("hairpin/external-addresses-under-local", "pod(web-0) to "),
            ("hairpin/among-others", "pod(web-0) to cluster-ip"),
        ],
        pass: &["internal/cluster/pod-reaches-all"],
    },
    Fault {
        name: "forgets-which-pod-a-client-has-drawn",
        commit: double_weight,
        fail: &[(
            "affinity/node-port/client-stays-with-its-pod",
            "reached 3 pods: web-0 web-1 web-2",
        )],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "never-ends-an-affinity",
        commit: endless_affinity,
        fail: &[(
            "affinity/ends-with-its-timeout",
            "two pods, after the timeout: all of them to together",
        )],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "keeps-the-affinity-to-a-pod-that-has-left",
        commit: half_to_web_1_on_vm1,
        fail: &[(
            "affinity/outlives-other-changes-and-ends-with-its-pod",
            "the pod has left: ",
        )],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "ignores-source-ranges",
        commit: no_source_ranges,
        fail: &[
            ("source-ranges/outside-clients", ", not dropped"),
            ("source-ranges/changed", "private allowed: "),
            ("source-ranges/several", ", not dropped"),
        ],
        pass: &[
            "load-balancer/vip/cluster/client-ip-lost",
            "external/cluster/client-ip-lost",
        ],
    },
    Fault {
        name: "applies-source-ranges-to-node-ports",
        commit: ranges_on_node_ports,
        fail: &[
            ("source-ranges/no-other-address-is-restricted", "dropped"),
            ("source-ranges/node-ports-under-local", "dropped"),
        ],
        pass: &["source-ranges/outside-clients"],
    },
    Fault {
        name: "ignores-hints",
        commit: internal_local_falls_back,
        fail: &[
            (
                "topology/zone/cluster-ip",
                "reached web-1, which may not answer",
            ),
            ("topology/no-pod-for-the-zone", "never reached web-0"),
        ],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "serves-what-it-should-leave-alone",
        commit: serves_everything,
        fail: &[
            ("scope/ip-mode-proxy/cluster", "ipMode Proxy: "),
            ("scope/service-proxy-name", "labelled: "),
            ("scope/headless", "reached web-1, not unserved"),
        ],
        pass: &[
            "load-balancer/vip/cluster/client-ip-lost",
            "external-ip/cluster/every-node-answers",
        ],
    },
    Fault {
        name: "uses-terminating-pods-beside-ready-ones",
        commit: half_to_web_2_on_vm3,
        fail: &[
            (
                "endpoints/local/ready-beside-terminating",
                "one of two on vm3 is terminating: ",
            ),
            ("endpoints/local/not-serving-is-never-used", "none serves: "),
        ],
        pass: &["external/local/client-ip-kept"],
    },
    Fault {
        name: "keeps-a-slice-that-is-gone",
        commit: slice_stays,
        fail: &[(
            "endpoints/slices/merged",
            "the second is gone: external(client-private) to node-port@vm2",
        )],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "takes-one-port-for-another",
        commit: wrong_target_port,
        fail: &[(
            "endpoints/ports/each-its-own",
            "reached a backend of another Service or port",
        )],
        pass: &["endpoints/slices/merged"],
    },
];
