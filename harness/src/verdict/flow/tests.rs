//! Connections that a load balancer answers itself, by hand.

use std::time::Duration;

use super::*;
use crate::case::{Target, Variation, external};
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
    // A pod on the entry node may see the load balancer or the node: implementations differ.
    assert_eq!(under_cluster(seen()), [""; 0]);
    let nobodys = Seen {
        peer: CLIENT_PUBLIC,
        ..seen()
    };
    let text = "source client-public instead of the entry node's (1 of 1)";
    assert_eq!(under_cluster(nobodys), [text]);
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

/// A client's call of vm1, under a variation, with this outcome and way: by which value it is right, or what is wrong.
fn measured(
    expect: Expectation,
    outcome: Outcome,
    trip: Trip,
) -> Result<BTreeMap<String, u64>, Vec<String>> {
    all_measured(expect, [(outcome, trip)])
}

/// The same of several.
fn all_measured<const N: usize>(
    expect: Expectation,
    calls: [(Outcome, Trip); N],
) -> Result<BTreeMap<String, u64>, Vec<String>> {
    measured_as(expect, calls, Asked::Briefly)
}

/// The same, as a check asks that is to see everybody who may answer.
fn measured_as<const N: usize>(
    expect: Expectation,
    calls: [(Outcome, Trip); N],
    asked: Asked,
) -> Result<BTreeMap<String, u64>, Vec<String>> {
    let world = World::story();
    let called = SocketAddr::new(address(&world, "vm1"), 30_000);
    let observed = calls.map(|(outcome, trip)| Observed {
        connection: Connection {
            protocol: Protocol::Tcp,
            local: SocketAddr::new(address(&world, CLIENT_PUBLIC), 50_000),
            remote: called,
            sequence: 1,
            octets: None,
            outcome,
        },
        trip: Trip {
            answers_from: BTreeSet::from([called]),
            ..trip
        },
    });
    let flow = FlowCheck {
        from: external(CLIENT_PUBLIC),
        to: Target::NodePort("vm1".to_owned()),
        port: "",
        length: Length::Brief,
        expect,
        family: None,
    };
    let ttls = world.pods.iter().map(|pod| {
        let way = (CLIENT_PUBLIC.to_owned(), pod.name.clone(), Family::V4);
        (way, DIRECT)
    });
    let ground = Ground {
        world: &world,
        baseline: &Baseline(ttls.collect()),
        timing: &Timing::default(),
    };
    let result = judge(&flow, Family::V4, &observed, &[20_000], asked, 1, &ground);
    if result.passed() {
        Ok(result.tally.expect("counted").values)
    } else {
        Err(result.wrong)
    }
}

/// That many connections by one value of a variation, and none by another.
fn only(value: &str, times: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(value.to_owned(), times)])
}

/// The IPv4 address of a node, a client or a pod.
fn address(world: &World, name: &str) -> IpAddr {
    let node = world.node(name).map(|node| node.address);
    let client = world.client(name).map(|client| client.address);
    let pod = world.pod(name).map(|pod| pod.address);
    let known = node.or(client).or(pod);
    known.expect("a host of the world").of(Family::V4)
}

#[test]
fn an_address_that_nobody_has_is_dropped_refused_or_left_alone_and_never_served() {
    let expect = || Expectation::varies(Variation::UnallocatedAddress, None);
    let ended_at = |host: &str| Trip {
        ended_at: Some(host.to_owned()),
        ..Trip::default()
    };
    let refused_by = |host: &str| Trip {
        answered_by: Some(host.to_owned()),
        ..ended_at(host)
    };
    let refused = || Outcome::Refused(Refusal::Reset);
    for (outcome, trip, value) in [
        (Outcome::Dropped, ended_at("vm1"), "drop"),
        (refused(), refused_by("vm1"), "reject"),
        (Outcome::Dropped, ended_at(LOAD_BALANCER), "pass"),
        (refused(), refused_by(LOAD_BALANCER), "pass"),
    ] {
        let counted = measured(expect(), outcome, trip);
        assert_eq!(counted, Ok(only(value, 1)));
    }
    let unsteady = [
        (Outcome::Dropped, ended_at("vm1")),
        (refused(), refused_by("vm1")),
    ];
    assert_eq!(
        all_measured(expect(), unsteady),
        Err(vec!["now drop, now reject".to_owned()])
    );
    let forwarded = Trip {
        destination_rewritten_by: BTreeSet::from(["vm1".to_owned()]),
        ..ended_at("web-0")
    };
    let wrong = measured(expect(), Outcome::Dropped, forwarded).expect_err("it was forwarded");
    assert!(
        wrong[0].starts_with("by no value of unallocated-address: "),
        "{wrong:?}"
    );
}

