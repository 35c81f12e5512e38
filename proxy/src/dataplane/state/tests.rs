//! Who has a front that several Services ask for, without a kernel.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::plan::{Front, FrontKind, Handling};

/// A Service of one endpoint, with these fronts on port 53 of UDP.
fn service(name: &str, fronts: &[(FrontKind, &str)], endpoint: &str) -> ServicePlan {
    let fronts = fronts.iter().map(|(kind, address)| Front {
        address: (!address.is_empty()).then(|| address.parse().expect("an address")),
        port: 53,
        kind: *kind,
        handling: Handling::ExternalCluster,
    });
    let endpoints: Vec<SocketAddr> = vec![endpoint.parse().expect("an endpoint")];
    let port = PortPlan {
        family: Family::V4,
        protocol: Protocol::Udp,
        port_name: "".into(),
        cluster: endpoints.clone(),
        local: Vec::new(),
        serving: endpoints,
        hairpins: Vec::new(),
        affinity: None,
        source_ranges: None,
        fronts: fronts.collect(),
    };
    ServicePlan {
        name: named(name),
        cluster_ips: Vec::new(),
        ports: vec![port],
        health: None,
    }
}

fn named(name: &str) -> ObjectName {
    ObjectName {
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn key(address: &str) -> FrontKey {
    FrontKey {
        address: address.parse().expect("an address"),
        protocol: Protocol::Udp,
        port: 53,
    }
}

/// The names of those that have fronts.
fn owners(state: &State) -> BTreeMap<FrontKey, ObjectName> {
    let fronts = state.tables[0].fronts.iter();
    let owner = |(key, installed): (FrontKey, Installed)| (key, state.port(installed.id).0.clone());
    fronts.map(owner).collect()
}

const KINDS: [FrontKind; 3] = [
    FrontKind::NodePort,
    FrontKind::ExternalIp,
    FrontKind::LoadBalancer,
];

#[test]
fn a_cluster_address_is_its_services_whoever_else_asks_for_it() {
    for thief in ["a", "z"] {
        for kind in [FrontKind::ExternalIp, FrontKind::LoadBalancer] {
            let good = || {
                service(
                    "good",
                    &[(FrontKind::ClusterIp, "10.96.0.1")],
                    "10.0.0.1:53",
                )
            };
            let own = (FrontKind::ClusterIp, "10.96.0.2");
            let stolen = service(thief, &[own, (kind, "10.96.0.1")], "10.0.0.2:53");
            for first in [good(), stolen.clone()] {
                let mut state = State::default();
                for plan in [first, good(), stolen.clone()] {
                    state.change(&plan.name.clone(), Some(plan), None);
                }
                assert_eq!(owners(&state)[&key("10.96.0.1")], named("good"), "{thief}");
                assert_eq!(owners(&state)[&key("10.96.0.2")], named(thief));
                let [conflict] = &state.conflicts()[..] else {
                    panic!("one front is contested");
                };
                assert_eq!(conflict.winner, named("good"));
                assert!(conflict.cluster_ip);
                assert_eq!(conflict.losers, [named(thief)]);
                // When the good one goes, the address is as free as any.
                state.change(&named("good"), None, None);
                assert_eq!(owners(&state)[&key("10.96.0.1")], named(thief));
                state.change(&named("good"), Some(good()), None);
                assert_eq!(owners(&state)[&key("10.96.0.1")], named("good"));
            }
        }
    }
}

#[test]
fn among_external_addresses_the_first_by_name_has_it() {
    let mut state = State::default();
    for (name, kind) in [
        ("b", FrontKind::LoadBalancer),
        ("a", FrontKind::ExternalIp),
        ("c", FrontKind::ExternalIp),
    ] {
        let plan = service(name, &[(kind, "192.0.2.1")], "10.0.0.1:53");
        state.change(&plan.name.clone(), Some(plan), None);
    }
    assert_eq!(owners(&state)[&key("192.0.2.1")], named("a"));
    let conflicts = state.conflicts();
    assert!(!conflicts[0].cluster_ip);
    assert_eq!(conflicts[0].losers, [named("b"), named("c")]);
}

/// An earlier process numbered the good Service's port; another Service's claim does not get that number, and
/// with it the affinity of its clients.
#[test]
fn an_earlier_processs_number_goes_by_the_cluster_address() {
    let good = service(
        "good",
        &[(FrontKind::ClusterIp, "10.96.0.1")],
        "10.0.0.1:53",
    );
    let own = (FrontKind::ClusterIp, "10.96.0.2");
    let thief = service(
        "a",
        &[own, (FrontKind::ExternalIp, "10.96.0.1")],
        "10.0.0.2:53",
    );
    let mut state = State::default();
    state.ids.recover([(key("10.96.0.1"), 7)].into());
    for plan in [thief, good] {
        state.change(&plan.name.clone(), Some(plan), None);
    }
    assert_eq!(state.held(state.names[&named("good")]).ids, [7]);
    assert_ne!(state.held(state.names[&named("a")]).ids, [7]);
}

/// The fronts whose flows are to be judged after a change, with the endpoints that serve them.
fn judged(state: &mut State, name: &str, plan: Option<ServicePlan>) -> Vec<(String, Vec<String>)> {
    state.change(&named(name), plan, None);
    let changed = std::mem::take(&mut state.udp_changed);
    let serving = |front: FrontKey| {
        let serving = state.serving(&front).unwrap_or_default().iter();
        let serving = serving.map(ToString::to_string).collect();
        (front.address.to_string(), serving)
    };
    changed.into_iter().map(serving).collect()
}

fn said(front: &str, endpoints: &[&str]) -> (String, Vec<String>) {
    let endpoints = endpoints.iter().map(ToString::to_string).collect();
    (front.to_owned(), endpoints)
}

#[test]
fn flows_are_judged_by_who_has_the_front() {
    let shared = (FrontKind::ExternalIp, "192.0.2.1");
    let winner = |endpoint| {
        let own = (FrontKind::ClusterIp, "10.96.0.1");
        Some(service("a", &[own, shared], endpoint))
    };
    let loser = |endpoint| {
        let own = (FrontKind::ClusterIp, "10.96.0.2");
        Some(service("b", &[own, shared], endpoint))
    };
    let (one, two, three) = ("10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53");
    let mut state = State::default();
    assert_eq!(
        judged(&mut state, "a", winner(one)),
        [said("10.96.0.1", &[one]), said("192.0.2.1", &[one])]
    );
    assert_eq!(
        judged(&mut state, "b", loser(two)),
        [said("10.96.0.2", &[two])],
        "it does not get the other front"
    );
    assert_eq!(
        judged(&mut state, "b", loser(three)),
        [said("10.96.0.2", &[three])],
        "the loser's endpoints do not judge the winner's flows"
    );
    assert_eq!(
        judged(&mut state, "a", None),
        [said("10.96.0.1", &[]), said("192.0.2.1", &[three])],
        "the front has another owner, whose plan is as before"
    );
    assert_eq!(
        judged(&mut state, "a", winner(one)),
        [said("10.96.0.1", &[one]), said("192.0.2.1", &[one])]
    );
    let without = service("a", &[(FrontKind::ClusterIp, "10.96.0.1")], one);
    assert_eq!(
        judged(&mut state, "a", Some(without.clone())),
        [said("192.0.2.1", &[three])],
        "an address is lost, and another Service has it"
    );
    assert_eq!(judged(&mut state, "a", Some(without)), []);
    assert_eq!(
        judged(&mut state, "b", None),
        [said("10.96.0.2", &[]), said("192.0.2.1", &[])]
    );
}

/// Services with names, and what each asks for of two addresses and the node port.
fn worlds() -> impl Strategy<Value = BTreeMap<String, Vec<(FrontKind, &'static str)>>> {
    let external = (
        select(KINDS.to_vec()),
        select(vec!["192.0.2.1", "192.0.2.2"]),
    );
    let cluster = (
        Just(FrontKind::ClusterIp),
        select(vec!["192.0.2.1", "192.0.2.2"]),
    );
    let front = prop_oneof![external, cluster].prop_map(|(kind, address)| match kind {
        FrontKind::NodePort => (kind, ""),
        _ => (kind, address),
    });
    prop::collection::btree_map("[a-e]", prop::collection::vec(front, 1..4), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_events_does_not_decide((world, order) in worlds().prop_flat_map(|world| {
        let names: Vec<_> = world.keys().cloned().chain(world.keys().cloned()).collect();
        (Just(world), Just(names).prop_shuffle())
    })) {
        let mut state = State::default();
        for (number, name) in order.iter().enumerate() {
            let plan = service(name, &world[name], "10.0.0.1:53");
            // Each comes twice; of some, the first time is followed by a deletion.
            state.change(&plan.name.clone(), Some(plan), None);
            if number % 2 == 0 && order[number + 1..].contains(name) {
                state.change(&named(name), None, None);
            }
        }
        let mut expected: BTreeMap<FrontKey, (bool, ObjectName)> = BTreeMap::new();
        for (name, fronts) in &world {
            for (kind, address) in fronts {
                let address = if address.is_empty() { "0.0.0.0" } else { address };
                let rank = (*kind != FrontKind::ClusterIp, named(name));
                let best = expected.entry(key(address)).or_insert_with(|| rank.clone());
                *best = best.clone().min(rank);
            }
        }
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(key, (_, name))| (key, name)).collect();
        prop_assert_eq!(owners(&state), expected);
    }
}
