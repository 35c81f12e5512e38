//! Traffic that goes on while policies switch, pods come and go, and proxies start again: no connection and no datagram may
//! be lost where, before and after and at any time between, somebody was there to answer.
//!
//! What is measured is an error rate: calls are made all the while, every one is counted, and where one is not answered, the
//! report says how many and from when to when.

use std::time::Duration;

use onehop_harness::case::{
    Backend, BalancerCheck, BalancerMode, Case, Change, Feature, HeldExpectation, Policy, Question,
    Service, Target, held,
};

use crate::established::flow;
use crate::external_policy::{own_pods_or_drop, spread_over, spread_over_all};
use crate::health_check::ports;
use crate::load_balancer::{balanced_local, healthy};
use crate::story::{
    NODES, ON_VM2, STORY, client_on, dropped, from_pod_on, inside, kept_on, node_port, on, private,
    reaches, ready, spread_by,
};

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const CONNTRACK: &str = "kubernetes/pkg/proxy/conntrack/cleanup.go";
const ENDPOINT_CHANGES: &str = "kubernetes/pkg/proxy/endpointschangetracker.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";
const METALLB: &str = "metallb#2577";
const E2E_SERVICE: &str = "kubernetes/test/e2e/network/service.go";
/// As long as a proxy takes to take a change in, so that it sees most states of a churn and skips some.
const MOMENT: Duration = Duration::from_millis(30);
/// Services beside the one of a case. From a process without privileges over the host the kernel takes no more than
/// `net.core.wmem_default` in one message, 208 KiB, and iptables-restore sends all that it is given in one: some 450 of
/// kube-proxy's rules. After a first failure ("Message too long") those are the rules of all Services, so that there
/// has to be room for the cases that run beside this one.
const CROWD: u16 = 30;
/// The pods before a churn: others than after it, by which who has not begun is told from who is through with it.
static BEFORE: [&str; 2] = ["web-0", "web-1"];

pub(crate) fn cases() -> Vec<Case> {
    [switches(), churns(), ends(), vec![first_pod()], restarts()].concat()
}

fn switches() -> Vec<Case> {
    let external = |id: &str, what: &str, service: Service| {
        Case::new(
            id,
            &format!(
                "{what} to node ports of nodes that have pods are all answered while externalTrafficPolicy is \
                 switched to Local and back."
            ),
            service,
            &STORY,
        )
        .sources(&[TOPOLOGY, CONNTRACK, "an#3301", "kr#466"])
        .needs(Feature::ExternalTrafficPolicy)
        .check("Cluster", spread_over_all())
        .traffic("to vm1", &private(), node_port("vm1"))
        .traffic("to vm3", &private(), node_port("vm3"))
        .change(Change::ExternalPolicy(Policy::Local))
        .check("Local", own_pods_or_drop(&private()))
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check(
            "Cluster again",
            spread_over_all().into_iter().chain(answered(["to vm1", "to vm3"])),
        )
    };
    vec![
        external(
            "live/external-policy-switched/tcp",
            "Connections",
            Service::node_port(),
        ),
        external(
            "live/external-policy-switched/udp",
            "Datagrams",
            Service::node_port().udp(),
        ),
        Case::new(
            "live/internal-policy-switched",
            "Connections of pods to a ClusterIP, on nodes that have pods of the Service, are all answered while \
             internalTrafficPolicy is switched to Local and back.",
            Service::cluster_ip(),
            &STORY,
        )
        .sources(&["KEP-2086", TOPOLOGY])
        .needs(Feature::InternalTrafficPolicy)
        .check("Cluster", inside(|_| &STORY))
        .traffic("on vm1", &client_on("vm1"), Target::ClusterIp)
        .traffic("on vm3", &client_on("vm3"), Target::ClusterIp)
        .change(Change::InternalPolicy(Policy::Local))
        .check("Local", inside(on))
        .change(Change::InternalPolicy(Policy::Cluster))
        .check(
            "Cluster again",
            inside(|_| &STORY)
                .into_iter()
                .chain(answered(["on vm1", "on vm3"])),
        ),
    ]
}

