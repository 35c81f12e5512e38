//! Which endpoints serve: ready, terminating and not serving ones, mixed, and in several slices.

use onehop_harness::case::{Backend, Case, Change, Policy, Port, Question, Reach, Service, Target};
use onehop_harness::world::World;

use crate::story::{
    ADDRESSES, Address, NODES, ON_VM2, STORY, client_on, dropped, from_node, from_pod_on, host,
    kept_on, node_port, private, reaches, ready, refused, spread_by, tcp,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const SLICES: &str = "kubernetes/pkg/proxy/endpointslicecache.go";
const KEP: &str = "KEP-1669";

const PORTS: [Port; 2] = [tcp("web", 80), tcp("admin", 8080)];

pub(crate) fn cases() -> Vec<Case> {
    [terminating(), not_serving(), slices(), by_every_address()].concat()
}

fn terminating() -> Vec<Case> {
    let local = Service::node_port().external(Policy::Local);
    vec![
        Case::new(
            "endpoints/local/terminating-here-ready-elsewhere",
            "Under Local, a node with only a terminating pod gives outside clients to it, and its \
             own pods and itself to the ready ones elsewhere.",
            local,
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check(
            "all ready",
            [kept("vm1", &["web-0"]), kept("vm3", &["web-1", "web-2"])],
        )
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::ready("web-1"),
            Backend::ready("web-2"),
        ]))
        .check(
            "the pod on vm1 is terminating",
            [
                kept("vm1", &["web-0"]),
                dropped(&private(), node_port("vm2")),
                kept("vm3", &["web-1", "web-2"]),
            ]
            .into_iter()
            .chain(in_cluster(&["web-1", "web-2"])),
        ),
        Case::new(
            "endpoints/local/terminating-only-elsewhere",
            "Under Local, a node without pods drops while others have only terminating ones, and \
             its own pods and itself reach those.",
            local,
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check(
            "all ready",
            [kept("vm1", &["web-0"]), kept("vm3", &["web-1", "web-2"])],
        )
        .change(Change::Backends(
            ["web-1", "web-2"].map(Backend::terminating).to_vec(),
        ))
        .check(
            "two terminating on vm3",
            [
                dropped(&private(), node_port("vm1")),
                dropped(&private(), node_port("vm2")),
                kept("vm3", &["web-1", "web-2"]),
            ]
            .into_iter()
            .chain(in_cluster(&["web-1", "web-2"])),
        ),
        Case::new(
            "endpoints/local/ready-beside-terminating",
            "Under Local, a node that has a ready pod gives nothing to a terminating one.",
            local,
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("all ready", [kept("vm3", &["web-1", "web-2"])])
        .change(Change::Backends(vec![
            Backend::ready("web-1"),
            Backend::terminating("web-2"),
        ]))
        .check(
            "one of two on vm3 is terminating",
            [
                kept("vm3", &["web-1"]),
                dropped(&private(), node_port("vm1")),
            ]
            .into_iter()
            .chain(in_cluster(&["web-1"])),
        ),
        Case::new(
            "endpoints/internal-local/terminating",
            "Under internal Local, a node with only terminating pods uses those, and one without \
             any drops, though others have ready ones.",
            Service::cluster_ip().internal(Policy::Local),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY, "KEP-2086"])
        .check("all ready", [inside("vm1", &["web-0"])])
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::ready("web-1"),
            Backend::terminating("web-2"),
        ]))
        .check(
            "terminating on vm1, both kinds on vm3",
            [
                inside("vm1", &["web-0"]),
                dropped(&client_on("vm2"), Target::ClusterIp),
                inside("vm3", &["web-1"]),
                reaches(
                    &host("vm1"),
                    Target::ClusterIp,
                    from_node("vm1", &["web-0"]),
                ),
            ],
        ),
        Case::new(
            "endpoints/cluster/terminating",
            "Under Cluster, ready pods alone serve, wherever they are; when none is left, the \
             terminating ones of all nodes do.",
            Service::node_port(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY, "c#19810", "c#37613"])
        .check("all ready", by_any(&STORY))
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::terminating("web-1"),
            Backend::ready(ON_VM2),
        ]))
        .check("one ready, on vm2", by_any(&[ON_VM2]))
        .change(Change::Backends(vec![
            Backend::terminating("web-0"),
            Backend::terminating("web-1"),
            Backend::finished(ON_VM2),
        ]))
        .check("two terminating", by_any(&["web-0", "web-1"])),
    ]
}

