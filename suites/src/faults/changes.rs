//! Faults of following changes: something of what was before goes on.

use onehop_harness::case::{Change, ServiceType, Step};
use onehop_harness::world::Protocol;

use super::rules::{Rules, chain, rewrite_arriving, rewrite_late};
use super::scene::Scene;
use super::{Deed, Fault, NFTABLES, TOPOLOGY};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "stays-under-cluster-on-one-node-of-three",
        breaks: "A switch to Local takes effect on every node.",
        sources: &[TOPOLOGY, "an#3301", "kr#466"],
        caught_by: &[
            (
                "transitions/external-policy-switched-both-ways",
                "Local: external(client-private) to node-port@vm2",
            ),
            (
                "established/external-policy-switched-both-ways",
                "reached web-1, not dropped",
            ),
        ],
        spares: &[
            "external/cluster/shares-are-even",
            "external/local/node-without-pods-drops",
        ],
        deed: Deed::Rules(stay_under_cluster),
    },
    Fault {
        name: "stays-under-local-on-one-node-of-three",
        breaks: "A switch to Cluster takes effect on every node.",
        sources: &[TOPOLOGY, "an#3301", "kr#466"],
        caught_by: &[(
            "established/source-kept-after-local-ends",
            "Cluster: external(client-private) to node-port@vm2",
        )],
        spares: &[
            "external/cluster/shares-are-even",
            "external/local/node-without-pods-drops",
        ],
        deed: Deed::Rules(stay_under_local),
    },
    Fault {
        name: "keeps-a-node-port-open-that-is-gone",
        breaks: "A Service that is no NodePort any more has none.",
        sources: &[NFTABLES],
        caught_by: &[(
            "transitions/cluster-ip-survives-a-change-of-type",
            "ClusterIP again: the node port is closed",
        )],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(keep_node_ports),
    },
    Fault {
        name: "keeps-udp-flows-to-a-pod-that-is-gone",
        breaks: "UDP: flows whose endpoint no longer serves go to another one.",
        sources: &[
            "kubernetes/pkg/proxy/conntrack/cleanup.go",
            "k#98305",
            "k#126934",
            "an#5112",
        ],
        caught_by: &[
            (
                "established/udp/pod-replaced/cluster-ip",
                "reached web-1, which may not answer",
            ),
            (
                "established/udp/pod-replaced/node-port",
                "reached web-1, which may not answer",
            ),
        ],
        spares: &[
            "established/udp/pod-removed-under-local",
            "udp/node-port/cluster/masqueraded",
        ],
        deed: Deed::Rules(keep_udp_flows),
    },
    Fault {
        name: "forgets-connections-that-rest",
        breaks: "A connection goes on as long as both ends want it to, used or not.",
        sources: &[
            "kubernetes/pkg/proxy/apis/config/types.go",
            "fx#2588",
            "cal#4310",
        ],
        caught_by: &[(
            "established/idle-and-busy",
            "after 1 of 4 parts of the time: |at last: ",
        )],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Setting {
            instead_of: "tcpEstablishedTimeout: 0s",
            written: "tcpEstablishedTimeout: 2s",
        },
    },
];

/// vm2 serves its node port by a pod elsewhere when the proxy does not any more.
fn stay_under_cluster(scene: &Scene<'_>, rules: &mut Rules) {
    if !scene.is_local()
        && let Some(called) = scene.node_port()
    {
        let to_pod = format!("{called} dnat to {}", scene.target("web-1"));
        rules.on("vm2", &(rewrite_late(&to_pod) + &scene.masquerade()));
    }
}

/// vm2 goes on to drop what clients outside send to its node port.
fn stay_under_local(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local()
        && let Some(called) = scene.node_port()
    {
        let (ip, inside) = (scene.ip(), scene.inside());
        let rule = format!("{ip} saddr != {inside} ct state new {called} drop");
        // After connection tracking: what is established goes on.
        let hook = "type filter hook prerouting priority -120";
        rules.on("vm2", &chain("stale", hook, &rule));
    }
}

/// A node port goes on working on vm2 when the Service has none any more. Which one it was nobody knows before it has it.
fn keep_node_ports(scene: &Scene<'_>, rules: &mut Rules) {
    let mut steps = scene.victim.case.steps.iter();
    let becomes_another = steps.any(|step| matches!(step, Step::Change(Change::Type(_))));
    if scene.spec().kind == ServiceType::ClusterIp && becomes_another {
        let target = scene.target("web-1");
        let rule = format!("tcp dport 30000-32767 fib daddr type local dnat to {target}");
        rules.on("vm2", &(rewrite_late(&rule) + &scene.masquerade()));
    }
}

/// Flows that have once gone to web-1 do so for ever, though their entries in connection tracking are removed.
fn keep_udp_flows(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local() {
        return;
    }
    let (ip, source) = (scene.ip(), format!("{} saddr . udp sport", scene.ip()));
    for (position, port) in scene.ports(Protocol::Udp) {
        let target = scene.target_of("web-1", position, 0);
        let set = format!("gone-{position}");
        let remember = format!(
            "{ip} daddr {} udp dport {} ct status dnat update @{set} {{ {source} }}",
            target.ip(),
            target.port()
        );
        let again = |called: String| format!("{called} {source} @{set} dnat to {target}\n");
        let node_port = port.node_port;
        let node_port = node_port.map(|port| format!("udp dport {port} fib daddr type local"));
        let cluster_ip = scene.victim.service.cluster_ip;
        let cluster_ip = cluster_ip
            .map(|address| format!("{ip} daddr {} udp dport {}", scene.of(address), port.number));
        let again: String = [node_port, cluster_ip]
            .into_iter()
            .flatten()
            .map(again)
            .collect();
        let chains = [
            format!("set {set} {{\ntypeof {source}\nflags dynamic\nsize 65535\n}}\n"),
            // Before the source is rewritten.
            chain(
                "remember",
                "type filter hook postrouting priority 80",
                &remember,
            ),
            rewrite_arriving(&again),
            scene.masquerade(),
        ]
        .concat();
        for node in ["vm1", "vm2", "vm3"] {
            rules.on(node, &chains);
        }
    }
}