fn churns() -> Vec<Case> {
    let elsewhere = || Backend::ready("web-1");
    let on_vm3 = || reaches(&private(), node_port("vm3"), kept_on("vm3", &["web-1"]));
    vec![
        churn(
            Case::new(
                "live/churn/cluster",
                "While pods come and go in quick turns, one at least being ready at any time, every connection is \
                 answered; afterwards every node serves exactly the pods that are there.",
                Service::node_port(),
                &BEFORE,
            )
            .sources(&[ENDPOINT_CHANGES, "k#99299"])
            .check("pods 1-0-1", spread_over(&BEFORE).into_iter().chain(inside(|_| &BEFORE)))
            .traffic("outside", &private(), node_port("vm2"))
            .traffic("inside", &client_on("vm2"), Target::ClusterIp),
            &[&["web-0"], &["web-0", ON_VM2], &["web-1"], &["web-1", "web-2"], &[ON_VM2]],
        )
        .check(
            "pods 1-0-2",
            spread_over_all()
                .into_iter()
                .chain(inside(|_| &STORY))
                .chain(answered(["outside", "inside"])),
        ),
        churn(
            Case::new(
                "live/churn/local",
                "Under Local, while pods come and go in quick turns and a node has one at any time, every connection to it \
                 is answered; afterwards no node takes itself for one without pods, or for one with any.",
                Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
                &BEFORE,
            )
            .sources(&[ENDPOINT_CHANGES, TOPOLOGY, "k#99299"])
            .needs(Feature::HealthCheckNodePort)
            .check(
                "pods 1-0-1",
                [
                    to_vm1(&["web-0"]),
                    dropped(&private(), node_port("vm2")),
                    on_vm3(),
                ],
            )
            .traffic("to vm3", &private(), node_port("vm3")),
            &[&["web-1"], &["web-1", "web-2", ON_VM2], &["web-2", "web-0"], &["web-2", ON_VM2]],
        )
        .check(
            "pods 1-0-2",
            own_pods_or_drop(&private())
                .into_iter()
                .chain(ports([Some(1), Some(0), Some(2)]))
                .chain(answered(["to vm3"])),
        ),
        crowded(),
        Case::new(
            "live/handed-over",
            "Under Local, when the pod of a node terminates and another comes there, every connection to the node is \
             answered, by the old pod until the new one is ready.",
            Service::node_port().external(Policy::Local),
            &["web-0"],
        )
        .sources(&["KEP-1669", TOPOLOGY, "c#37613"])
        .check("web-0", [to_vm1(&["web-0"]), dropped(&private(), node_port("vm3"))])
        .traffic("to vm1", &private(), node_port("vm1"))
        .change(Change::Backends(vec![Backend::terminating("web-0"), Backend::unready("web-4"), elsewhere()]))
        .check("web-0 terminates", [to_vm1(&["web-0"]), on_vm3()])
        .change(Change::Backends(vec![Backend::terminating("web-0"), Backend::ready("web-4"), elsewhere()]))
        .check("web-4 is ready", [to_vm1(&["web-4"]), on_vm3()])
        // By the other that comes, it is seen that the node has taken in who is gone.
        .change(Change::Backends(ready(&["web-4", "web-5", "web-1"])))
        .check(
            "web-0 is gone",
            [to_vm1(&["web-4", "web-5"]), on_vm3()].into_iter().chain(answered(["to vm1"])),
        ),
    ]
}