#[test]
fn a_pod_on_the_entry_node_may_see_the_client_or_the_node_and_which_is_counted() {
    let entry = Entry::Node("vm1".to_owned());
    let reach = Reach::pods(&["web-0"], Source::EntryNode, Hops::OneIfRemote, entry);
    let world = World::story();
    let reached = |peer: IpAddr| Outcome::Reached {
        identity: Identity {
            pod: "web-0".to_owned(),
            node: "vm1".to_owned(),
            port: 20_000,
            peer: SocketAddr::new(peer, 40_000),
            ttl: DIRECT,
        },
        latency: Duration::ZERO,
    };
    let by_vm1 = || BTreeSet::from(["vm1".to_owned()]);
    let trip = |is_hidden: bool| Trip {
        entry: Some("vm1".to_owned()),
        destination_rewritten_by: by_vm1(),
        source_rewritten_by: if is_hidden { by_vm1() } else { BTreeSet::new() },
        ..Trip::default()
    };
    let local = Expectation::varies(Variation::LocalBackendSource, Some(&reach));
    let hairpin = Expectation::varies(Variation::HairpinVipSource, Some(&reach));
    let vm1 = world.node("vm1").expect("a node");
    for (peer, is_hidden, by_local, by_hairpin) in [
        (address(&world, CLIENT_PUBLIC), false, "client", "client"),
        (vm1.address.of(Family::V4), true, "node", "node"),
        (vm1.pod_gateway.of(Family::V4), true, "node", "gateway"),
    ] {
        for (expect, value) in [(&local, by_local), (&hairpin, by_hairpin)] {
            let counted = measured(expect.clone(), reached(peer), trip(is_hidden));
            assert_eq!(counted, Ok(only(value, 1)), "{peer}");
        }
        // Where that is not the question, it is left open, and counted all the same.
        let open = measured(reach.clone().into(), reached(peer), trip(is_hidden));
        assert_eq!(open, Ok(only(by_local, 1)), "{peer}");
    }
    for expect in [local, hairpin, reach.into()] {
        let another = address(&world, "vm2");
        let wrong = measured(expect, reached(another), trip(true));
        assert!(wrong.is_err_and(|wrong| wrong[0].contains("source vm2 instead of")));
    }
}

#[test]
fn of_whom_a_value_says_that_they_may_answer_each_does() {
    let entry = Entry::Node("vm1".to_owned());
    let reach = Reach::pods(
        &["web-0", "web-4"],
        Source::NodeAddress,
        Hops::OneIfRemote,
        entry,
    );
    let world = World::story();
    let vm1 = world.node("vm1").expect("a node").address.of(Family::V4);
    let served = |pod: &str| {
        let identity = Identity {
            pod: pod.to_owned(),
            node: "vm1".to_owned(),
            port: 20_000,
            peer: SocketAddr::new(vm1, 40_000),
            ttl: DIRECT,
        };
        let by_vm1 = || BTreeSet::from(["vm1".to_owned()]);
        let trip = Trip {
            entry: Some("vm1".to_owned()),
            destination_rewritten_by: by_vm1(),
            source_rewritten_by: by_vm1(),
            ..Trip::default()
        };
        let latency = Duration::ZERO;
        (Outcome::Reached { identity, latency }, trip)
    };
    let expect = || Expectation::varies(Variation::LocalhostNodePort, Some(&reach));
    let both = measured_as(expect(), ["web-0", "web-4"].map(served), Asked::Covering);
    assert_eq!(both, Ok(only("served", 2)));
    let one = measured_as(expect(), ["web-0", "web-0"].map(served), Asked::Covering);
    assert_eq!(one, Err(vec!["never reached web-4".to_owned()]));
    let refused = (Outcome::Refused(Refusal::Reset), Trip::default());
    let none = measured_as(expect(), [refused], Asked::Covering);
    assert_eq!(none, Ok(only("closed", 1)), "nobody answers");
}