fn not_serving() -> Vec<Case> {
    vec![
        Case::new(
            "endpoints/cluster/ready-unless-said-otherwise",
            "A pod of whose conditions nothing is said is ready, and so is one that is published \
             as ready while it terminates; beside them, a terminating one gets nothing.",
            Service::node_port(),
            &STORY,
        )
        .backends(vec![
            Backend::unstated("web-0"),
            Backend::terminating("web-1"),
            Backend::published("web-2"),
        ])
        .sources(&[
            "kubernetes/staging/src/k8s.io/api/discovery/v1/types.go",
            SLICES,
        ])
        .check(
            "nothing said, terminating, published",
            by_any(&["web-0", "web-2"]),
        ),
        Case::new(
            "endpoints/local/ready-unless-said-otherwise",
            "Under Local, a pod of whose conditions nothing is said, and one that is published as \
             ready while it terminates, keep their nodes' traffic.",
            Service::node_port().external(Policy::Local),
            &STORY,
        )
        .backends(vec![
            Backend::unstated("web-0"),
            Backend::terminating("web-1"),
            Backend::published("web-2"),
        ])
        .sources(&[
            "kubernetes/staging/src/k8s.io/api/discovery/v1/types.go",
            SLICES,
        ])
        .check(
            "nothing said, terminating, published",
            [
                kept("vm1", &["web-0"]),
                dropped(&private(), node_port("vm2")),
                kept("vm3", &["web-2"]),
            ],
        ),
        Case::new(
            "endpoints/cluster/not-serving-is-never-used",
            "Pods that do not serve get nothing, terminating or not, beside others and alone: then \
             the Service refuses, as without any pod.",
            Service::node_port(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("all ready", by_any(&STORY))
        .change(Change::Backends(vec![
            Backend::unready("web-0"),
            Backend::finished("web-1"),
            Backend::ready("web-2"),
        ]))
        .check("one ready", by_any(&["web-2"]))
        .change(Change::Backends(vec![
            Backend::unready("web-0"),
            Backend::finished("web-1"),
        ]))
        .check("none serves", everyone_refused()),
        Case::new(
            "endpoints/local/not-serving-is-never-used",
            "Under Local, a node whose pods do not serve drops while others serve, and refuses \
             when none does.",
            Service::node_port().external(Policy::Local),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check(
            "all ready",
            [kept("vm1", &["web-0"]), kept("vm3", &["web-1", "web-2"])],
        )
        .change(Change::Backends(vec![
            Backend::finished("web-0"),
            Backend::unready("web-1"),
            Backend::ready("web-2"),
        ]))
        .check(
            "one ready, on vm3",
            [
                dropped(&private(), node_port("vm1")),
                kept("vm3", &["web-2"]),
            ],
        )
        .change(Change::Backends(vec![
            Backend::finished("web-0"),
            Backend::unready("web-1"),
        ]))
        .check("none serves", everyone_refused()),
        Case::new(
            "endpoints/internal-local/not-serving-is-never-used",
            "Under internal Local, a node whose pods do not serve drops while others serve.",
            Service::cluster_ip().internal(Policy::Local),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY, "KEP-2086"])
        .check("all ready", [inside("vm1", &["web-0"])])
        .change(Change::Backends(vec![
            Backend::finished("web-0"),
            Backend::ready("web-1"),
            Backend::unready("web-2"),
        ]))
        .check(
            "one ready, on vm3",
            [
                dropped(&client_on("vm1"), Target::ClusterIp),
                inside("vm3", &["web-1"]),
            ],
        ),
    ]
}

fn slices() -> Vec<Case> {
    let split = || {
        vec![
            Backend::ready("web-0"),
            Backend::ready("web-1").in_slice(1),
            Backend::ready("web-2").in_slice(1),
            Backend::ready(ON_VM2).in_slice(2),
        ]
    };
    vec![
        Case::new(
            "endpoints/slices/merged",
            "The pods of several EndpointSlices serve together, each on the port that its own \
             slice names; those of a slice that is removed serve no longer.",
            Service::node_port(),
            &STORY,
        )
        .backends(split())
        .sources(&[SLICES])
        .check("three slices", by_any(&["web-0", "web-1", "web-2", ON_VM2]))
        .change(Change::Backends(vec![
            Backend::ready("web-0"),
            Backend::ready(ON_VM2).in_slice(2),
        ]))
        .check("the second is gone", by_any(&["web-0", ON_VM2]))
        .change(Change::Backends(split()))
        .check("it is back", by_any(&["web-0", "web-1", "web-2", ON_VM2])),
        Case::new(
            "endpoints/slices/local",
            "Under Local, a node's pods count in whichever slice they are.",
            Service::node_port().external(Policy::Local),
            &STORY,
        )
        .backends(split())
        .sources(&[SLICES])
        .check(
            "three slices",
            [
                kept("vm1", &["web-0"]),
                kept("vm2", &[ON_VM2]),
                kept("vm3", &["web-1", "web-2"]),
            ],
        )
        .change(Change::Backends(ready(&["web-0"])))
        .check(
            "one slice",
            [
                kept("vm1", &["web-0"]),
                dropped(&private(), node_port("vm3")),
            ],
        ),
        Case::new(
            "endpoints/ports/each-its-own",
            "Each port of a Service leads to its own target port, by every address, also where \
             slices give its name different numbers.",
            Service::node_port().ports(&PORTS),
            &STORY,
        )
        .backends(vec![
            Backend::ready("web-0"),
            Backend::ready("web-1"),
            Backend::ready("web-2").in_slice(1),
        ])
        .sources(&[SLICES, "kubernetes/pkg/proxy/servicechangetracker.go"])
        .check(
            "two ports, two slices",
            PORTS.iter().flat_map(|port| {
                [
                    inside("vm2", &STORY).on_port(port.name),
                    by("vm2", &STORY).on_port(port.name),
                ]
            }),
        )
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            PORTS.iter().flat_map(|port| {
                [
                    refused(&client_on("vm2"), Target::ClusterIp).on_port(port.name),
                    refused(&private(), node_port("vm2")).on_port(port.name),
                ]
            }),
        ),
    ]
}

/// Endpoint states decide on external and load-balancer addresses as on node ports, which the cases above go through one
/// by one.
fn by_every_address() -> Vec<Case> {
    let mixed = || {
        vec![
            Backend::terminating_unstated("web-0"),
            Backend::ready("web-1"),
            Backend::ready("web-2"),
        ]
    };
    let ending = || ["web-0", "web-1"].map(Backend::terminating).to_vec();
    let over = || vec![Backend::finished("web-0"), Backend::unready("web-1")];
    let each = ADDRESSES
        .into_iter()
        .flat_map(|address| [Policy::Cluster, Policy::Local].map(|policy| (address, policy)));
    each.map(|(address, policy)| {
        let (policy_name, claim) = match policy {
            Policy::Cluster => (
                "cluster",
                "Under Cluster, ready pods alone serve, then terminating ones, and without either everybody is refused",
            ),
            Policy::Local => (
                "local",
                "Under Local, clients outside get the entry node's own pods, ready or else terminating, or are dropped, pods \
                 and nodes get those of all, and without any everybody is refused",
            ),
        };
        Case::new(
            &format!("endpoints/{policy_name}/by-{}", address.name),
            &format!("{claim}, on {} too.", address.about),
            (address.service)().external(policy),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY, "kubernetes/staging/src/k8s.io/api/discovery/v1/types.go"])
        .check("all ready", address.served(policy, &STORY, &STORY))
        .change(Change::Backends(mixed()))
        .check(
            "the pod on vm1 is terminating, and nothing is said of its serving",
            address.served(policy, &["web-1", "web-2"], &STORY),
        )
        .change(Change::Backends(ending()))
        .check(
            "only terminating ones, on vm1 and vm3",
            address.served(policy, &["web-0", "web-1"], &["web-0", "web-1"]),
        )
        .change(Change::Backends(over()))
        .check("none serves", address.refused())
    })
    .collect()
}

