//! `sessionAffinity: ClientIP`: a client stays with the pod that it has drawn, by every address of
//! the Service on a node, as long as that pod may serve it.

use std::time::Duration;

use onehop_harness::case::{
    BalancerMode, Case, Change, FlowCheck, Place, Policy, Port, Question, Reach, Service, Target,
    Together, pod,
};
use onehop_harness::world::{Length, World};

use crate::external_policy::own_pods_or_drop;
use crate::story::{
    NODES, STORY, client_on, dropped, external_ip, from_node, from_pod_on, host, kept_on,
    node_port, on, private, public, reaches, ready, spread_by, tcp,
};

const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";
/// Upstream's default.
const LONG: u32 = 10_800;
const TWO: [&str; 2] = ["web-0", "web-1"];
/// How long nodes get to take in a new pod before new clients ask. One that asks too early keeps the old pod, so that
/// nothing comes of asking again.
const TAKEN_IN: Duration = Duration::from_secs(5);
/// Affinity is a port's own: a client draws once for each.
const PORTS: [Port; 3] = [tcp("a", 80), tcp("b", 81), tcp("c", 82)];

pub(crate) fn cases() -> Vec<Case> {
    [one_client(), with_policies(), over_time()].concat()
}

fn one_client() -> Vec<Case> {
    let affine = Service::cluster_ip().ports(&PORTS).affinity(LONG);
    let external = Service::node_port().affinity(LONG);
    vec![
        Case::new(
            "affinity/cluster-ip/client-stays-with-its-pod",
            "All connections of a client to the ClusterIP reach one pod, though different clients \
             draw different ones.",
            affine,
            &TWO,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("every pod and node of the world", [everyone(&TWO)]),
        Case::new(
            "affinity/node-port/client-stays-with-its-pod",
            "All connections of a client outside to a node's node port reach one pod, from many \
             source ports.",
            external,
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE, "c#26709"])
        .check(
            "each node's port",
            NODES.map(|node| {
                reaches(
                    &private(),
                    node_port(node),
                    spread_by(node, &STORY).sticky(),
                )
            }),
        ),
        Case::new(
            "affinity/one-pod-for-all-addresses",
            "A client that calls a Service by several addresses on its node reaches one pod by all \
             of them.",
            Service::load_balancer(BalancerMode::Vip)
                .external_ips()
                .affinity(LONG),
            &STORY,
        )
        .sources(&[NFTABLES])
        .check(
            "pods on each node",
            NODES.map(|node| {
                let from = client_on(node);
                let masqueraded = |to| flow(&from, to, from_node(node, &STORY));
                together(
                    Together::OnePod,
                    [
                        flow(&from, Target::ClusterIp, from_pod_on(node, &STORY)),
                        masqueraded(node_port(node)),
                        masqueraded(Target::Vip),
                        masqueraded(external_ip(node)),
                    ],
                )
            }),
        ),
        Case::new(
            "affinity/switched-on-and-off",
            "Affinity takes effect when it is switched on, and ends when it is switched off.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("none", from_clients(|reach| reach))
        .change(Change::Affinity(Some(LONG)))
        .check("ClientIP", from_clients(Reach::sticky))
        .change(Change::Affinity(None))
        .check("none again", from_clients(|reach| reach)),
    ]
}

fn with_policies() -> Vec<Case> {
    let local = Service::node_port().external(Policy::Local).affinity(LONG);
    vec![
        Case::new(
            "affinity/external-local/only-pods-of-the-entry-node",
            "Under Local, a client stays with one of the entry node's own pods; a node without \
             pods drops.",
            local,
            &STORY,
        )
        .sources(&[NFTABLES, "k#55429", "k#63351"])
        .check("pods 1-0-2", local_and_sticky(&private()))
        .check("pods 1-0-2, another client", local_and_sticky(&public())),
        Case::new(
            "affinity/external-local/switch-frees-from-remote-pods",
            "A client that has drawn a remote pod under Cluster is given a local one under Local.",
            Service::node_port().affinity(LONG),
            &["web-1", "web-2"],
        )
        .sources(&[NFTABLES, "k#63351"])
        .check(
            "Cluster, pods on vm3",
            [reaches(
                &private(),
                node_port("vm1"),
                spread_by("vm1", &["web-1", "web-2"]).sticky(),
            )],
        )
        .change(Change::Backends(ready(&STORY)))
        .change(Change::ExternalPolicy(Policy::Local))
        .check("Local, a pod on vm1 too", own_pods_or_drop_sticky()),
        Case::new(
            "affinity/internal-local/external-draw-does-not-count",
            "A pod that has drawn a remote pod by the node port reaches only its own node's by the \
             ClusterIP under internal Local.",
            Service::node_port().internal(Policy::Local).affinity(LONG),
            &["web-1", "web-2"],
        )
        .sources(&[NFTABLES, "KEP-2086", "k#63351"])
        .check(
            "pods on vm3",
            [
                reaches(
                    &client_on("vm1"),
                    node_port("vm1"),
                    from_node("vm1", &["web-1", "web-2"]).sticky(),
                ),
                dropped(&client_on("vm1"), Target::ClusterIp),
            ],
        )
        .change(Change::Backends(ready(&STORY)))
        .check(
            "a pod on vm1 too",
            [reaches(
                &client_on("vm1"),
                Target::ClusterIp,
                from_pod_on("vm1", on("vm1")).sticky(),
            )],
        ),
    ]
}

fn over_time() -> Vec<Case> {
    vec![
        Case::new(
            "affinity/outlives-other-changes-and-ends-with-its-pod",
            "A client keeps its pod when others come, and gets another when it leaves.",
            Service::node_port().ports(&PORTS).affinity(LONG),
            &["web-1"],
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("one pod", NODES.map(|node| via(node, &["web-1"])))
        .change(Change::Backends(ready(&TWO)))
        .wait(TAKEN_IN)
        // Others see the new pod: the nodes have taken the change in.
        .check("one more", [everyone(&TWO)])
        .check("the old client", NODES.map(|node| via(node, &["web-1"])))
        .change(Change::Backends(ready(&["web-0"])))
        .check("the pod has left", NODES.map(|node| via(node, &["web-0"])))
        .change(Change::Backends(ready(&TWO)))
        .wait(TAKEN_IN)
        .check("it is back", NODES.map(|node| via(node, &["web-0"]))),
        Case::new(
            "affinity/ends-with-its-timeout",
            "Clients that were silent for longer than the timeout draw anew.",
            Service::cluster_ip().ports(&PORTS).affinity(1),
            &["web-1"],
        )
        .sources(&[NFTABLES, E2E_SERVICE])
        .check("one pod", [everyone(&["web-1"])])
        .change(Change::Backends(ready(&TWO)))
        .wait(TAKEN_IN)
        .check("two pods, after the timeout", [everyone(&TWO)]),
    ]
}

/// All connections from outside by a node reach one of these pods.
fn via(node: &str, pods: &[&str]) -> Question {
    reaches(&private(), node_port(node), spread_by(node, pods).sticky())
}

fn from_clients(as_wanted: impl Fn(Reach) -> Reach) -> [Question; 3] {
    NODES.map(|node| {
        let reach = as_wanted(from_pod_on(node, &STORY));
        reaches(&client_on(node), Target::ClusterIp, reach)
    })
}

fn local_and_sticky(from: &Place) -> [Question; 3] {
    NODES.map(|node| match on(node) {
        [] => dropped(from, node_port(node)),
        pods => reaches(from, node_port(node), kept_on(node, pods).sticky()),
    })
}

fn own_pods_or_drop_sticky() -> Vec<Question> {
    let single = own_pods_or_drop(&private()).into_iter().take(2);
    single
        .chain(local_and_sticky(&private()).into_iter().skip(2))
        .collect()
}

/// Every pod and node of the world calls each port; each keeps to one of two pods for each port,
/// and together they have drawn both. That 36 draws are all the same has a chance of 3 in 10^11.
fn everyone(pods: &[&str]) -> Question {
    let world = World::story();
    // Who can only reach itself is masqueraded.
    let reach = |caller: &str, node: &str| match pods {
        [only] if *only == caller => from_node(node, pods),
        _ => from_pod_on(node, pods),
    };
    let pods_and_nodes = world
        .pods
        .iter()
        .map(|caller| (pod(&caller.name), reach(&caller.name, &caller.node)))
        .chain(NODES.map(|node| (host(node), from_node(node, pods))));
    let flows = pods_and_nodes.flat_map(|(from, reach)| {
        PORTS.iter().map(move |port| FlowCheck {
            port: port.name,
            length: Length::Brief,
            ..flow(&from, Target::ClusterIp, reach.clone())
        })
    });
    together(Together::EveryPod, flows)
}

fn together(together: Together, flows: impl IntoIterator<Item = FlowCheck>) -> Question {
    let flows = flows.into_iter().collect();
    Question::Affinity { flows, together }
}

/// A flow whose connections all reach one pod.
fn flow(from: &Place, to: Target, reach: Reach) -> FlowCheck {
    FlowCheck {
        from: from.clone(),
        to,
        port: "",
        length: Length::Brief,
        expect: reach.sticky().into(),
        family: None,
    }
}
