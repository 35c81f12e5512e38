//! What pods and nodes go through in a real cluster: its kubelets, its Deployment and EndpointSlice controllers and its
//! scheduler decide which endpoints there are and when.
//!
//! Elsewhere, cases write the EndpointSlices themselves, so that they are exact. Here they are as a cluster makes them:
//! a pod that is asked to end is terminating and serves for a while, a node that is drained loses its pods one by one,
//! and one whose processes have stopped keeps its endpoints until somebody notices. No proxy may lose a connection for
//! any of it that the pods themselves would have answered.

use onehop_harness::case::{
    BalancerCheck, BalancerMode, Case, Change, Deployment, Expectation, Feature, FlowCheck,
    HeldExpectation, PodsOf, Policy, Question, Reach, Service, TaintEffect, Target, Update, held,
};
use onehop_harness::world::Length;

use crate::health_check::port;
use crate::load_balancer::balanced_local;
use crate::story::{
    NODES, client_on, dropped, from_pod_on, kept_on, node_port, private, reaches, spread_by,
};

const KEP: &str = "KEP-1669";
const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const SLICES: &str = "kubernetes/pkg/controller/endpointslice/endpointslice_controller.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";
const METALLB: &str = "metallb#2577";
const NODE_LIFECYCLE: &str = "kubernetes/pkg/controller/nodelifecycle/node_lifecycle_controller.go";
const TAINT_EVICTION: &str = "kubernetes/pkg/controller/tainteviction/taint_eviction.go";

/// One pod on vm1.
const ONE: Deployment = Deployment::new("one", &["vm1"], 1);
/// Two pods on vm3.
const TWO: Deployment = Deployment::new("two", &["vm3"], 2);
/// Three pods, wherever they can be.
const ANYWHERE: Deployment = Deployment::new("anywhere", &NODES, 3);

/// How long a pod serves on once it is asked to end, in seconds: as long as proxies take to hear of it, many times over.
const LINGERS: u16 = 5;
/// As long as it takes to judge what it does meanwhile, and as another pod may take to be ready on a busy machine.
const LINGERS_LONG: u16 = 30;

pub(crate) fn cases() -> Vec<Case> {
    [of_pods(), of_nodes()].concat()
}

