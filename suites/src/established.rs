//! Flows that are under way while the world changes: what they may lose, and what they must not.
//!
//! Rules look at the first packet of a flow; the rest follow what connection tracking remembers.
//! That is right as long as the backend serves, whatever becomes of policies. It is wrong for a UDP
//! flow whose backend serves no more: nothing would ever end it, so the proxy has to.

use std::time::Duration;

use onehop_harness::case::{
    Backend, BalancerMode, Case, Change, Expectation, Feature, FlowCheck, HeldExpectation, Place,
    Policy, Port, Question, Reach, Service, Target, held,
};
use onehop_harness::world::Length;

use crate::external_policy::{own_pods_or_drop, spread_over_all};
use crate::load_balancer::balanced_cluster;
use crate::story::{
    STORY, client_on, dropped, from_node, from_pod_on, host, kept_on, node_port, on, private,
    reaches, ready, spread_by, tcp, udp,
};

const CONNTRACK: &str = "kubernetes/pkg/proxy/conntrack/cleanup.go";
const ENDPOINT_CHANGES: &str = "kubernetes/pkg/proxy/endpointschangetracker.go";
const E2E_CONNTRACK: &str = "kubernetes/test/e2e/network/conntrack.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
/// How often flows are used that are not idle, while others are.
const TURNS: u32 = 4;
/// As long as a proxy may take from its rules to the flows that it ends because of them: the bundled one pauses for a second
/// between two clean-ups at the most.
const CLEANED_UP: Duration = Duration::from_millis(1500);
const BOTH: [Port; 2] = [tcp("tcp", 80), udp("udp", 80)];

pub(crate) fn cases() -> Vec<Case> {
    [kept(), moved(), begun_too_early()].concat()
}

