//! `externalTrafficPolicy` on node ports.

use onehop_harness::case::{Case, Change, Place, Policy, Question, Service, Target, Variation};
use onehop_harness::world::Family;

use crate::story::{
    NODES, STORY, client_on, dropped, from_node, from_pod_on, host, kept_on, node_port, on,
    private, public, reaches, refused, spread_by, varies,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_LB: &str = "kubernetes/test/e2e/network/loadbalancer.go";
const IPTABLES: &str = "kubernetes/pkg/proxy/iptables/proxier.go";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";

fn cluster() -> Service {
    Service::node_port()
}

fn local() -> Service {
    Service::node_port().external(Policy::Local)
}

pub(crate) fn cases() -> Vec<Case> {
    [
        cluster_cases(),
        local_cases(),
        in_cluster_cases(),
        differing_cases(),
    ]
    .concat()
}

fn cluster_cases() -> Vec<Case> {
    vec![
        Case::new(
            "external/cluster/every-node-answers",
            "Under Cluster, the node port of every node answers, from all three pods.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check(
            "pods 1-0-2",
            from_each_node(&private(), |node| spread_by(node, &STORY)),
        ),
        Case::new(
            "external/cluster/client-ip-lost",
            "Under Cluster, a pod on another node sees the entry node instead of the client; one on the entry node may see either.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_LB])
        .check(
            "pods 1-0-2",
            from_each_node(&public(), |node| spread_by(node, &STORY)),
        ),
        Case::new(
            "external/cluster/remote-pod-costs-one-hop",
            "Under Cluster, a pod on another node costs one extra hop, one on the entry node none.",
            cluster(),
            &["web-0"],
        )
        .sources(&[NFTABLES])
        .check(
            "one pod, on vm1",
            from_each_node(&private(), |node| spread_by(node, &["web-0"])),
        ),
        Case::new(
            "external/cluster/shares-are-even",
            "Under Cluster, each pod gets the same share, whichever node is called.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            from_each_node(&private(), |node| spread_by(node, &STORY).judged()),
        ),
        Case::new(
            "external/cluster/reply-returns-by-the-entry-node",
            "Under Cluster, the reply returns through the entry node, which undoes both rewrites; \
             the client sees answers only from the address that it called.",
            cluster(),
            on("vm3"),
        )
        .sources(&[NFTABLES])
        .check(
            "pods on vm3 only, entered by vm2",
            [
                reaches(&private(), node_port("vm2"), spread_by("vm2", on("vm3"))),
                reaches(&public(), node_port("vm2"), spread_by("vm2", on("vm3"))),
            ],
        ),
        Case::new(
            "external/cluster/no-endpoint-refused",
            "Under Cluster, a node port without any endpoint is refused on every node.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check(
            "pods 1-0-2",
            from_each_node(&private(), |node| spread_by(node, &STORY)),
        )
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            NODES.map(|node| refused(&private(), node_port(node))),
        ),
    ]
}

fn local_cases() -> Vec<Case> {
    vec![
        Case::new(
            "external/local/client-ip-kept",
            "Under Local, the pod sees the client's own address.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY, E2E_LB, "c#9284"])
        .check("pods 1-0-2", own_pods_or_drop(&private())),
        Case::new(
            "external/local/public-client-ip-kept",
            "Under Local, a client outside private address space keeps its address too.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, "Azure/AKS#785"])
        .check("pods 1-0-2", own_pods_or_drop(&public())),
        Case::new(
            "external/local/only-pods-of-the-entry-node",
            "Under Local, a node answers from its own pods only, and never over an extra hop.",
            local(),
            &["web-0", "web-1"],
        )
        .sources(&[TOPOLOGY, "k#66062"])
        .check(
            "one pod each on vm1 and vm3",
            [
                reaches(&private(), node_port("vm1"), kept_on("vm1", &["web-0"])),
                reaches(&private(), node_port("vm3"), kept_on("vm3", &["web-1"])),
                dropped(&private(), node_port("vm2")),
            ],
        ),
        Case::new(
            "external/local/shares-on-a-node-are-even",
            "Under Local, the two pods of a node get the same share.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "two pods on vm3",
            [reaches(&private(), node_port("vm3"), kept_on("vm3", on("vm3")).judged())],
        ),
        Case::new(
            "external/local/node-without-pods-drops",
            "Under Local, a node without pods drops while pods exist elsewhere; it does not refuse.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "no pod on vm2",
            [
                dropped(&private(), node_port("vm2")),
                dropped(&public(), node_port("vm2")),
                reaches(&private(), node_port("vm1"), kept_on("vm1", on("vm1"))),
            ],
        ),
        Case::new(
            "external/local/no-endpoint-refused",
            "Under Local, a node port without an endpoint anywhere is refused on every node.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("pods 1-0-2", own_pods_or_drop(&private()))
        .change(Change::Backends(Vec::new()))
        .check("no pod", NODES.map(|node| refused(&private(), node_port(node)))),
    ]
}

fn in_cluster_cases() -> Vec<Case> {
    vec![
        Case::new(
            "external/cluster/pod-client-is-masqueraded",
            "Under Cluster, a pod that calls the node port of its own node reaches all pods, \
             masqueraded as that node; whether also before a pod of that node, implementations \
             differ.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&client_on(node), node_port(node), from_node(node, &STORY))),
        ),
        Case::new(
            "external/local/pod-client-short-circuits",
            "Under Local, a pod that calls the node port of its own node reaches all pods with its \
             own address: Local restricts outside traffic only.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&client_on(node), node_port(node), from_pod_on(node, &STORY))),
        ),
        Case::new(
            "external/local/node-client-reaches-all",
            "Under Local, a node that calls its own node port reaches all pods.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            NODES.map(|node| reaches(&host(node), node_port(node), from_node(node, &STORY))),
        ),
        Case::new(
            "external/local/other-nodes-are-outside",
            "Under Local, a node that calls the node port of another one is outside: it reaches \
             that node's own pods, which see its address, or is dropped.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check("pods 1-0-2", from_elsewhere(host)),
        Case::new(
            "external/local/pods-of-other-nodes-are-outside",
            "Under Local, a pod that calls the node port of another node is outside: it reaches \
             that node's own pods, or is dropped, and never hangs half open.",
            local(),
            &STORY,
        )
        .sources(&[TOPOLOGY, "k#74383"])
        .check("pods 1-0-2", from_elsewhere(client_on)),
    ]
}

/// What implementations do in different ways, all of them right.
fn differing_cases() -> Vec<Case> {
    let one = || spread_by("vm1", &["web-0"]);
    let kept = Case::new(
        "external/cluster/source-on-the-entry-node",
        "Under Cluster, a pod on the entry node sees that node or the client; which is measured. A pod elsewhere sees \
         the entry node in any case.",
        cluster(),
        &["web-0"],
    )
    .sources(&[NFTABLES, IPTABLES])
    .check(
        "one pod, on vm1",
        [
            varies(&private(), node_port("vm1"), Variation::LocalBackendSource, &one()),
            reaches(&private(), node_port("vm2"), spread_by("vm2", &["web-0"])),
        ],
    );
    let policies = [("cluster", cluster()), ("local", local())];
    let sources = policies.map(|(policy, service)| {
        Case::new(
            &format!("external/{policy}/node-client-source"),
            "A pod that is called by its own node, by a node port of that node, sees an address of the node; which one \
             is measured.",
            service,
            &["web-0"],
        )
        .sources(&[NFTABLES, IPTABLES])
        .check(
            "one pod, on vm1",
            [varies(
                &host("vm1"),
                node_port("vm1"),
                Variation::NodeClientSource,
                &from_node("vm1", &["web-0"]),
            )],
        )
    });
    let localhost = policies.map(|(policy, service)| {
        Case::new(
            &format!("external/{policy}/localhost"),
            "A node that calls a node port on its loopback address is answered by the pods of the Service, or finds the \
             port closed; which is measured. On its own address it is answered.",
            service,
            &STORY,
        )
        .sources(&[IPTABLES, NFTABLES, "k#57922"])
        .check(
            "pods 1-0-2",
            NODES.into_iter().flat_map(|node| {
                let all = from_node(node, &STORY);
                [
                    varies(&host(node), Target::Localhost, Variation::LocalhostNodePort, &all)
                        .only(Family::V4),
                    reaches(&host(node), node_port(node), all),
                ]
            }),
        )
    });
    [kept].into_iter().chain(sources).chain(localhost).collect()
}

/// What pods or nodes see of the node ports of the nodes next to their own, under Local.
fn from_elsewhere(from: impl Fn(&str) -> Place) -> Vec<Question> {
    let pairs = NODES.into_iter().flat_map(|a| NODES.map(|b| (a, b)));
    let pairs = pairs.filter(|(a, b)| a != b);
    pairs
        .map(|(caller, node)| match on(node) {
            [] => dropped(&from(caller), node_port(node)),
            pods => reaches(&from(caller), node_port(node), kept_on(node, pods)),
        })
        .collect()
}

/// What a client outside sees of each node port under Cluster.
fn from_each_node(
    from: &Place,
    expect: impl Fn(&str) -> onehop_harness::case::Reach,
) -> [Question; 3] {
    NODES.map(|node| reaches(from, node_port(node), expect(node)))
}

/// What a client outside sees of each node port under Cluster, with the pods of the story.
pub(crate) fn spread_over_all() -> [Question; 3] {
    spread_over(&STORY)
}

/// What a client outside sees of each node port under Cluster, with these pods.
pub(crate) fn spread_over(pods: &[&str]) -> [Question; 3] {
    from_each_node(&private(), |node| spread_by(node, pods))
}

/// What a client outside sees of each node port under Local.
pub(crate) fn own_pods_or_drop(from: &Place) -> [Question; 3] {
    NODES.map(|node| match on(node) {
        [] => dropped(from, node_port(node)),
        pods => reaches(from, node_port(node), kept_on(node, pods)),
    })
}
