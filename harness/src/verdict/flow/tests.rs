//! Connections that a load balancer answers itself, by hand.

use std::time::Duration;

use super::*;
use crate::case::{Target, external};
use crate::world::{CLIENT_PUBLIC, Length, Protocol};

/// The TTL of a connection that the load balancer sends straight to a pod.
const DIRECT: u8 = 63;

/// What a pod has seen of the load balancer's own connection, and what the taps of the caller's.
struct Seen {
    pod: &'static str,
    peer: &'static str,
    ttl: u8,
    trip: Trip,
}

/// `web-0` on vm1, which has kept the source.
fn seen() -> Seen {
    Seen {
        pod: "web-0",
        peer: LOAD_BALANCER,
        ttl: DIRECT,
        trip: Trip {
            answered_by: Some(LOAD_BALANCER.to_owned()),
            answers_from: BTreeSet::from([vip()]),
            ..Trip::default()
        },
    }
}

fn vip() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 80))
}

/// What is wrong with this connection.
fn wrong(seen: Seen, source: Source, hops: Hops) -> Vec<String> {
    let world = World::story();
    let addresses = |name: &str| match world.node(name) {
        Some(node) => node.address,
        None if name == LOAD_BALANCER => world.balancer,
        None => world.client(name).expect("a client").address,
    };
    let of = |name: &str, port| SocketAddr::new(addresses(name).of(Family::V4), port);
    let pod = world.pod(seen.pod).expect("a pod");
    let identity = Identity {
        pod: pod.name.clone(),
        node: pod.node.clone(),
        port: 20_000,
        peer: of(seen.peer, 40_000),
        ttl: seen.ttl,
    };
    let outcome = Outcome::Reached {
        identity,
        latency: Duration::ZERO,
    };
    let observed = Observed {
        connection: Connection {
            protocol: Protocol::Tcp,
            local: of(CLIENT_PUBLIC, 50_000),
            remote: vip(),
            sequence: 1,
            octets: None,
            outcome,
        },
        trip: seen.trip,
    };
    let ttls = world.pods.iter().map(|pod| {
        let way = (LOAD_BALANCER.to_owned(), pod.name.clone(), Family::V4);
        (way, DIRECT)
    });
    let entry = Entry::Proxied(vec!["vm1".to_owned()]);
    let flow = FlowCheck {
        from: external(CLIENT_PUBLIC),
        to: Target::Vip,
        port: "",
        length: Length::Brief,
        expect: Reach::pods(&["web-0", "web-1"], source, hops, entry).into(),
        family: None,
    };
    let ground = Ground {
        world: &world,
        baseline: &Baseline(ttls.collect()),
        timing: &Timing::default(),
    };
    let asked = Asked::Briefly;
    judge(&flow, Family::V4, &[observed], &[20_000], asked, 1, &ground).wrong
}

fn under_local(seen: Seen) -> Vec<String> {
    wrong(seen, Source::Balancer, Hops::Direct)
}

fn under_cluster(seen: Seen) -> Vec<String> {
    wrong(seen, Source::EntryNode, Hops::OneIfRemote)
}

#[test]
fn the_pod_tells_by_which_node_a_load_balancer_has_called() {
    assert_eq!(under_local(seen()), [""; 0]);
    let by_vm1 = |pod, ttl| Seen {
        pod,
        ttl,
        peer: "vm1",
        ..seen()
    };
    assert_eq!(under_cluster(by_vm1("web-0", DIRECT)), [""; 0]);
    assert_eq!(under_cluster(by_vm1("web-1", DIRECT - 1)), [""; 0]);
    let by_vm2 = Seen {
        peer: "vm2",
        ttl: DIRECT - 1,
        ..seen()
    };
    assert_eq!(under_cluster(by_vm2), ["entered by vm2 (1 of 1)"]);
}

#[test]
fn a_source_that_is_not_the_load_balancers_is_wrong() {
    for peer in ["vm1", CLIENT_PUBLIC] {
        let text = format!("source {peer} instead of the load balancer's (1 of 1)");
        assert_eq!(under_local(Seen { peer, ..seen() }), [text]);
    }
    let by_nobody = Seen {
        peer: CLIENT_PUBLIC,
        ..seen()
    };
    let text = format!("source {CLIENT_PUBLIC} instead of the entry node's (1 of 1)");
    assert_eq!(under_cluster(by_nobody), [text]);
    // A node may keep it for a pod of its own: a variation.
    assert_eq!(under_cluster(seen()), [""; 0]);
}

#[test]
fn another_node_that_keeps_the_source_costs_a_hop() {
    let detour = Seen {
        ttl: DIRECT - 1,
        ..seen()
    };
    assert_eq!(under_local(detour), ["+1 hops instead of +0 (1 of 1)"]);
}

#[test]
fn a_node_that_serves_the_address_itself_is_wrong() {
    let vm1 = || Some("vm1".to_owned());
    let served = Seen {
        trip: Trip {
            entry: vm1(),
            answered_by: vm1(),
            destination_rewritten_by: vm1().into_iter().collect(),
            ..seen().trip
        },
        ..seen()
    };
    assert_eq!(
        under_local(served),
        [
            "answered by vm1, not by the load balancer (1 of 1)",
            "destination rewritten by vm1 (1 of 1)",
        ]
    );
}

#[test]
fn datagrams_of_a_length_that_are_lost_are_told_with_it() {
    let world = World::story();
    let client = world.client(CLIENT_PUBLIC).expect("a client").address;
    let lost = Observed {
        connection: Connection {
            protocol: Protocol::Udp,
            local: SocketAddr::new(client.v4.into(), 50_000),
            remote: vip(),
            sequence: 1,
            octets: Some(1500),
            outcome: Outcome::Dropped,
        },
        trip: Trip::default(),
    };
    let entry = Entry::Balanced(vec!["vm1".to_owned()]);
    let flow = FlowCheck {
        from: external(CLIENT_PUBLIC),
        to: Target::Vip,
        port: "",
        length: Length::Mtu(0),
        expect: Reach::pods(&["web-0"], Source::Preserved, Hops::Direct, entry).into(),
        family: None,
    };
    let ground = Ground {
        world: &world,
        baseline: &Baseline::default(),
        timing: &Timing::default(),
    };
    let asked = Asked::Briefly;
    let (observed, ports) = ([lost.clone(), lost], [20_000]);
    let result = judge(&flow, Family::V4, &observed, &ports, asked, 1, &ground);
    assert_eq!(result.to, "vip, datagrams of MTU");
    assert_eq!(result.got, "datagrams of 1500 octets: dropped ×2");
    assert_eq!(result.wrong, ["datagrams of 1500 octets: dropped (2 of 2)"]);
}
