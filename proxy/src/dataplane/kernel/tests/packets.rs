//! Connections of every class of client through every handling.

use std::collections::BTreeSet;
use std::net::TcpStream;

use super::network::{Host, Network, Outcome, PORT, ask, connect, datagram, gateway, neighbour};
use super::*;

/// Connections that are asked for until all endpoints must have answered: of two, one is never chosen in one of
/// 2^23 tests.
const TRIES: usize = 24;

const PODS: [u8; 2] = [1, 2];

fn options() -> Options {
    let pods = [
        "10.0.1.0/24",
        "10.0.2.0/24",
        "fd00:0:0:1::/64",
        "fd00:0:0:2::/64",
    ];
    let pods = pods.map(|range| range.parse().expect("a range"));
    Options {
        detector: Detector::Sources(pods.to_vec()),
        ..Options::default()
    }
}

fn service_ip(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, last].into(),
        Family::V6 => [0xfd96, 0, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

fn backends(family: Family, pods: &[u8]) -> Vec<SocketAddr> {
    let pods = pods.iter();
    pods.map(|pod| SocketAddr::new(neighbour(family, *pod), PORT))
        .collect()
}

/// A Service of one front, with these pods in its lists. The front's port is the number of its address.
struct Case {
    number: u8,
    kind: FrontKind,
    handling: Handling,
    cluster: &'static [u8],
    local: &'static [u8],
}

impl Case {
    fn plan(&self, family: Family, protocol: Protocol) -> ServicePlan {
        let port_number = 30000 + u16::from(self.number);
        let address = service_ip(family, self.number);
        let front = Front {
            address: (self.kind != FrontKind::NodePort).then_some(address),
            port: port_number,
            kind: self.kind,
            handling: self.handling,
        };
        let port = PortPlan {
            protocol,
            cluster: backends(family, self.cluster),
            local: backends(family, self.local),
            hairpins: PODS.map(|pod| neighbour(family, pod)).to_vec(),
            fronts: vec![front],
            ..port(family)
        };
        let internal = self.kind == FrontKind::ClusterIp;
        ServicePlan {
            cluster_ips: internal.then_some(address).into_iter().collect(),
            ..plan(
                &format!("{family:?}-{protocol:?}-{}", self.number),
                vec![port],
            )
        }
    }

    fn place(&self, family: Family, link: u8) -> SocketAddr {
        let address = match self.kind {
            FrontKind::NodePort => gateway(family, link),
            _ => service_ip(family, self.number),
        };
        SocketAddr::new(address, 30000 + u16::from(self.number))
    }
}

/// Which pods a client reaches, and whether they see its own address.
struct Expected {
    pods: &'static [u8],
    kept: bool,
}

const BOTH: &[u8] = &[1, 2];

/// The handlings, each with what the client outside, the first pod and the node itself get.
fn cases() -> Vec<(Case, [Expected; 3])> {
    let masqueraded = |pods| Expected { pods, kept: false };
    let kept = |pods| Expected { pods, kept: true };
    let internal = [
        (
            Handling::InternalCluster,
            BOTH,
            &[][..],
            [masqueraded(BOTH), kept(BOTH), masqueraded(BOTH)],
        ),
        (
            Handling::InternalLocal,
            BOTH,
            &[2][..],
            [masqueraded(&[2]), kept(&[2]), masqueraded(&[2])],
        ),
    ];
    let external = || {
        [
            (
                Handling::ExternalCluster,
                BOTH,
                &[][..],
                [masqueraded(BOTH), masqueraded(BOTH), masqueraded(BOTH)],
            ),
            (
                Handling::ExternalLocal,
                BOTH,
                &[2][..],
                [kept(&[2]), kept(BOTH), masqueraded(BOTH)],
            ),
            (
                Handling::ExternalLocal,
                BOTH,
                BOTH,
                [kept(BOTH), kept(BOTH), masqueraded(BOTH)],
            ),
            (
                Handling::ExternalLocal,
                &[1][..],
                &[],
                [kept(&[]), kept(&[1]), masqueraded(&[1])],
            ),
        ]
    };
    let internal = internal
        .into_iter()
        .map(|case| (FrontKind::ClusterIp, case));
    let kinds = [
        FrontKind::NodePort,
        FrontKind::ExternalIp,
        FrontKind::LoadBalancer,
    ];
    let external = kinds
        .into_iter()
        .flat_map(|kind| external().map(|case| (kind, case)));
    let all = (1..).zip(internal.chain(external));
    let cases = all.map(|(number, (kind, (handling, cluster, local, expected)))| {
        let case = Case {
            number,
            kind,
            handling,
            cluster,
            local,
        };
        (case, expected)
    });
    cases.collect()
}

/// Those that nobody passes: dropped, or refused.
fn refusals() -> Vec<(Case, Outcome)> {
    let kinds = [
        FrontKind::ClusterIp,
        FrontKind::NodePort,
        FrontKind::ExternalIp,
        FrontKind::LoadBalancer,
    ];
    let kinds = kinds.into_iter().flat_map(|kind| {
        let drop = (kind, Handling::Drop, Outcome::Dropped);
        [drop, (kind, Handling::Reject, Outcome::Refused)]
    });
    let cases = (100..)
        .zip(kinds)
        .map(|(number, (kind, handling, outcome))| {
            let case = Case {
                number,
                kind,
                handling,
                cluster: &[],
                local: &[],
            };
            (case, outcome)
        });
    cases.collect()
}

/// Connects until all that is expected was seen, and never sees anything else.
fn assert_reaches(from: &Host, own: u8, case: &Case, family: Family, expected: &Expected) {
    let called = case.place(family, own);
    let source_at = |pod: u8| match (expected.kept, own == pod) {
        // A pod that reaches itself through a Service is masqueraded.
        (true, false) => neighbour(family, own),
        _ => gateway(family, pod),
    };
    let mut missing: BTreeSet<_> = expected
        .pods
        .iter()
        .map(|pod| Outcome::Reached(format!("pod-{pod}"), source_at(*pod)))
        .collect();
    if missing.is_empty() {
        missing.insert(Outcome::Dropped);
    }
    let allowed = missing.clone();
    for _ in 0..TRIES {
        let outcome = connect(from, called);
        let (handling, kind) = (case.handling, case.kind);
        assert!(
            allowed.contains(&outcome),
            "{} to {kind:?} {called} under {handling:?}: {outcome:?}, not {allowed:?}",
            from.name
        );
        missing.remove(&outcome);
        if missing.is_empty() {
            return;
        }
    }
    panic!("{} to {called}: never {missing:?}", from.name);
}

/// The clients, each with the link that it is on. The node calls itself at any of its addresses.
fn clients(network: &Network) -> [(&Host, u8); 3] {
    [
        (&network.client, 0),
        (&network.pods[0], 1),
        (&network.node, 0),
    ]
}

#[test]
fn every_client_reaches_what_every_handling_says() {
    let network = Network::new();
    let mut plans = Vec::new();
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            plans.extend(cases().iter().map(|(case, _)| case.plan(family, protocol)));
            plans.extend(
                refusals()
                    .iter()
                    .map(|(case, _)| case.plan(family, protocol)),
            );
        }
    }
    let mut dataplane = network
        .node
        .run(|| Dataplane::open(options()).expect("nftables"));
    let all = Changes {
        service_cidrs: Some(
            ["10.96.0.0/16", "fd96::/108"]
                .map(|r| r.parse().expect("a range"))
                .to_vec(),
        ),
        ..changes(plans)
    };
    dataplane.apply(all).expect("the kernel takes it");
    std::thread::scope(|scope| {
        for family in Family::ALL {
            let network = &network;
            scope.spawn(move || assert_family(network, family));
        }
    });
    network.node.run(|| assert_in_step(&mut dataplane));
}

