//! Faults of which endpoints serve, and by which ports.

use onehop_harness::world::Protocol;

use super::rules::{Rules, rewrite_arriving, rewrite_leaving};
use super::scene::Scene;
use super::{Deed, Fault, SLICES, TOPOLOGY};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "uses-terminating-pods-beside-ready-ones",
        breaks: "While any endpoint is ready, terminating ones get nothing.",
        sources: &[TOPOLOGY, "KEP-1669"],
        caught_by: &[
            (
                "endpoints/local/ready-beside-terminating",
                "one of two on vm3 is terminating: ",
            ),
            ("endpoints/local/not-serving-is-never-used", "none serves: "),
        ],
        spares: &["external/local/client-ip-kept"],
        deed: Deed::Rules(use_web_2),
    },
    Fault {
        name: "keeps-a-slice-that-is-gone",
        breaks: "The endpoints of an EndpointSlice that is gone serve no longer.",
        sources: &[SLICES],
        caught_by: &[(
            "endpoints/slices/merged",
            "the second is gone: external(client-private) to node-port@vm2",
        )],
        spares: &["external/local/shares-on-a-node-are-even"],
        deed: Deed::Rules(keep_slice),
    },
    Fault {
        name: "takes-one-port-for-another",
        breaks: "Each port of a Service leads to its own target port.",
        sources: &[SLICES],
        caught_by: &[(
            "endpoints/ports/each-its-own",
            "reached a backend of another Service or port",
        )],
        spares: &["endpoints/slices/merged"],
        deed: Deed::Rules(wrong_target_port),
    },
];

/// vm3 gives half of the calls of its node port to web-2, whatever state that is in.
fn use_web_2(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.has_backend(|backend| !backend.ready || backend.terminating)
        && let Some(called) = scene.node_port()
    {
        let rule = format!(
            "{called} numgen random mod 2 == 0 dnat to {}",
            scene.target("web-2")
        );
        // What stays on the node keeps its source, as under Local.
        rules.on("vm3", &rewrite_arriving(&rule));
    }
}

/// vm2 goes on to give calls of its node port to a pod of the second slice.
fn keep_slice(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.has_backend(|backend| backend.slice == 1)
        && let Some(called) = scene.node_port()
    {
        let target = scene.target_of("web-1", 0, 1);
        let rule = format!("{called} numgen random mod 2 == 0 dnat to {target}");
        let hidden = rewrite_leaving(&format!(
            "{} saddr != {} {} dport {} masquerade",
            scene.ip(),
            scene.inside(),
            scene.protocol(),
            target.port()
        ));
        rules.on("vm2", &(rewrite_arriving(&rule) + &hidden));
    }
}

/// The node port of a Service's second port leads to the target port of the first on vm2.
fn wrong_target_port(scene: &Scene<'_>, rules: &mut Rules) {
    let ports = scene.ports(Protocol::Tcp);
    let node_ports: Vec<_> = ports.filter_map(|(_, port)| port.node_port).collect();
    if let [_, second, ..] = node_ports[..] {
        let target = scene.target("web-0");
        let rule = format!("tcp dport {second} fib daddr type local dnat to {target}");
        rules.on("vm2", &(rewrite_arriving(&rule) + &scene.masquerade()));
    }
}
