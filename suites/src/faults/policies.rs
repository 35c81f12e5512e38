//! Faults of traffic policies, and of what is dropped or refused.

use onehop_harness::case::Target;
use onehop_harness::world::Family;

use super::rules::{
    Rules, chain, filter_arriving, rewrite_arriving, rewrite_late, rewrite_leaving,
};
use super::scene::Scene;
use super::{Deed, Fault, NFTABLES, TOPOLOGY};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "forwards-to-a-remote-pod-under-local",
        breaks: "Under Local, a node without pods forwards nothing, though it could take care of the answer.",
        sources: &[TOPOLOGY, "k#66062"],
        caught_by: &[
            (
                "external/local/node-without-pods-drops",
                "reached web-1, not dropped",
            ),
            (
                "external/local/client-ip-kept",
                "reached web-1, not dropped",
            ),
            (
                "udp/node-port/local/client-ip-kept",
                "reached web-1, not dropped",
            ),
        ],
        spares: &["external/local/shares-on-a-node-are-even"],
        deed: Deed::Rules(forward),
    },
    Fault {
        name: "forwards-to-a-remote-pod-that-answers-itself",
        breaks: "Under Local, a node without pods forwards nothing, also where the answer goes another way.",
        sources: &[TOPOLOGY, "k#66062"],
        caught_by: &[
            ("external/local/node-without-pods-drops", "forwarded by vm2"),
            ("external/local/other-nodes-are-outside", "forwarded by vm2"),
        ],
        spares: &["external/local/shares-on-a-node-are-even"],
        deed: Deed::Rules(forward_unmasqueraded),
    },
    Fault {
        name: "leaves-a-connection-half-open-under-local",
        breaks: "Under Local, nobody answers what a node without pods is asked.",
        sources: &[TOPOLOGY, "k#74383"],
        caught_by: &[
            (
                "external/local/node-without-pods-drops",
                "answered by web-1, and the answer was lost",
            ),
            (
                "external/local/client-ip-kept",
                "answered by web-1, and the answer was lost",
            ),
        ],
        spares: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Rules(half_open),
    },
    Fault {
        name: "rejects-instead-of-dropping",
        breaks: "Usable endpoints elsewhere, none local, under Local: DROP.",
        sources: &[NFTABLES],
        caught_by: &[
            ("external/local/node-without-pods-drops", "refused ("),
            ("udp/node-port/local/client-ip-kept", "refused ("),
        ],
        spares: &["external/local/shares-on-a-node-are-even"],
        deed: Deed::Rules(reject),
    },
    Fault {
        name: "serves-an-address-that-no-service-has",
        breaks: "An unallocated service address is served by nobody.",
        sources: &[NFTABLES, "KEP-1880"],
        caught_by: &[(
            "scope/cluster-ip/unallocated-address",
            "by no value of unallocated-address: reached web-1",
        )],
        spares: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Rules(serve_nobodys_address),
    },
    Fault {
        name: "forwards-the-load-balancer-address-under-local",
        breaks: "Under Local, a node without pods drops what is sent to the load-balancer address.",
        sources: &[NFTABLES, "k#71596"],
        caught_by: &[(
            "load-balancer/vip/local/node-without-pods-drops",
            "reached web-1, not dropped",
        )],
        // The load balancer follows the health checks, and never asks the node that is wrong.
        spares: &[
            "load-balancer/vip/local/client-ip-kept",
            "external/local/client-ip-kept",
        ],
        deed: Deed::Rules(forward_vip),
    },
    Fault {
        name: "falls-back-to-remote-pods-under-internal-local",
        breaks: "Under internal Local, a pod on a node without backends reaches nobody.",
        sources: &["KEP-2086", TOPOLOGY, "cal#8255"],
        caught_by: &[(
            "internal/local/pod-reaches-its-own-node",
            "reached web-1, not dropped",
        )],
        spares: &["internal/local/shares-on-a-node-are-even"],
        deed: Deed::Rules(internal_falls_back),
    },
    Fault {
        name: "ignores-hints",
        breaks: "Where all ready endpoints have hints and one is for this place, no other is used.",
        sources: &[TOPOLOGY, "KEP-2433"],
        caught_by: &[
            (
                "topology/zone/cluster-ip",
                "reached web-1, which may not answer",
            ),
            ("topology/no-pod-for-the-zone", "never reached web-0"),
        ],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(ignore_hints),
    },
    Fault {
        name: "lets-what-it-should-end-leave-the-node",
        breaks: "A node itself drops or refuses what has no endpoint: nothing of it goes on.",
        sources: &[NFTABLES],
        caught_by: &[
            ("internal/local/pod-reaches-its-own-node", "went on to "),
            ("internal/local/node-reaches-its-own-pods", "went on to "),
            ("internal/cluster/no-endpoint-refused", "no pod: "),
            ("external-ip/cluster/no-endpoint-refused", "no pod: "),
            ("external-ip/no-endpoint-refused-to-nodes", "no pod: "),
            ("scope/cluster-ip/wrong-port-refused", "port 80 only: "),
        ],
        spares: &[
            "internal/local/shares-on-a-node-are-even",
            "external/cluster/shares-are-even",
            "internal/cluster/pod-reaches-all",
        ],
        deed: Deed::Emptied(&["service-endpoints-check", "cluster-ips-check"]),
    },
    Fault {
        name: "serves-what-it-should-leave-alone",
        breaks: "What is another proxy's, the load balancer's or headless is served by no node.",
        sources: &[NFTABLES],
        caught_by: &[
            ("scope/ip-mode-proxy/cluster", "ipMode Proxy: "),
            ("scope/service-proxy-name", "labelled: "),
            ("scope/headless", "reached web-1, not unserved"),
        ],
        spares: &[
            "load-balancer/vip/cluster/client-ip-lost",
            "external-ip/cluster/every-node-answers",
        ],
        deed: Deed::Rules(serve_everything),
    },
];

