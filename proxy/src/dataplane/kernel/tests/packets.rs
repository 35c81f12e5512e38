//! Connections through the rules.

mod affinity;
mod handlings;

use std::collections::BTreeSet;
use std::net::TcpStream;

use super::network::{
    Host, Network, Outcome, PORT, ask, connect, connect_within, datagram_within, gateway, neighbour,
};
use super::*;

/// Connections that are asked for until all endpoints must have answered: of two, one is never chosen in one of
/// 2^23 tests.
const TRIES: usize = 24;

const BOTH: &[u8] = &[1, 2];

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
                        let expected = if admitted {
                            Outcome::Reached("pod-1".into(), gateway(family, 1))
                        } else {
                            Outcome::Dropped
                        };
                        let called = SocketAddr::new(service_ip(family, vip), 80);
                        let outcome = connect_within(expected.wait(), host, called);
                        assert_eq!(outcome, expected, "{} to {vip}", host.name);
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
    // A node that has a VIP as an address of its own calls it from there, also the second one (k#109826).
    for vip in [2, 102] {
        let called = SocketAddr::new(service_ip(Family::V4, vip), 80);
        network.give_node(called.ip(), 32);
        let outcome = connect(&network.node, called);
        assert!(
            matches!(outcome, Outcome::Reached(..)),
            "the node at its own VIP {vip}: {outcome:?}"
        );
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