fn of_pods() -> Vec<Case> {
    let local = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    vec![
        Case::new(
            "lifecycle/readiness-decides-under-local",
            "Under Local, a node whose only pod turns unready drops and its health check port says \
             503, while the pod runs on; once it is ready again, it gets its node's traffic.",
            local,
            &[],
        )
        .sources(&[TOPOLOGY, SLICES, SERVICE_HEALTH])
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS, &[ONE, TWO])
        .check("pods 1-0-2", one_two(true))
        .change(says("one", false))
        .check("pods 0-0-2", one_two(false))
        .change(says("one", true))
        .check("pods 1-0-2 again", one_two(true)),
        Case::new(
            "lifecycle/only-local-pod-terminates",
            "Under Local, the only pod of a node goes on getting its node's traffic while it \
             terminates, and keeps the connections that it has; the health check port says 503 at \
             once. When it is gone, the node drops.",
            local,
            &[],
        )
        .sources(&[KEP, TOPOLOGY, SLICES])
        .needs(Feature::TerminatingEndpoints)
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS_LONG, &[ONE, TWO])
        .check("pods 1-0-2", one_two(true))
        .open("connections", begins(node_port("vm1"), on_vm1(READY)))
        .change(scale("one", 0))
        .check(
            "the pod on vm1 terminates",
            [
                reaches(&private(), node_port("vm1"), on_vm1(TERMINATING)),
                port("vm1", Some(0)),
                held("connections", HeldExpectation::GoesOn),
            ]
            .into_iter()
            .chain(elsewhere()),
        )
        .settle()
        .check("it is gone", one_two(false)),
        Case::new(
            "lifecycle/rolling-update-under-cluster",
            "A rolling update of pods that terminate gracefully loses no connection, by the \
             ClusterIP nor by a node port; when it is over, the new pods alone answer.",
            Service::node_port(),
            &[],
        )
        .sources(&[E2E_SERVICE, SLICES, KEP])
        .workload(LINGERS, &[ANYWHERE])
        .check("the old pods", three_pods())
        .traffic("inside", &client_on("vm1"), Target::ClusterIp)
        .traffic("outside", &private(), node_port("vm2"))
        .change(Change::Roll)
        .settle()
        .check(
            "the new pods",
            three_pods()
                .into_iter()
                .chain([Question::Answered("inside"), Question::Answered("outside")]),
        ),
        Case::new(
            "lifecycle/rolling-update-of-the-only-local-pod",
            "Under Local, a node whose only pod is replaced, the old one asked to end before the \
             new one is there, loses no connection: the old one serves until then.",
            Service::node_port().external(Policy::Local),
            &[],
        )
        .sources(&[KEP, TOPOLOGY, SLICES])
        .needs(Feature::TerminatingEndpoints)
        .workload(LINGERS_LONG, &[ONE.updated(Update::OldFirst)])
        .check(
            "the old pod",
            [reaches(&private(), node_port("vm1"), on_vm1(READY))],
        )
        .traffic("outside", &private(), node_port("vm1"))
        .change(Change::Roll)
        .settle()
        .check(
            "the new pod",
            [
                reaches(&private(), node_port("vm1"), on_vm1(READY)),
                dropped(&private(), node_port("vm2")),
                Question::Answered("outside"),
            ],
        ),
        Case::new(
            "lifecycle/rolling-update-behind-a-load-balancer",
            "Under Local, a rolling update of pods that terminate gracefully loses no connection to the load-balancer \
             address: a node serves with the old pod until a new one is ready there, or the load balancer has left it.",
            local,
            &[],
        )
        .sources(&[E2E_SERVICE, KEP, SERVICE_HEALTH, METALLB])
        .needs(Feature::TerminatingEndpoints)
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS_LONG, &[ONE, TWO].map(|one| one.updated(Update::OldFirst)))
        .check("the old pods", balanced_one_two())
        .traffic("to the address", &private(), Target::Vip)
        .change(Change::Roll)
        .settle()
        .check(
            "the new pods",
            balanced_one_two()
                .into_iter()
                .chain([Question::Answered("to the address")]),
        ),
    ]
}

fn of_nodes() -> Vec<Case> {
    let local = Service::load_balancer(BalancerMode::Vip).external(Policy::Local);
    vec![
        Case::new(
            "lifecycle/node-is-drained",
            "A node that is drained loses its pods, and no connection from inside is lost while \
             they move; then it drops under external Local, says 503, and still leads its own \
             pods to those elsewhere.",
            local,
            &[],
        )
        .sources(&[KEP, SLICES, SERVICE_HEALTH])
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS, &[ANYWHERE])
        .check("anywhere", [inside(PodsOf::ready(3, &NODES))])
        .traffic("inside", &client_on("vm1"), Target::ClusterIp)
        .change(Change::Drain("vm1"))
        .settle()
        .check(
            "drained",
            [
                inside(PodsOf::ready(3, &["vm2", "vm3"])),
                dropped(&private(), node_port("vm1")),
                port("vm1", Some(0)),
                Question::Answered("inside"),
            ],
        ),
        Case::new(
            "lifecycle/taint-evicts",
            "Pods that a taint takes from a node take its traffic along: under Local it drops. It \
             is served again when the taint is gone and they are back.",
            local,
            &[],
        )
        .sources(&[TAINT_EVICTION, TOPOLOGY, SLICES])
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS, &[ONE, TWO])
        .check("pods 1-0-2", one_two(true))
        .change(taint(Some("onehop.dev/maintenance")))
        .check("vm1 is tainted", one_two(false))
        .change(taint(None))
        .settle()
        .check("it no longer is", one_two(true)),
        Case::new(
            "lifecycle/node-stops",
            "When a node's processes have stopped and the cluster has noticed, its pods get no \
             traffic from other nodes, and the load balancer has left it; they get their share \
             again when they go on.",
            local,
            &[],
        )
        .sources(&[NODE_LIFECYCLE, TOPOLOGY, SLICES])
        .needs(Feature::HealthCheckNodePort)
        .workload(LINGERS, &[ONE, TWO])
        .check("pods 1-0-2", all_nodes())
        .change(stop(true))
        .check(
            "vm3 has stopped",
            [
                from_vm2(PodsOf::ready(1, &["vm1"])),
                reaches(&private(), node_port("vm1"), on_vm1(READY)),
                dropped(&private(), node_port("vm2")),
                healthy(&["vm1"]),
            ],
        )
        .change(stop(false))
        .settle()
        .check("it goes on", all_nodes()),
    ]
}

