//! Topology hints: endpoints that are meant for a zone or a node, under Cluster.
//!
//! vm1 and vm2 are in zone-1, vm3 is in zone-2. A proxy reads hints only; who gives them, and why,
//! is not its concern.

use onehop_harness::case::{Backend, Case, Change, Policy, Question, Service, Target};

use crate::story::{
    ADDRESSES, Address, NODES, STORY, client_on, dropped, from_node, from_pod_on, host, inside,
    kept_on, node_port, on, private, reaches, ready, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";

pub(crate) fn cases() -> Vec<Case> {
    [zones(), nodes(), limits()].concat()
}

/// Each pod of the story is meant for its own zone.
fn own_zones() -> Vec<Backend> {
    vec![
        Backend::ready("web-0").for_zone("zone-1"),
        Backend::ready("web-1").for_zone("zone-2"),
        Backend::ready("web-2").for_zone("zone-2"),
    ]
}

/// The pods that each node uses when all are meant for their own zones.
fn of_zone(node: &str) -> &'static [&'static str] {
    match node {
        "vm3" => &STORY[1..],
        _ => &STORY[..1],
    }
}

fn zones() -> Vec<Case> {
    vec![
        Case::new(
            "topology/zone/cluster-ip",
            "Where all pods have zone hints, pods and nodes reach by the ClusterIP those that are \
             meant for their zone.",
            Service::cluster_ip(),
            &STORY,
        )
        .backends(own_zones())
        .sources(&[TOPOLOGY, "KEP-2433"])
        .check(
            "one pod for zone-1, two for zone-2",
            inside(of_zone).into_iter().chain(NODES.map(|node| {
                reaches(
                    &host(node),
                    Target::ClusterIp,
                    from_node(node, of_zone(node)),
                )
            })),
        ),
        Case::new(
            "topology/zone/node-port",
            "Under external Cluster, each node gives outside clients to the pods that are meant \
             for its own zone.",
            Service::node_port(),
            &STORY,
        )
        .backends(own_zones())
        .sources(&[TOPOLOGY, "KEP-2433"])
        .check("one pod for zone-1, two for zone-2", outside(of_zone)),
        zone_by(ADDRESSES[0]),
        zone_by(ADDRESSES[1]),
        Case::new(
            "topology/zone/follow-the-hints",
            "Hints take effect when they come, when they change, and when they go.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&[TOPOLOGY, "KEP-2433"])
        .check("no hints", inside(|_| &STORY))
        .change(Change::Backends(own_zones()))
        .check("own zones", inside(of_zone))
        .change(Change::Backends(vec![
            Backend::ready("web-0").for_zone("zone-2"),
            Backend::ready("web-1").for_zone("zone-1"),
            Backend::ready("web-2")
                .for_zone("zone-1")
                .for_zone("zone-2"),
        ]))
        .check(
            "other zones, and one pod for both",
            inside(|node| match node {
                "vm3" => &["web-0", "web-2"],
                _ => &["web-1", "web-2"],
            }),
        )
        .change(Change::Backends(ready(&STORY)))
        .check("no hints again", inside(|_| &STORY)),
    ]
}

fn nodes() -> Vec<Case> {
    vec![
        Case::new(
            "topology/node/hints-win-over-zones",
            "Where all pods have node hints, a node uses those that are meant for it; one that \
             none is meant for goes by the zone hints.",
            Service::cluster_ip(),
            &STORY,
        )
        .backends(vec![
            Backend::ready("web-0").for_zone("zone-2").for_node("vm1"),
            Backend::ready("web-1").for_zone("zone-1").for_node("vm3"),
            Backend::ready("web-2").for_zone("zone-1").for_node("vm3"),
        ])
        .sources(&[TOPOLOGY, "KEP-3015"])
        .check(
            "node hints for vm1 and vm3, zone hints that say otherwise",
            inside(|node| match node {
                "vm1" => &["web-0"],
                _ => &["web-1", "web-2"],
            }),
        ),
        Case::new(
            "topology/node/not-for-this-node",
            "A node that no pod is meant for, by node or zone, uses all pods.",
            Service::node_port(),
            &STORY,
        )
        .backends(vec![
            Backend::ready("web-0").for_node("vm1"),
            Backend::ready("web-1").for_node("vm3"),
            Backend::ready("web-2").for_node("vm3"),
        ])
        .sources(&[TOPOLOGY, "KEP-3015"])
        .check(
            "node hints for vm1 and vm3",
            inside(own_or_all).into_iter().chain(outside(own_or_all)),
        ),
    ]
}

fn limits() -> Vec<Case> {
    let partial = vec![
        Backend::ready("web-0").for_zone("zone-1").for_node("vm1"),
        Backend::ready("web-1").for_zone("zone-2").for_node("vm3"),
        Backend::ready("web-2"),
    ];
    vec![
        Case::new(
            "topology/partial-hints-are-ignored",
            "One ready pod without a hint, and no hint counts; without that pod, they do.",
            Service::cluster_ip(),
            &STORY,
        )
        .backends(partial)
        .sources(&[TOPOLOGY])
        .check("web-2 without a hint", inside(|_| &STORY))
        .change(Change::Backends(vec![
            Backend::ready("web-0").for_zone("zone-1"),
            Backend::ready("web-1").for_zone("zone-2"),
            Backend::unready("web-2"),
        ]))
        .check(
            "web-2 is not ready",
            inside(|node| match node {
                "vm3" => &["web-1"],
                _ => &["web-0"],
            }),
        ),
        Case::new(
            "topology/no-pod-for-the-zone",
            "A node whose zone no pod is meant for uses all pods.",
            Service::cluster_ip(),
            &STORY,
        )
        .backends(
            STORY
                .map(|pod| Backend::ready(pod).for_zone("zone-2"))
                .to_vec(),
        )
        .sources(&[TOPOLOGY])
        .check("all for zone-2", inside(|_| &STORY))
        .change(Change::Backends(own_zones()))
        .check("own zones", inside(of_zone)),
        Case::new(
            "topology/local-ignores-hints",
            "Under Local, hints do not count: neither for outside clients, nor for a ClusterIP \
             under internal Local; the short-circuit of pods goes by them.",
            Service::node_port().external(Policy::Local),
            &STORY,
        )
        .backends(against_local())
        .sources(&[TOPOLOGY])
        .check(
            "each pod is meant for another zone",
            NODES
                .map(|node| match on(node) {
                    [] => dropped(&private(), node_port(node)),
                    pods => reaches(&private(), node_port(node), kept_on(node, pods)),
                })
                .into_iter()
                .chain(NODES.map(|node| {
                    reaches(
                        &client_on(node),
                        node_port(node),
                        from_pod_on(node, against(node)),
                    )
                })),
        ),
        Case::new(
            "topology/internal-local-ignores-hints",
            "Under internal Local, hints do not count on the ClusterIP; they do for outside \
             clients under external Cluster.",
            Service::node_port().internal(Policy::Local),
            &STORY,
        )
        .backends(against_local())
        .sources(&[TOPOLOGY, "KEP-2086"])
        .check(
            "each pod is meant for another zone",
            NODES
                .map(|node| match on(node) {
                    [] => dropped(&client_on(node), Target::ClusterIp),
                    pods => reaches(&client_on(node), Target::ClusterIp, from_pod_on(node, pods)),
                })
                .into_iter()
                .chain(outside(against)),
        ),
        Case::new(
            "topology/terminating-pods-have-no-hints",
            "When only terminating pods are left, hints do not count.",
            Service::cluster_ip(),
            &STORY,
        )
        .backends(own_zones())
        .sources(&[TOPOLOGY, "KEP-1669"])
        .check("all ready", inside(of_zone))
        .change(Change::Backends(vec![
            Backend::terminating("web-0").for_zone("zone-1"),
            Backend::terminating("web-1").for_zone("zone-2"),
        ]))
        .check("two terminating", inside(|_| &STORY[..2])),
    ]
}

/// Each pod is meant for the zone that it is not in.
fn against_local() -> Vec<Backend> {
    vec![
        Backend::ready("web-0").for_zone("zone-2"),
        Backend::ready("web-1").for_zone("zone-1"),
        Backend::ready("web-2").for_zone("zone-1"),
    ]
}

fn against(node: &str) -> &'static [&'static str] {
    match node {
        "vm3" => &STORY[..1],
        _ => &STORY[1..],
    }
}

fn own_or_all(node: &str) -> &'static [&'static str] {
    match on(node) {
        [] => &STORY,
        own => own,
    }
}

fn zone_by(address: Address) -> Case {
    Case::new(
        &format!("topology/zone/{}", address.name),
        &format!(
            "Under external Cluster, hints decide on {} as on node ports, for clients outside and for pods.",
            address.about
        ),
        (address.service)(),
        &STORY,
    )
    .backends(own_zones())
    .sources(&[TOPOLOGY, "KEP-2433"])
    .check("one pod for zone-1, two for zone-2", by_address(address))
}

/// Calls of an address by each node, from outside and by a pod of the node.
fn by_address(address: Address) -> impl Iterator<Item = Question> {
    NODES.into_iter().flat_map(move |node| {
        let pods = of_zone(node);
        let (outside, by, inside) = (address.outside, address.by, address.inside);
        [
            reaches(&outside(), by(node), spread_by(node, pods)),
            reaches(&client_on(node), inside(node), from_node(node, pods)),
        ]
    })
}

fn outside(pods: impl Fn(&str) -> &'static [&'static str]) -> [Question; 3] {
    NODES.map(|node| reaches(&private(), node_port(node), spread_by(node, pods(node))))
}