fn assert_family(network: &Network, family: Family) {
    for (case, expected) in cases() {
        for ((host, link), expected) in clients(network).into_iter().zip(&expected) {
            assert_reaches(host, link, &case, family, expected);
        }
    }
    let udp = cases().remove(0).0.place(family, 0);
    let outcome = datagram(&network.client, udp);
    assert!(
        matches!(outcome, Outcome::Reached(..)),
        "{udp} by UDP: {outcome:?}"
    );
    let wrong_port = SocketAddr::new(service_ip(family, 1), 1);
    let unallocated = SocketAddr::new(service_ip(family, 250), 80);
    std::thread::scope(|scope| {
        for (host, link) in clients(network) {
            let refused = refusals()
                .into_iter()
                .map(|(case, outcome)| (case.place(family, link), outcome));
            let others = [
                (wrong_port, Outcome::Refused),
                (unallocated, Outcome::Dropped),
            ];
            for (called, expected) in refused.chain(others) {
                scope.spawn(move || {
                    let tcp = connect(host, called);
                    assert_eq!(tcp, expected, "{} to {called} by TCP", host.name);
                    let udp = datagram(host, called);
                    assert_eq!(udp, expected, "{} to {called} by UDP", host.name);
                });
            }
        }
    });
}

/// A VIP and a node port of a Service with restricted sources, and another that has the node among them.
#[test]
fn source_ranges_restrict_vips_alone() {
    let network = Network::new();
    let service = |family, number: u8, ranges: Vec<IpNet>| {
        let vip = |last| Front {
            address: Some(service_ip(family, last)),
            port: 80,
            kind: FrontKind::LoadBalancer,
            handling: Handling::ExternalCluster,
        };
        let node_port = Front {
            address: None,
            port: 30000 + u16::from(number),
            kind: FrontKind::NodePort,
            handling: Handling::ExternalCluster,
        };
        let port = PortPlan {
            cluster: backends(family, &[1]),
            source_ranges: Some(ranges),
            fronts: vec![vip(number), vip(number + 100), node_port],
            ..port(family)
        };
        plan(&format!("{family:?}-{number}"), vec![port])
    };
    let node_ips = Family::ALL.map(|family| gateway(family, 3)).to_vec();
    let options = Options {
        node_ips,
        ..options()
    };
    let mut dataplane = network
        .node
        .run(|| Dataplane::open(options).expect("nftables"));
    let only_client = |family| vec![neighbour(family, 0).into()];
    let node_and_pod = |family| vec![gateway(family, 3).into(), neighbour(family, 1).into()];
    let plans = Family::ALL.map(|family| {
        [
            service(family, 1, only_client(family)),
            service(family, 2, node_and_pod(family)),
        ]
    });
    dataplane
        .apply(changes(plans.into_iter().flatten()))
        .expect("the kernel takes it");
    // Who calls, which Service, and whether its VIPs let it in; its node port always does.
    let expected = [
        (&network.client, 0, 1, true),
        (&network.pods[0], 1, 1, false),
        (&network.node, 3, 1, false),
        (&network.client, 0, 2, false),
        (&network.pods[0], 1, 2, true),
        (&network.node, 3, 2, true),
    ];
    std::thread::scope(|scope| {
        for family in Family::ALL {
            for (host, link, number, admitted) in expected {
                scope.spawn(move || {
                    for vip in [number, number + 100] {
                        let outcome = connect(host, SocketAddr::new(service_ip(family, vip), 80));
                        let reached = matches!(outcome, Outcome::Reached(..));
                        assert!(reached == admitted, "{} to {vip}: {outcome:?}", host.name);
                        assert!(reached || outcome == Outcome::Dropped);
                    }
                    let node_port =
                        SocketAddr::new(gateway(family, link), 30000 + u16::from(number));
                    let outcome = connect(host, node_port);
                    assert!(
                        matches!(outcome, Outcome::Reached(..)),
                        "{}: {outcome:?}",
                        host.name
                    );
                });
            }
        }
    });
    network.node.run(|| assert_in_step(&mut dataplane));
    // A node that has the VIP as an address of its own calls it from there (k#109826).
    let called = SocketAddr::new(service_ip(Family::V4, 2), 80);
    network.give_node(called.ip(), 32);
    let outcome = connect(&network.node, called);
    assert!(
        matches!(outcome, Outcome::Reached(..)),
        "the node at its own VIP: {outcome:?}"
    );
}