/// What goes on.
fn kept() -> Vec<Case> {
    let cluster = Service::node_port().ports(&BOTH);
    let by_vm2 = |port| flow(&private(), node_port("vm2"), port, spread_by("vm2", &STORY));
    let by_vm3 = |port| {
        flow(
            &private(),
            node_port("vm3"),
            port,
            kept_on("vm3", on("vm3")),
        )
    };
    let inside = |port| {
        flow(
            &client_on("vm2"),
            Target::ClusterIp,
            port,
            from_pod_on("vm2", &STORY),
        )
    };
    let to_terminating = |port| {
        flow(
            &private(),
            node_port("vm2"),
            port,
            spread_by("vm2", &["web-1"]),
        )
    };
    vec![
        Case::new(
            "established/external-policy-switched-both-ways",
            "Flows that began under Cluster go on under Local, by a node that drops new ones, and \
             under Cluster again.",
            cluster,
            &STORY,
        )
        .sources(&[NFTABLES, CONNTRACK])
        .needs(Feature::ExternalTrafficPolicy)
        .check("Cluster", by_both(spread_over_all()))
        .open("a connection", by_vm2("tcp"))
        .open("datagrams", by_vm2("udp"))
        .change(Change::ExternalPolicy(Policy::Local))
        .check(
            "Local",
            by_both(own_pods_or_drop(&private())).chain(both_go_on()),
        )
        .wait(CLEANED_UP)
        .check("Local, a while later", both_go_on())
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check(
            "Cluster again",
            by_both(spread_over_all()).chain(both_go_on()),
        )
        .wait(CLEANED_UP)
        .check("Cluster, a while later", both_go_on()),
        Case::new(
            "established/source-kept-after-local-ends",
            "Flows that began under Local keep their source under Cluster.",
            cluster.external(Policy::Local),
            &STORY,
        )
        .sources(&[NFTABLES, CONNTRACK])
        .check("Local", by_both(own_pods_or_drop(&private())))
        .open("a connection", by_vm3("tcp"))
        .open("datagrams", by_vm3("udp"))
        .change(Change::ExternalPolicy(Policy::Cluster))
        .check("Cluster", by_both(spread_over_all()).chain(both_go_on()))
        .wait(CLEANED_UP)
        .check("Cluster, a while later", both_go_on()),
        Case::new(
            "established/internal-policy-switched-both-ways",
            "Flows of a pod that began under internal Cluster go on under Local, where new ones \
             are dropped, and under Cluster again.",
            Service::cluster_ip().ports(&BOTH),
            &STORY,
        )
        .sources(&["KEP-2086", NFTABLES, CONNTRACK])
        .needs(Feature::InternalTrafficPolicy)
        .check("Cluster", by_both([from_client_on("vm2", &STORY)]))
        .open("a connection", inside("tcp"))
        .open("datagrams", inside("udp"))
        .change(Change::InternalPolicy(Policy::Local))
        .check(
            "Local",
            by_both([dropped(&client_on("vm2"), Target::ClusterIp)]).chain(both_go_on()),
        )
        .wait(CLEANED_UP)
        .check("Local, a while later", both_go_on())
        .change(Change::InternalPolicy(Policy::Cluster))
        .check(
            "Cluster again",
            by_both([from_client_on("vm2", &STORY)]).chain(both_go_on()),
        )
        .wait(CLEANED_UP)
        .check("Cluster, a while later", both_go_on()),
        Case::new(
            "established/pod-terminates",
            "Flows to a pod that is being deleted and still serves go on, while new ones go to \
             another.",
            cluster,
            &["web-1"],
        )
        .sources(&["KEP-1669", CONNTRACK])
        .check("one pod", by_both([via_vm2(&["web-1"])]))
        .open("a connection", to_terminating("tcp"))
        .open("datagrams", to_terminating("udp"))
        .change(Change::Backends(vec![
            Backend::terminating("web-1"),
            Backend::ready("web-0"),
        ]))
        .check(
            "it terminates, another is ready",
            by_both([via_vm2(&["web-0"])]).chain(both_go_on()),
        ),
        idle_and_busy(cluster),
        Case::new(
            "established/pods-come",
            "Flows stay where they are when other pods come.",
            cluster,
            &["web-1"],
        )
        .sources(&[CONNTRACK, NFTABLES])
        .check("one pod", by_both([via_vm2(&["web-1"])]))
        .open("a connection", to_terminating("tcp"))
        .open("datagrams", to_terminating("udp"))
        .change(Change::Backends(ready(&STORY)))
        .check("three pods", by_both([via_vm2(&STORY)]).chain(both_go_on())),
    ]
}

/// Flows that nobody touches for a while, and others that are used now and then.
fn idle_and_busy(service: Service) -> Case {
    let by_vm2 = |port| flow(&private(), node_port("vm2"), port, spread_by("vm2", &STORY));
    let case = Case::new(
        "established/idle-and-busy",
        "A connection by a node port goes on after a time in which nobody used it (16 s, or as --idle-seconds says); one that \
         is used now and then does, and so do datagrams.",
        service,
        &STORY,
    )
    .sources(&[CONNTRACK, "fx#2588", "cal#4310"])
    .check("pods 1-0-2", by_both(spread_over_all()))
    // Kernels forget datagrams that nobody repeats within 30 s, and promise nothing else, which bounds --idle-seconds.
    .open("an idle connection", by_vm2("tcp"))
    .open("a connection", by_vm2("tcp"))
    .open("datagrams", by_vm2("udp"));
    let used = (1..=TURNS).fold(case, |case, turn| {
        let label = format!("after {turn} of {TURNS} parts of the time");
        case.idle(TURNS).check(&label, both_go_on())
    });
    used.check(
        "at last",
        [held("an idle connection", HeldExpectation::GoesOn)],
    )
}