impl Address {
    /// What becomes of calls by each node where these pods serve the cluster, and those their own nodes.
    fn served(self, policy: Policy, pods: &[&str], own: &[&str]) -> Vec<Question> {
        let world = World::story();
        let is_on = |pod: &str, node: &str| world.pod(pod).is_some_and(|pod| pod.node == node);
        let questions = NODES.into_iter().flat_map(|node| {
            let own: Vec<&str> = own.iter().copied().filter(|pod| is_on(pod, node)).collect();
            let outside = match (policy, &own[..]) {
                (Policy::Cluster, _) => self.answers(node, spread_by(node, pods)),
                (Policy::Local, []) => dropped(&(self.outside)(), (self.by)(node)),
                (Policy::Local, own) => self.answers(node, kept_on(node, own)),
            };
            let from_pods = match policy {
                Policy::Cluster => from_node(node, pods),
                Policy::Local => from_pod_on(node, pods),
            };
            let to = (self.inside)(node);
            [
                outside,
                reaches(&client_on(node), to.clone(), from_pods),
                reaches(&host(node), to, from_node(node, pods)),
            ]
        });
        questions.collect()
    }

    fn answers(self, node: &str, reach: Reach) -> Question {
        reaches(&(self.outside)(), (self.by)(node), reach)
    }