/// A node without pods sends on what it should drop, and even takes care of the answer.
fn forward(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local()
        && let Some(called) = scene.node_port()
    {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &(rewrite_arriving(&to_pod) + &scene.masquerade()));
    }
}

/// A node without pods sends on what it should drop; the pod's answer does not come back by it.
fn forward_unmasqueraded(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local()
        && let Some(called) = scene.node_port()
    {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &rewrite_arriving(&to_pod));
    }
}

/// A node without pods sends on what it should drop, and the pod's answer is lost.
fn half_open(scene: &Scene<'_>, rules: &mut Rules) {
    forward_unmasqueraded(scene, rules);
    if !scene.is_local() {
        return;
    }
    let (ip, inside, target) = (scene.ip(), scene.inside(), scene.target("web-1"));
    let rule = format!(
        "{} sport {} {ip} daddr != {inside} ct direction reply ct original {ip} daddr {} drop",
        scene.protocol(),
        target.port(),
        target.ip()
    );
    let hook = "type filter hook forward priority 0";
    rules.on("vm3", &chain("answers", hook, &rule));
}

/// A node without pods refuses.
fn reject(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local()
        && let Some(called) = scene.node_port()
    {
        rules.on("vm2", &filter_arriving(&format!("{called} reject")));
    }
}

/// A node without pods forwards the load-balancer address, as if it were not Local.
fn forward_vip(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local()
        && let Some((called, vip)) = scene.vip().zip(scene.victim.service.vip)
    {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        // The load balancer's own host is on the node network, and outside all the same.
        let original = format!("ct original {} daddr {}", scene.ip(), scene.of(vip));
        let hidden = rewrite_leaving(&format!("{original} masquerade"));
        rules.on("vm2", &(rewrite_arriving(&to_pod) + &hidden));
    }
}

/// Pods on vm2 are answered at the address that no Service has, in the case that asks for it.
fn serve_nobodys_address(scene: &Scene<'_>, rules: &mut Rules) {
    let flows = scene.victim.case.flows();
    if flows.iter().any(|flow| flow.to == Target::Unallocated) {
        let address = scene.of(scene.victim.lab.world().unallocated());
        let called = scene.calls(&[address]);
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &rewrite_arriving(&to_pod));
    }
}

/// A pod on the node without backends is sent to a backend elsewhere.
fn internal_falls_back(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_internal_local() {
        one_remote_pod(scene, rules);
    }
}

/// A pod is sent to a backend that is meant for another zone.
fn ignore_hints(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.has_backend(|backend| !backend.zones.is_empty() || !backend.nodes.is_empty()) {
        one_remote_pod(scene, rules);
    }
}

/// Pods on vm2 reach web-1 by the ClusterIP, and nobody else.
fn one_remote_pod(scene: &Scene<'_>, rules: &mut Rules) {
    if let Some(called) = scene.cluster_ip() {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &rewrite_arriving(&to_pod));
    }
}

/// vm2 serves every address that the Service ever had, whatever the proxy leaves alone.
fn serve_everything(scene: &Scene<'_>, rules: &mut Rules) {
    let service = scene.victim.service;
    let own = [service.cluster_ip, service.vip].into_iter().flatten();
    let external = service.external_ips.iter().copied();
    let of_family = |address: &_| scene.family == Family::of(*address);
    let addresses: Vec<_> = own
        .map(|address| scene.of(address))
        .filter(|address| !address.is_unspecified())
        .chain(external.filter(of_family))
        .collect();
    if !addresses.is_empty() {
        let called = scene.calls(&addresses);
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        let late = rewrite_late(&to_pod);
        rules.on("vm2", &(late + &scene.masquerade()));
    }
}
