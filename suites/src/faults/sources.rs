//! Faults of addresses: whose a backend sees, who may call, and by how many hops.

use onehop_harness::world::{CLIENT_PUBLIC, Family};

use super::rules::{Rules, filter_arriving, rewrite_leaving};
use super::scene::Scene;
use super::{Deed, Fault, NFTABLES};

/// Hosts of the lab send packets with no higher TTL.
const HIGHEST_TTL: u8 = 64;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "masquerades-on-vm3-only",
        breaks: "Under Local, no node of all hides its clients.",
        sources: &[NFTABLES, "c#9284", "k#62537"],
        caught_by: &[
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
        spares: &[
            "external/cluster/client-ip-lost",
            "internal/cluster/pod-reaches-all",
        ],
        deed: Deed::Rules(masquerade_on_vm3),
    },
    Fault {
        name: "masquerades-with-an-address-of-nobody",
        breaks: "A client that is hidden is hidden behind the node.",
        sources: &[NFTABLES],
        caught_by: &[
            (
                "external/cluster/client-ip-lost",
                "source external-ip instead of the entry node's",
            ),
            (
                "external-ip/cluster/every-node-answers",
                "source external-ip instead of the entry node's",
            ),
            (
                "external/cluster/source-on-the-entry-node",
                "by no value of local-backend-source: source external-ip",
            ),
        ],
        spares: &["external/local/client-ip-kept"],
        deed: Deed::Rules(masquerade_wrongly),
    },
    Fault {
        name: "masquerades-nodes-with-an-address-of-nobody",
        breaks: "A pod that is called by its own node sees an address of the node.",
        sources: &[NFTABLES],
        caught_by: &[
            (
                "external/cluster/node-client-source",
                "by no value of node-client-source: source external-ip",
            ),
            (
                "external/local/node-client-source",
                "by no value of node-client-source: source external-ip",
            ),
            (
                "external/local/node-client-reaches-all",
                "source external-ip",
            ),
            ("external/cluster/localhost", "source external-ip"),
            ("external/local/localhost", "source external-ip"),
        ],
        spares: &["external/cluster/client-ip-lost"],
        deed: Deed::Rules(masquerade_nodes_wrongly),
    },
    Fault {
        name: "masquerades-no-hairpin",
        breaks: "A pod that is given itself sees its node.",
        sources: &[NFTABLES, "k#134884", "kube-ovn#4457"],
        caught_by: &[
            ("hairpin/cluster-ip", "pod(web-0) to cluster-ip"),
            ("hairpin/external-addresses-under-local", "pod(web-0) to "),
            ("hairpin/among-others", "pod(web-0) to cluster-ip"),
        ],
        spares: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Rules(no_hairpins),
    },
    Fault {
        name: "costs-a-hop-on-vm3",
        breaks: "A pod on the entry node is one hop away, and no more.",
        sources: &[NFTABLES],
        caught_by: &[
            ("external/local/client-ip-kept", "+1 hops instead of +0"),
            (
                "external/cluster/remote-pod-costs-one-hop",
                "+2 hops instead of +1",
            ),
            (
                "udp/node-port/local/client-ip-kept",
                "+1 hops instead of +0",
            ),
            (
                "external/cluster/pod-client-is-masqueraded",
                "+1 hops instead of +0",
            ),
            (
                "load-balancer/proxy/cluster/client-ip-lost",
                "+1 hops instead of +0",
            ),
            (
                "load-balancer/proxy/cluster/shares-are-even",
                "+1 hops instead of +0",
            ),
            (
                "load-balancer/vip/cluster/every-node-answers",
                "+1 hops instead of +0",
            ),
            ("topology/zone/load-balancer", "+1 hops instead of +0"),
        ],
        spares: &["external/local/node-without-pods-drops"],
        deed: Deed::Rules(detour),
    },
    Fault {
        name: "ignores-source-ranges",
        breaks: "The load-balancer address is closed to who is in no source range.",
        sources: &[NFTABLES],
        caught_by: &[
            ("source-ranges/outside-clients", ", not dropped"),
            ("source-ranges/changed", "private allowed: "),
            ("source-ranges/several", ", not dropped"),
        ],
        spares: &[
            "load-balancer/vip/cluster/client-ip-lost",
            "external/cluster/client-ip-lost",
        ],
        deed: Deed::Emptied(&["firewall-check"]),
    },
    Fault {
        name: "applies-source-ranges-to-node-ports",
        breaks: "Source ranges restrict the load-balancer address, and no other.",
        sources: &[NFTABLES, "c#42334"],
        caught_by: &[
            ("source-ranges/no-other-address-is-restricted", "dropped"),
            ("source-ranges/node-ports-under-local", "dropped"),
        ],
        spares: &["source-ranges/outside-clients"],
        deed: Deed::Rules(ranges_on_node_ports),
    },
    Fault {
        name: "masquerades-pods",
        breaks: "A pod that calls a ClusterIP is not hidden.",
        sources: &[NFTABLES],
        caught_by: &[
            (
                "internal/cluster/pod-reaches-all",
                "instead of the caller's own",
            ),
            ("scope/no-node-ports/cluster", "instead of the caller's own"),
        ],
        spares: &["external/cluster/client-ip-lost"],
        deed: Deed::Setting {
            instead_of: "minSyncPeriod: 10ms",
            written: "minSyncPeriod: 10ms\n  masqueradeAll: true",
        },
    },
    Fault {
        name: "has-node-ports-on-every-address",
        breaks: "Node ports and health check ports are open on the addresses of nodePortAddresses, and on no other.",
        sources: &[NFTABLES, "KEP-3866", "k#82163"],
        caught_by: &[
            ("node-port-addresses/cluster", ", not refused"),
            ("node-port-addresses/health-check-port", "other address"),
        ],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Setting {
            instead_of: "nodePortAddresses: [",
            written: r#"nodePortAddresses: ["0.0.0.0/0", "::/0"]"#,
        },
    },
    Fault {
        name: "lets-invalid-packets-pass",
        breaks: "What connection tracking finds invalid never reaches a caller with the backend's own address.",
        sources: &[NFTABLES, "k#74839", "k#122663"],
        caught_by: &[(
            "invalid-packets/out-of-window/cluster",
            "a connection is open: ",
        )],
        spares: &["internal/cluster/pod-reaches-all"],
        deed: Deed::Setting {
            instead_of: "tcpBeLiberal: true",
            written: "tcpBeLiberal: false",
        },
    },
];