/// Where a UDP flow goes whose pod serves no more.
fn moved() -> Vec<Case> {
    let node_port_service = Service::node_port().udp();
    let balanced = Service::load_balancer(BalancerMode::Vip).udp();
    let moves = |id: &str,
                 claim: &str,
                 service,
                 from: &Place,
                 to: Target,
                 reach: &dyn Fn(&[&str]) -> Reach| {
        Case::new(id, claim, service, &["web-1"])
            .sources(&[CONNTRACK, E2E_CONNTRACK, "k#19029", "k#98305", "an#5112"])
            .check("one pod", [reaches(from, to.clone(), reach(&["web-1"]))])
            .open("datagrams", flow(from, to.clone(), "", reach(&["web-1"])))
            .change(Change::Backends(ready(&["web-0"])))
            .check(
                "another pod instead",
                [
                    reaches(from, to, reach(&["web-0"])),
                    become_of_datagrams(reach(&["web-0"])),
                ],
            )
    };
    vec![
        moves(
            "established/udp/pod-replaced/cluster-ip",
            "Datagrams of a pod that went to a pod that is gone go to the one that serves now.",
            Service::cluster_ip().udp(),
            &client_on("vm1"),
            Target::ClusterIp,
            &|pods| from_pod_on("vm1", pods),
        ),
        moves(
            "established/udp/pod-replaced/cluster-ip-from-a-node",
            "Datagrams of a node that went to a pod that is gone go to the one that serves now.",
            Service::cluster_ip().udp(),
            &host("vm1"),
            Target::ClusterIp,
            &|pods| from_node("vm1", pods),
        ),
        moves(
            "established/udp/pod-replaced/node-port",
            "Datagrams to a node port that went to a pod that is gone go to the one that serves \
             now.",
            node_port_service,
            &private(),
            node_port("vm2"),
            &|pods| spread_by("vm2", pods),
        ),
        moves(
            "established/udp/pod-replaced/load-balancer",
            "Datagrams to a load-balancer address that went to a pod that is gone go to the one \
             that serves now.",
            balanced,
            &private(),
            Target::Vip,
            &balanced_cluster,
        ),
        Case::new(
            "established/udp/pod-removed-under-local",
            "Under Local, datagrams that went to one of two pods of a node go to the other when it \
             is removed, and those that went to the other go on.",
            node_port_service.external(Policy::Local),
            &STORY,
        )
        .sources(&[CONNTRACK, "k#98305"])
        .check("pods 1-0-2", own_pods_or_drop(&private()))
        .open(
            "datagrams",
            flow(&private(), node_port("vm3"), "", kept_on("vm3", on("vm3"))),
        )
        .open(
            "others",
            flow(&private(), node_port("vm1"), "", kept_on("vm1", on("vm1"))),
        )
        .change(Change::Backends(ready(&["web-0", "web-2"])))
        .check(
            "web-1 is removed",
            [
                reaches(&private(), node_port("vm3"), kept_on("vm3", &["web-2"])),
                become_of_datagrams(kept_on("vm3", &["web-2"])),
                held("others", HeldExpectation::GoesOn),
            ],
        ),
        Case::new(
            "established/udp/pod-stops-serving",
            "Datagrams leave a pod that is there and says that it no longer serves.",
            node_port_service,
            &["web-1"],
        )
        .sources(&[CONNTRACK])
        .check("one pod", [via_vm2(&["web-1"])])
        .open(
            "datagrams",
            flow(
                &private(),
                node_port("vm2"),
                "",
                spread_by("vm2", &["web-1"]),
            ),
        )
        .change(Change::Backends(vec![
            Backend::unready("web-1"),
            Backend::ready("web-0"),
        ]))
        .check(
            "web-1 is not ready",
            [
                via_vm2(&["web-0"]),
                become_of_datagrams(spread_by("vm2", &["web-0"])),
            ],
        ),
        Case::new(
            "established/udp/only-local-pod-is-replaced",
            "Under internal Local, datagrams of a pod leave its node's only pod with it, come to no pod \
             elsewhere meanwhile, and reach the one that takes its place.",
            Service::cluster_ip().udp().internal(Policy::Local),
            &["web-0"],
        )
        .sources(&[CONNTRACK, "k#126934"])
        .check("a pod on vm1", [from_client_on("vm1", &["web-0"])])
        .open(
            "datagrams",
            flow(
                &client_on("vm1"),
                Target::ClusterIp,
                "",
                from_pod_on("vm1", &["web-0"]),
            ),
        )
        .change(Change::Backends(ready(&["web-1"])))
        .check(
            "no pod on vm1",
            [
                dropped(&client_on("vm1"), Target::ClusterIp),
                held("datagrams", HeldExpectation::Becomes(Expectation::Dropped)),
            ],
        )
        .change(Change::Backends(ready(&["web-1", "web-4"])))
        .check(
            "another pod on vm1",
            [
                from_client_on("vm1", &["web-4"]),
                become_of_datagrams(from_pod_on("vm1", &["web-4"])),
            ],
        ),
    ]
}

