//! Clients that stay with one pod.

use super::*;

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