/// The pod that answers, or `None`.
fn pod(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Reached(pod, _) => Some(pod),
        Outcome::Refused | Outcome::Dropped => None,
    }
}

/// The pods that answer many connections.
fn pods_of(from: &Host, called: SocketAddr) -> BTreeSet<String> {
    let outcomes = (0..TRIES).map(|_| connect(from, called));
    let pods = outcomes.map(|outcome| pod(&outcome).map(ToOwned::to_owned));
    pods.map(|pod| pod.expect("a pod answers")).collect()
}

/// A cluster address under policy Cluster, a VIP under policy Local, of one Service port with affinity.
fn sticky(family: Family, cluster: &[u8], local: &[u8]) -> ServicePlan {
    let front = |last, kind, handling| Front {
        address: Some(service_ip(family, last)),
        port: 80,
        kind,
        handling,
    };
    let port = PortPlan {
        cluster: backends(family, cluster),
        local: backends(family, local),
        affinity: Some(10800),
        fronts: vec![
            front(1, FrontKind::ClusterIp, Handling::InternalCluster),
            front(2, FrontKind::LoadBalancer, Handling::ExternalLocal),
        ],
        ..port(family)
    };
    plan(&format!("sticky-{family:?}"), vec![port])
}

/// The time that a client is remembered counts from its last connection.
fn assert_time_begins_anew(network: &Network, dataplane: &mut Dataplane, called: SocketAddr) {
    let table = table(Family::of(called.ip()));
    let mut left = || {
        let affinity = dataplane
            .netfilter
            .changing_elements(&table, crate::dataplane::layout::AFFINITY);
        match &affinity.expect("elements")[..] {
            [client] => client.expires.expect("a time"),
            others => panic!("one client, but {others:?}"),
        }
    };
    let timeout = Duration::from_secs(10800);
    std::thread::sleep(Duration::from_millis(1100));
    let before = left();
    assert!(before < timeout - Duration::from_secs(1), "{before:?}");
    connect(&network.client, called);
    let after = left();
    assert!(
        after > before && after <= timeout,
        "{after:?} after {before:?}"
    );
}