/// How a pod ends decides what is lost, where a load balancer follows the health checks of nodes: they say that a node has
/// nobody left as soon as none of its pods is ready, and what is sent there until that is noticed needs somebody all the same.
fn ends() -> Vec<Case> {
    let begins = |id: &str, claim: &str| {
        Case::new(
            id,
            claim,
            Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
            &[ON_VM2, "web-1", "web-2"],
        )
        .sources(&[SERVICE_HEALTH, METALLB])
        .needs(Feature::HealthCheckNodePort)
        .check(
            "pods 0-1-2",
            chosen(&["vm2", "vm3"], [Some(0), Some(1), Some(2)])
                .into_iter()
                .chain([reaches(
                    &private(),
                    Target::Vip,
                    balanced_local(&["vm2", "vm3"], &[ON_VM2, "web-1", "web-2"]),
                )]),
        )
        .traffic("to the address", &private(), Target::Vip)
    };
    let terminating = [
        Backend::terminating(ON_VM2),
        Backend::ready("web-1"),
        Backend::ready("web-2"),
    ];
    let on_vm3 = || chosen(&["vm3"], [Some(0), Some(0), Some(2)]);
    vec![
        begins(
            "live/terminating-behind-a-load-balancer",
            "Under Local, no connection to the load-balancer address is lost when the only pod of a node terminates: its \
             health check port says 503, and the node goes on serving with that pod until no more is sent to it.",
        )
        .sources(&["KEP-1669"])
        .change(Change::Backends(terminating.to_vec()))
        .check(
            "the pod on vm2 terminates",
            on_vm3().into_iter().chain([reaches(&private(), node_port("vm2"), kept_on("vm2", &[ON_VM2]))]),
        )
        .change(Change::Backends(ready(&["web-1", "web-2"])))
        .check(
            "it is gone",
            answered(["to the address"])
                .into_iter()
                .chain(on_vm3())
                .chain([dropped(&private(), node_port("vm2"))]),
        ),
        begins(
            "live/gone-at-once-behind-a-load-balancer",
            "Under Local, when the only pod of a node is gone at once, connections to the load-balancer address are dropped until \
             the load balancer has left the node, which fails its health checks within a second from then on.",
        )
        .change(Change::Backends(ready(&["web-1", "web-2"])))
        .check(
            "the pod on vm2 is gone",
            [Question::LostUntilNoticed("to the address")]
                .into_iter()
                .chain(on_vm3())
                .chain([dropped(&private(), node_port("vm2"))]),
        ),
    ]
}

/// A load balancer sends to a node as soon as that says that it is healthy.
fn first_pod() -> Case {
    let all: Vec<&str> = STORY.into_iter().chain([ON_VM2]).collect();
    Case::new(
        "live/first-pod-behind-a-load-balancer",
        "Under Local, no connection to the load-balancer address is lost when a node gets its first pod: of two health \
         checks that pass, a tenth of a second apart, the second is not before the node serves.",
        Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
        &STORY,
    )
    .sources(&[SERVICE_HEALTH])
    .needs(Feature::HealthCheckNodePort)
    .check(
        "pods 1-0-2",
        chosen(&["vm1", "vm3"], [Some(1), Some(0), Some(2)])
            .into_iter()
            .chain([reaches(&private(), Target::Vip, balanced_local(&["vm1", "vm3"], &STORY))]),
    )
    .traffic("to the address", &private(), Target::Vip)
    .change(Change::Backends(ready(&all)))
    .check(
        "pods 1-1-2",
        chosen(&NODES, [Some(1), Some(1), Some(2)])
            .into_iter()
            .chain([reaches(&private(), Target::Vip, balanced_local(&NODES, &all))])
            .chain(answered(["to the address"])),
    )
}

/// What health check ports say, and which nodes the load balancer chooses for that.
fn chosen(nodes: &[&str], local_endpoints: [Option<u32>; 3]) -> Vec<Question> {
    let healthy = healthy(BalancerCheck::HealthCheckNodePort, nodes);
    ports(local_endpoints)
        .into_iter()
        .chain([healthy])
        .collect()
}

