//! Connections of every class of client through every handling, under every configuration that they depend on.

use super::super::network::near_end;
use super::*;

/// Which pods a client reaches, and whether they see its own address.
struct Expected {
    pods: &'static [u8],
    kept: bool,
}

/// The handlings, each with what the client outside, the first pod and the node itself get (`behaviour.md`, 2).
fn cases(options: &Options) -> Vec<(Case, [Expected; 3])> {
    let masqueraded = |pods| Expected { pods, kept: false };
    let kept = |pods| Expected { pods, kept: true };
    let detects = options.detector != Detector::None;
    // What is no pod's is masqueraded, and nothing where no pod can be told; all of it under masqueradeAll.
    let internal = |pods| match (options.masquerade_all, detects) {
        (true, _) => [masqueraded(pods), masqueraded(pods), masqueraded(pods)],
        (false, true) => [masqueraded(pods), kept(pods), masqueraded(pods)],
        (false, false) => [kept(pods), kept(pods), kept(pods)],
    };
    // A pod is served as inside the cluster where it can be told, and as the client outside where it cannot.
    let local = |cluster, local| {
        let pod = if detects { cluster } else { local };
        [kept(local), kept(pod), masqueraded(cluster)]
    };
    let internal = [
        (Handling::InternalCluster, BOTH, &[][..], internal(BOTH)),
        (Handling::InternalLocal, BOTH, &[2][..], internal(&[2])),
    ];
    let external = || {
        let everybody = [masqueraded(BOTH), masqueraded(BOTH), masqueraded(BOTH)];
        [
            (Handling::ExternalCluster, BOTH, &[][..], everybody),
            (Handling::ExternalLocal, BOTH, &[2], local(BOTH, &[2])),
            (Handling::ExternalLocal, BOTH, BOTH, local(BOTH, BOTH)),
            (Handling::ExternalLocal, &[1], &[], local(&[1], &[])),
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

/// Connects until all that is expected was seen, and never sees anything else; then sends a datagram.
fn assert_reaches(from: &Host, own: u8, case: &Case, family: Family, expected: &Expected) {
    let called = case.place(family, own);
    let source_at = |pod: u8| match (expected.kept, own == pod) {
        // A pod that reaches itself through a Service is masqueraded.
        (true, false) => own_address(from, own, family),
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
    let wait = allowed.first().expect("an outcome").wait();
    let assert_allowed = |outcome: &Outcome, protocol| {
        let (handling, kind) = (case.handling, case.kind);
        assert!(
            allowed.contains(outcome),
            "{} to {kind:?} {called} by {protocol:?} under {handling:?}: {outcome:?}, not {allowed:?}",
            from.name
        );
    };
    for _ in 0..TRIES {
        let outcome = connect_within(wait, from, called);
        assert_allowed(&outcome, Protocol::Tcp);
        missing.remove(&outcome);
        if missing.is_empty() {
            break;
        }
    }
    assert!(
        missing.is_empty(),
        "{} to {called}: never {missing:?}",
        from.name
    );
    assert_allowed(&datagram_within(wait, from, called), Protocol::Udp);
}

/// The address by which a client calls a Service: the node has that of its uplink, where its default route is.
fn own_address(client: &Host, link: u8, family: Family) -> IpAddr {
    match client.name {
        "node" => gateway(family, 3),
        _ => neighbour(family, link),
    }
}

/// The clients, each with the link that it is on. The node calls itself at any of its addresses.
fn clients(network: &Network) -> [(&Host, u8); 3] {
    [
        (&network.client, 0),
        (&network.pods[0], 1),
        (&network.node, 0),
    ]
}

/// Every handling under a detector, without and with `masqueradeAll`.
fn assert_every_client_reaches(detector: &Detector) {
    for masquerade_all in [false, true] {
        let options = Options {
            detector: detector.clone(),
            masquerade_all,
            ..Options::default()
        };
        assert_every_handling(&options);
    }
}

#[test]
fn every_client_reaches_what_every_handling_says() {
    assert_every_client_reaches(&options().detector);
}

#[test]
fn every_client_reaches_the_same_where_pods_have_one_range() {
    let ranges = Family::ALL.map(|family| {
        let prefix = if family == Family::V4 { 24 } else { 64 };
        IpNet::new_assert(neighbour(family, 1), prefix)
    });
    assert_every_client_reaches(&Detector::Sources(ranges.to_vec()));
}

#[test]
fn every_client_reaches_the_same_where_pods_have_an_interface() {
    assert_every_client_reaches(&Detector::Interface(near_end(1).into()));
}

#[test]
fn every_client_reaches_the_same_where_pods_have_interfaces_of_a_prefix() {
    assert_every_client_reaches(&Detector::InterfacePrefix("veth".into()));
}

#[test]
fn where_pods_cannot_be_told_they_are_served_as_clients_outside() {
    assert_every_client_reaches(&Detector::None);
}

fn assert_every_handling(options: &Options) {
    let network = Network::new();
    let mut plans = Vec::new();
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let cases = cases(options).into_iter().map(|(case, _)| case);
            let refusals = refusals().into_iter().map(|(case, _)| case);
            plans.extend(
                cases
                    .chain(refusals)
                    .map(|case| case.plan(family, protocol)),
            );
        }
    }
    let mut dataplane = network
        .node
        .run(|| Dataplane::open(options.clone()).expect("nftables"));
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
            scope.spawn(move || assert_family(network, options, family));
        }
    });
    network.node.run(|| assert_in_step(&mut dataplane));
}

fn assert_family(network: &Network, options: &Options, family: Family) {
    let cases = cases(options);
    std::thread::scope(|scope| {
        let all = cases.iter().flat_map(|(case, expected)| {
            let clients = clients(network).into_iter().zip(expected);
            clients.map(move |((host, link), expected)| (host, link, case, expected))
        });
        // One that is dropped waits long, so that those are side by side.
        let (reached, dropped): (Vec<_>, Vec<_>) =
            all.partition(|(.., expected)| !expected.pods.is_empty());
        for (host, link, case, expected) in dropped {
            scope.spawn(move || assert_reaches(host, link, case, family, expected));
        }
        for (host, link, case, expected) in reached {
            assert_reaches(host, link, case, family, expected);
        }
    });
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
                    let wait = expected.wait();
                    let tcp = connect_within(wait, host, called);
                    assert_eq!(tcp, expected, "{} to {called} by TCP", host.name);
                    let udp = datagram_within(wait, host, called);
                    assert_eq!(udp, expected, "{} to {called} by UDP", host.name);
                });
            }
        }
    });
}