#[test]
fn a_client_stays_with_one_pod_across_addresses_losses_and_restarts() {
    let network = Network::new();
    for family in Family::ALL {
        let mut dataplane = network
            .node
            .run(|| Dataplane::open(options()).expect("nftables"));
        dataplane
            .apply(changes([sticky(family, BOTH, BOTH)]))
            .expect("the kernel takes it");
        let [internal, vip] = [1, 2].map(|last| SocketAddr::new(service_ip(family, last), 80));
        let first = pods_of(&network.client, internal);
        assert_eq!(first.len(), 1, "several pods of one client: {first:?}");
        assert_eq!(pods_of(&network.client, vip), first, "at another address");
        assert_time_begins_anew(&network, &mut dataplane, internal);
        // Under policy Local, a list without the client's pod: it gets the other, and stays there.
        let chosen: u8 = if first.contains("pod-1") { 1 } else { 2 };
        let other = 3 - chosen;
        let second = BTreeSet::from([format!("pod-{other}")]);
        dataplane
            .apply(changes([sticky(family, BOTH, &[other])]))
            .expect("the kernel takes it");
        assert_eq!(
            pods_of(&network.client, internal),
            first,
            "policy Cluster still has its pod"
        );
        assert_eq!(
            pods_of(&network.client, vip),
            second,
            "policy Local has the other alone"
        );
        assert_eq!(
            pods_of(&network.client, internal),
            second,
            "it is the last that counts"
        );
        // The pod is lost, and comes back: the client stays where it went.
        dataplane
            .apply(changes([sticky(family, &[chosen], &[chosen])]))
            .expect("the kernel takes it");
        assert_eq!(pods_of(&network.client, internal), first, "the only pod");
        dataplane
            .apply(changes([sticky(family, BOTH, BOTH)]))
            .expect("the kernel takes it");
        assert_eq!(
            pods_of(&network.client, internal),
            first,
            "the former pod is back"
        );
        // Other Services come in before the restart brings this one, so that ids have to be recovered.
        dataplane = network
            .node
            .run(|| Dataplane::open(options()).expect("nftables"));
        let another = ServicePlan {
            name: name("another"),
            ports: vec![PortPlan {
                fronts: vec![front(
                    FrontKind::ExternalIp,
                    &service_ip(family, 9).to_string(),
                    80,
                    Handling::Reject,
                )],
                ..port(family)
            }],
            ..plan("another", Vec::new())
        };
        let report = dataplane.apply(changes([another, sticky(family, BOTH, BOTH)]));
        assert!(report.expect("the kernel takes it").replaced);
        assert_eq!(pods_of(&network.client, internal), first, "after a restart");
        // Clients together use both pods.
        let all: BTreeSet<_> = (0..TRIES)
            .map(|_| network.pod_of_another_client(family, internal))
            .collect();
        assert_eq!(all.len(), 2, "clients with different addresses: {all:?}");
    }
}

/// Nothing that is done to the tables ends a connection, and none fails that begins meanwhile.
#[test]
fn connections_live_through_changes_and_restarts() {
    let network = Network::new();
    let family = Family::V4;
    let case = |cluster| Case {
        number: 1,
        kind: FrontKind::ExternalIp,
        handling: Handling::ExternalCluster,
        cluster,
        local: &[],
    };
    let called = case(BOTH).place(family, 0);
    let mut dataplane = network
        .node
        .run(|| Dataplane::open(options()).expect("nftables"));
    dataplane
        .apply(changes([case(BOTH).plan(family, Protocol::Tcp)]))
        .expect("the kernel takes it");
    let mut stream = network
        .client
        .run(|| TcpStream::connect(called).expect("a connection"));
    let before = ask(&mut stream);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let outcome = connect(&network.client, called);
                assert!(
                    matches!(outcome, Outcome::Reached(..)),
                    "connection {asked}: {outcome:?}"
                );
                asked += 1;
            }
            asked
        });
        for round in 0..300 {
            let cluster = [BOTH, &[1][..], &[2][..]][round % 3];
            let plan = case(cluster).plan(family, Protocol::Tcp);
            if round % 10 == 0 {
                dataplane = network
                    .node
                    .run(|| Dataplane::open(options()).expect("nftables"));
            } else if round % 10 == 5 {
                dataplane.distrust();
            }
            dataplane
                .apply(changes([plan]))
                .expect("the kernel takes it");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        match asking.join() {
            Ok(asked) => assert!(asked > 20, "only {asked} connections were tried"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    assert_eq!(ask(&mut stream), before);
}