/// Others come and go meanwhile.
fn crowded() -> Case {
    let case = Case::new(
        "live/churn/in-a-crowd",
        "While thirty other Services come and go and pods come and go in quick turns, one at least being ready at any \
         time, every connection is answered; afterwards every node serves exactly the pods that are there.",
        Service::node_port(),
        &BEFORE,
    )
    .sources(&[ENDPOINT_CHANGES, "k#121362"])
    .check("pods 1-0-1", spread_over(&BEFORE))
    .traffic("outside", &private(), node_port("vm2"))
    .change(Change::Crowd(CROWD));
    let turns: &[&[&str]] = &[&["web-0"], &["web-1", ON_VM2], &["web-2"]];
    churn(case, turns)
        .check(
            "pods 1-0-2, among others",
            spread_over_all().into_iter().chain(inside(|_| &STORY)),
        )
        .change(Change::Crowd(0))
        .change(Change::Backends(ready(&BEFORE)))
        .check(
            "pods 1-0-1, alone",
            spread_over(&BEFORE)
                .into_iter()
                .chain(inside(|_| &BEFORE))
                .chain(answered(["outside"])),
        )
}

fn restarts() -> Vec<Case> {
    let outside = flow(&private(), node_port("vm2"), "", spread_by("vm2", &STORY));
    let within = flow(
        &client_on("vm2"),
        Target::ClusterIp,
        "",
        from_pod_on("vm2", &STORY),
    );
    let kept = flow(&private(), node_port("vm3"), "", kept_on("vm3", on("vm3")));
    let restart = |case: Case| case.change(Change::RestartProxies);
    let cluster = Case::new(
        "live/proxies-restarted/cluster",
        "While the proxies start again, every connection by a node port and by the ClusterIP is answered, open ones go on, \
         and afterwards all is as before.",
        Service::node_port(),
        &STORY,
    )
    .sources(&[E2E_SERVICE, "cal#12192"])
    .check("before", spread_over_all().into_iter().chain(inside(|_| &STORY)));
    let local = Case::new(
        "live/proxies-restarted/local",
        "Under Local, while the proxies start again, every connection to a node with pods is answered, open ones go on, and \
         afterwards nodes without pods drop and the health check ports say what they did.",
        Service::load_balancer(BalancerMode::Vip).external(Policy::Local),
        &STORY,
    )
    .sources(&[E2E_SERVICE, "cal#12192"])
    .needs(Feature::HealthCheckNodePort)
    .check("before", locally());
    vec![
        restart(
            cluster
                .open("outside", outside)
                .open("inside", within)
                .traffic("to vm2", &private(), node_port("vm2"))
                .traffic("on vm2", &client_on("vm2"), Target::ClusterIp),
        )
        .check(
            "after",
            spread_over_all()
                .into_iter()
                .chain(inside(|_| &STORY))
                .chain(answered(["to vm2", "on vm2"]))
                .chain(["outside", "inside"].map(|name| held(name, HeldExpectation::GoesOn))),
        ),
        restart(
            local
                .open("outside", kept)
                .traffic("to vm3", &private(), node_port("vm3")),
        )
        .check(
            "after",
            locally()
                .chain(answered(["to vm3"]))
                .chain([held("outside", HeldExpectation::GoesOn)]),
        ),
    ]
}

/// Has these pods in turn, six times over, and at last those of the story.
/// For about a second: on a busy machine, calls are that far apart.
fn churn(case: Case, states: &[&[&str]]) -> Case {
    let turns = states.iter().cycle().take(states.len() * 6);
    let turned = turns.fold(case, |case, pods| {
        case.change(Change::Backends(ready(pods))).wait(MOMENT)
    });
    turned.change(Change::Backends(ready(&STORY)))
}

fn answered<const N: usize>(names: [&'static str; N]) -> [Question; N] {
    names.map(Question::Answered)
}

fn locally() -> impl Iterator<Item = Question> {
    let ports = ports([Some(1), Some(0), Some(2)]).into_iter();
    own_pods_or_drop(&private()).into_iter().chain(ports)
}

fn to_vm1(pods: &[&str]) -> Question {
    reaches(&private(), node_port("vm1"), kept_on("vm1", pods))
}