/// The source of a client outside is lost on one node of three.
fn masquerade_on_vm3(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local() {
        rules.on("vm3", &scene.masquerade());
    }
}

/// Every node hides clients behind an address that the network sends to it and that nobody has.
fn masquerade_wrongly(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.is_local() {
        return;
    }
    let world = scene.victim.lab.world();
    for node in ["vm1", "vm2", "vm3"] {
        let own = world.node(node).expect("in the story").external_cidrs;
        let last = own[usize::from(scene.family == Family::V6)].broadcast();
        rules.on(
            node,
            &rewrite_leaving(&format!(
                "{} saddr != {} ct status dnat {} snat to {last}",
                scene.ip(),
                scene.inside(),
                scene.rewritten()
            )),
        );
    }
}

/// Nodes hide themselves behind an address that the network sends to them and that nobody has.
fn masquerade_nodes_wrongly(scene: &Scene<'_>, rules: &mut Rules) {
    for node in ["vm1", "vm2", "vm3"] {
        let own = scene.victim.lab.world().node(node).expect("in the story");
        let last = own.external_cidrs[usize::from(scene.family == Family::V6)].broadcast();
        let called = format!(
            "{} saddr {} ct status dnat",
            scene.ip(),
            scene.of(own.address)
        );
        let rule = format!("{called} {} snat to {last}", scene.rewritten());
        rules.on(node, &rewrite_leaving(&rule));
    }
}

/// On vm1, web-0 is given to itself with its own address: the proxy masquerades nothing whose
/// source somebody has chosen before.
fn no_hairpins(scene: &Scene<'_>, rules: &mut Rules) {
    let (ip, own) = (scene.ip(), scene.target("web-0").ip());
    let itself = format!("{ip} saddr {own} {ip} daddr {own}");
    let rule = format!("{itself} {} snat to {own}", scene.rewritten());
    rules.on("vm1", &rewrite_leaving(&rule));
}

/// What vm3 has rewritten has come over one router more than there is.
fn detour(scene: &Scene<'_>, rules: &mut Rules) {
    let ttl = match scene.family {
        Family::V4 => "ip ttl",
        Family::V6 => "ip6 hoplimit",
    };
    // nft does not subtract. From the lowest on, so that no packet meets two of them.
    let less = (2..=HIGHEST_TTL).map(|before| format!("{ttl} {before} {ttl} set {}\n", before - 1));
    let less: String = less.collect();
    let which = format!("ct direction original ct status dnat {}", scene.rewritten());
    let chains = format!(
        "chain less {{\n{less}}}\n\
         chain detour {{\ntype filter hook postrouting priority -150;\n{which} jump less\n}}\n"
    );
    rules.on("vm3", &chains);
}

/// The node ports are as closed to the public client as the load-balancer address.
fn ranges_on_node_ports(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().source_ranges.is_empty() {
        return;
    }
    let Some(called) = scene.node_port() else {
        return;
    };
    let world = scene.victim.lab.world();
    let public = world.client(CLIENT_PUBLIC).expect("in the story");
    let rule = format!(
        "{} saddr {} {called} drop",
        scene.ip(),
        scene.of(public.address)
    );
    for node in ["vm1", "vm2", "vm3"] {
        rules.on(node, &filter_arriving(&rule));
    }
}
