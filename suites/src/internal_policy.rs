//! `internalTrafficPolicy` on ClusterIPs, and its independence of the external policy.

use onehop_harness::case::{Case, Change, Place, Policy, Question, Reach, Service, Target};

use crate::external_policy::own_pods_or_drop;
use crate::story::{
    NODES, STORY, client_on, dropped, from_node, from_pod_on, host, node_port, on, private,
    reaches, refused, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const KEP: &str = "KEP-2086";

fn cluster() -> Service {
    Service::cluster_ip()
}

fn local() -> Service {
    Service::cluster_ip().internal(Policy::Local)
}

pub(crate) fn cases() -> Vec<Case> {
    [cluster_cases(), local_cases(), independence_cases()].concat()
}

fn cluster_cases() -> Vec<Case> {
    vec![
        Case::new(
            "internal/cluster/pod-reaches-all",
            "Under Cluster, a pod on any node reaches all three pods, with its own address.",
            cluster(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("pods 1-0-2", from_pods(|node| from_pod_on(node, &STORY))),
        Case::new(
            "internal/cluster/node-reaches-all",
            "Under Cluster, a process on any node reaches all three pods.",
            cluster(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("pods 1-0-2", from_nodes(|node| from_node(node, &STORY))),
        Case::new(
            "internal/cluster/shares-are-even",
            "Under Cluster, each pod gets the same share from a pod on any node.",
            cluster(),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods 1-0-2",
            from_pods(|node| from_pod_on(node, &STORY).judged()),
        ),
        Case::new(
            "internal/cluster/no-endpoint-refused",
            "Under Cluster, a ClusterIP without endpoints is refused, to pods and nodes.",
            cluster(),
            &STORY,
        )
        .sources(&[TOPOLOGY, NFTABLES])
        .check("pods 1-0-2", from_pods(|node| from_pod_on(node, &STORY)))
        .change(Change::Backends(Vec::new()))
        .check("no pod", everyone_refused()),
    ]
}

fn local_cases() -> Vec<Case> {
    vec![
        Case::new(
            "internal/local/pod-reaches-its-own-node",
            "Under Local, a pod on vm1 reaches only vm1's pod, on vm3 its two, on vm2 it is dropped.",
            local(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY, "cal#8255"])
        .check("pods 1-0-2", own_or_drop(client_on, from_pod_on)),
        Case::new(
            "internal/local/node-reaches-its-own-pods",
            "Under Local, a process on a node reaches only that node's pods, or is dropped.",
            local(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("pods 1-0-2", own_or_drop(host, from_node)),
        Case::new(
            "internal/local/shares-on-a-node-are-even",
            "Under Local, the two pods of vm3 get the same share of the pods there.",
            local(),
            &STORY,
        )
        .sources(&[NFTABLES, TOPOLOGY])
        .check(
            "two pods on vm3",
            [reaches(
                &client_on("vm3"),
                Target::ClusterIp,
                from_pod_on("vm3", on("vm3")).judged(),
            )],
        ),
        Case::new(
            "internal/local/no-endpoint-refused",
            "Under Local, a ClusterIP without an endpoint anywhere is refused, not dropped.",
            local(),
            &STORY,
        )
        .sources(&[KEP, TOPOLOGY])
        .check("pods 1-0-2", own_or_drop(client_on, from_pod_on))
        .change(Change::Backends(Vec::new()))
        .check("no pod", everyone_refused()),
        Case::new(
            "internal/local/switched-on-and-off",
            "A switch of internalTrafficPolicy takes effect both ways.",
            cluster(),
            &STORY,
        )
        .sources(&[KEP])
        .needs(onehop_harness::case::Feature::InternalTrafficPolicy)
        .check("Cluster", from_pods(|node| from_pod_on(node, &STORY)))
        .change(Change::InternalPolicy(Policy::Local))
        .check("Local", own_or_drop(client_on, from_pod_on))
        .change(Change::InternalPolicy(Policy::Cluster))
        .check("Cluster again", from_pods(|node| from_pod_on(node, &STORY))),
    ]
}

fn independence_cases() -> Vec<Case> {
    let node_port_service = Service::node_port();
    vec![
        Case::new(
            "internal/local/does-not-restrict-outside-traffic",
            "internalTrafficPolicy Local leaves traffic from outside under Cluster alone.",
            node_port_service.internal(Policy::Local),
            &STORY,
        )
        .sources(&[KEP, "k#105470"])
        .check(
            "iTP Local, eTP Cluster",
            NODES
                .map(|node| reaches(&private(), node_port(node), spread_by(node, &STORY)))
                .into_iter()
                .chain(own_or_drop(client_on, from_pod_on)),
        ),
        Case::new(
            "external/local/does-not-restrict-the-cluster-ip",
            "externalTrafficPolicy Local leaves the ClusterIP alone.",
            node_port_service.external(Policy::Local),
            &STORY,
        )
        .sources(&[KEP, "k#57678", "kr#1597", "fx#3076"])
        .check(
            "eTP Local, iTP Cluster",
            from_pods(|node| from_pod_on(node, &STORY))
                .into_iter()
                .chain(from_nodes(|node| from_node(node, &STORY)))
                .chain(own_pods_or_drop(&private())),
        ),
    ]
}

fn from_pods(expect: impl Fn(&str) -> Reach) -> [Question; 3] {
    NODES.map(|node| reaches(&client_on(node), Target::ClusterIp, expect(node)))
}

fn from_nodes(expect: impl Fn(&str) -> Reach) -> [Question; 3] {
    NODES.map(|node| reaches(&host(node), Target::ClusterIp, expect(node)))
}

/// What clients on each node see of a ClusterIP under Local.
fn own_or_drop(
    from: impl Fn(&str) -> Place,
    expect: impl Fn(&str, &[&str]) -> Reach,
) -> [Question; 3] {
    NODES.map(|node| match on(node) {
        [] => dropped(&from(node), Target::ClusterIp),
        pods => reaches(&from(node), Target::ClusterIp, expect(node, pods)),
    })
}

fn everyone_refused() -> impl Iterator<Item = Question> {
    let pods = NODES.map(|node| refused(&client_on(node), Target::ClusterIp));
    let nodes = NODES.map(|node| refused(&host(node), Target::ClusterIp));
    pods.into_iter().chain(nodes)
}