/// What becomes of UDP flows that began when there was nobody to serve them.
fn begun_too_early() -> Vec<Case> {
    let service = Service::node_port().udp();
    let early = |expect: Expectation| FlowCheck {
        from: private(),
        to: node_port("vm2"),
        port: "",
        length: Length::Brief,
        expect,
        family: None,
    };
    vec![
        Case::new(
            "established/udp/begun-before-any-endpoint",
            "Datagrams that were refused before there was a pod reach the first one that comes.",
            service,
            &STORY,
        )
        .sources(&[CONNTRACK, E2E_CONNTRACK, "k#48370", "c#1055"])
        .check("pods 1-0-2", [via_vm2(&STORY)])
        .change(Change::Backends(Vec::new()))
        .check(
            "no pod",
            [private().calls(node_port("vm2"), Expectation::Refused)],
        )
        .open("datagrams", early(Expectation::Refused))
        .change(Change::Backends(ready(&["web-0"])))
        .check(
            "a pod",
            [
                via_vm2(&["web-0"]),
                become_of_datagrams(spread_by("vm2", &["web-0"])),
            ],
        ),
        Case::new(
            "established/udp/begun-before-the-service-was-served",
            "Datagrams that a node refused by itself, because it did not serve the Service, reach a \
             pod once it does.",
            service,
            &["web-0"],
        )
        .sources(&[CONNTRACK, ENDPOINT_CHANGES, "k#91236", "k#122740"])
        .check("served", [via_vm2(&["web-0"])])
        .change(Change::ProxyName(Some("another")))
        .check(
            "another proxy's",
            [private().calls(node_port("vm2"), Expectation::Refused)],
        )
        .open("datagrams", early(Expectation::Refused))
        .change(Change::ProxyName(None))
        .check(
            "served again",
            [
                via_vm2(&["web-0"]),
                become_of_datagrams(spread_by("vm2", &["web-0"])),
            ],
        ),
    ]
}

/// A flow to a port of the Service that must be answered, to be kept.
pub(crate) fn flow(from: &Place, to: Target, port: &'static str, reach: Reach) -> FlowCheck {
    FlowCheck {
        from: from.clone(),
        to,
        port,
        length: Length::Brief,
        expect: reach.into(),
        family: None,
    }
}

/// The same question about both ports.
fn by_both(questions: impl IntoIterator<Item = Question>) -> impl Iterator<Item = Question> {
    let each = questions.into_iter();
    each.flat_map(|question| BOTH.map(|port| question.clone().on_port(port.name)))
}

fn both_go_on() -> [Question; 2] {
    ["a connection", "datagrams"].map(|name| held(name, HeldExpectation::GoesOn))
}

fn become_of_datagrams(reach: Reach) -> Question {
    held("datagrams", HeldExpectation::Becomes(reach.into()))
}

fn via_vm2(pods: &[&str]) -> Question {
    reaches(&private(), node_port("vm2"), spread_by("vm2", pods))
}

fn from_client_on(node: &str, pods: &[&str]) -> Question {
    let reach = from_pod_on(node, pods);
    reaches(&client_on(node), Target::ClusterIp, reach)
}