const READY: PodsOf = PodsOf::ready(1, &["vm1"]);
const TERMINATING: PodsOf = PodsOf::terminating(1, &["vm1"]);
const ON_VM3: PodsOf = PodsOf::ready(2, &["vm3"]);

/// Local: vm3 with its two pods, vm2 with none, and vm1 with its one pod or without.
fn one_two(vm1: bool) -> Vec<Question> {
    let own = if vm1 {
        reaches(&private(), node_port("vm1"), on_vm1(READY))
    } else {
        dropped(&private(), node_port("vm1"))
    };
    let own = [own, port("vm1", Some(u32::from(vm1)))];
    own.into_iter().chain(elsewhere()).collect()
}

/// Local: the load balancer chooses vm1 with its one pod and vm3 with its two.
fn balanced_one_two() -> [Question; 2] {
    let pods = PodsOf::ready(3, &["vm1", "vm3"]);
    let reach = balanced_local(&["vm1", "vm3"], &[]).of(pods);
    [
        healthy(&["vm1", "vm3"]),
        reaches(&private(), Target::Vip, reach),
    ]
}

/// What vm2 and vm3 do in any case.
fn elsewhere() -> [Question; 3] {
    [
        dropped(&private(), node_port("vm2")),
        reaches(&private(), node_port("vm3"), kept_on("vm3", &[]).of(ON_VM3)),
        port("vm3", Some(2)),
    ]
}

fn on_vm1(pods: PodsOf) -> Reach {
    kept_on("vm1", &[]).of(pods)
}

fn all_nodes() -> Vec<Question> {
    let both = [from_vm2(PodsOf::ready(3, &NODES)), healthy(&["vm1", "vm3"])];
    both.into_iter().chain(one_two(true)).collect()
}

/// Cluster: three pods, wherever they are.
fn three_pods() -> [Question; 2] {
    let outside = spread_by("vm2", &[]).of(PodsOf::ready(3, &NODES));
    [
        inside(PodsOf::ready(3, &NODES)),
        reaches(&private(), node_port("vm2"), outside),
    ]
}

fn inside(pods: PodsOf) -> Question {
    reaches(
        &client_on("vm1"),
        Target::ClusterIp,
        from_pod_on("vm1", &[]).of(pods),
    )
}

fn from_vm2(pods: PodsOf) -> Question {
    reaches(
        &client_on("vm2"),
        Target::ClusterIp,
        from_pod_on("vm2", &[]).of(pods),
    )
}

fn healthy(nodes: &[&str]) -> Question {
    crate::load_balancer::healthy(BalancerCheck::HealthCheckNodePort, nodes)
}

fn begins(to: Target, reach: Reach) -> FlowCheck {
    FlowCheck {
        from: private(),
        to,
        port: "",
        length: Length::Brief,
        expect: Expectation::Reaches(reach),
        family: None,
    }
}

fn scale(deployment: &'static str, replicas: u16) -> Change {
    Change::Scale {
        deployment,
        replicas,
    }
}

fn says(deployment: &'static str, ready: bool) -> Change {
    Change::Readiness { deployment, ready }
}

fn taint(key: Option<&'static str>) -> Change {
    Change::Taint {
        node: "vm1",
        key,
        effect: TaintEffect::NoExecute,
    }
}

fn stop(stopped: bool) -> Change {
    Change::Stop {
        node: "vm3",
        stopped,
    }
}