    /// Nodes that refuse themselves are a feature of its own.
    fn refused(self) -> impl Iterator<Item = Question> {
        NODES.into_iter().flat_map(move |node| {
            [
                refused(&(self.outside)(), (self.by)(node)),
                refused(&client_on(node), (self.inside)(node)),
            ]
        })
    }
}

/// From outside, the source kept.
fn kept(node: &str, pods: &[&str]) -> Question {
    reaches(&private(), node_port(node), kept_on(node, pods))
}

/// From outside under Cluster.
fn by(node: &str, pods: &[&str]) -> Question {
    reaches(&private(), node_port(node), spread_by(node, pods))
}

fn by_any(pods: &[&str]) -> [Question; 3] {
    NODES.map(|node| by(node, pods))
}

fn inside(node: &str, pods: &[&str]) -> Question {
    reaches(&client_on(node), Target::ClusterIp, from_pod_on(node, pods))
}

/// What pods and nodes see of the node ports of their own nodes under Local.
fn in_cluster(pods: &'static [&'static str]) -> impl Iterator<Item = Question> {
    let from_pods =
        NODES.map(|node| reaches(&client_on(node), node_port(node), from_pod_on(node, pods)));
    let from_nodes = NODES.map(|node| reaches(&host(node), node_port(node), from_node(node, pods)));
    from_pods.into_iter().chain(from_nodes)
}

fn everyone_refused() -> impl Iterator<Item = Question> {
    let outside = NODES.map(|node| refused(&private(), node_port(node)));
    let inside = NODES.map(|node| refused(&client_on(node), Target::ClusterIp));
    outside.into_iter().chain(inside)
}
