use std::collections::BTreeMap;

use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A flow from a client to an address, as one that answers from another.
fn flow(destination: &str, answers_from: &str) -> Flow {
    Flow {
        source: socket("10.244.9.9:40000"),
        destination: socket(destination),
        answers_from: socket(answers_from),
    }
}

fn front(text: &str) -> FrontKey {
    let socket = socket(text);
    FrontKey {
        address: socket.ip(),
        protocol: Protocol::Udp,
        port: socket.port(),
    }
}

/// Every front of DNS.
const FRONTS: [&str; 4] = [
    "10.96.0.10:53",
    "203.0.113.7:53",
    "198.51.100.1:53",
    "0.0.0.0:30053",
];

/// What is said of fronts that changed, where those of `all` are served.
fn judged(changed: &[&str], all: &[(&str, &[&str])]) -> Serving {
    let all: BTreeMap<_, Vec<_>> = all
        .iter()
        .map(|(text, endpoints)| {
            (
                front(text),
                endpoints.iter().map(|text| socket(text)).collect(),
            )
        })
        .collect();
    let changed = changed.iter().map(|text| front(text)).collect();
    Serving::of(&changed, &node(), |front| all.get(front).map(Vec::as_slice))
}

/// All of DNS changed, and has these serving endpoints now.
fn dns(serving: &[&str]) -> Serving {
    judged(&FRONTS, &FRONTS.map(|front| (front, serving)))
}

fn node() -> BTreeSet<IpAddr> {
    BTreeSet::from(["172.18.0.11".parse().expect("an address")])
}

/// Every address under which the Service of [`dns`] is called on this node.
const CALLED: [&str; 4] = [
    "10.96.0.10:53",
    "203.0.113.7:53",
    "198.51.100.1:53",
    "172.18.0.11:30053",
];

#[test]
fn a_flow_to_an_endpoint_that_serves_is_kept_whatever_the_policy() {
    let all = dns(&["10.244.1.4:5353", "10.244.2.4:5353"]);
    for called in CALLED {
        for endpoint in ["10.244.1.4:5353", "10.244.2.4:5353"] {
            assert!(!all.is_stale(&flow(called, endpoint), &node()), "{called}");
        }
    }
}

#[test]
fn a_flow_to_an_endpoint_that_serves_no_more_is_stale() {
    let all = dns(&["10.244.1.4:5353"]);
    for called in CALLED {
        assert!(
            all.is_stale(&flow(called, "10.244.2.4:5353"), &node()),
            "{called}"
        );
        // The pod is the same, and its port is another now.
        assert!(
            all.is_stale(&flow(called, "10.244.1.4:5300"), &node()),
            "{called}"
        );
    }
}

#[test]
fn a_flow_that_was_never_translated_is_stale() {
    let all = dns(&["10.244.1.4:5353"]);
    for called in CALLED {
        assert!(all.is_stale(&flow(called, called), &node()), "{called}");
    }
}

#[test]
fn without_endpoints_every_flow_is_stale() {
    let all = dns(&[]);
    for called in CALLED {
        assert!(
            all.is_stale(&flow(called, "10.244.1.4:5353"), &node()),
            "{called}"
        );
    }
}

#[test]
fn flows_to_other_addresses_ports_and_nodes_are_nobodys() {
    let all = dns(&["10.244.1.4:5353"]);
    for called in [
        "10.96.0.10:54",
        "10.96.0.11:53",
        "172.18.0.11:53",
        // Another node's node port: this node only forwards it.
        "172.18.0.12:30053",
        // A node port is no port of a service address.
        "10.96.0.10:30053",
    ] {
        assert!(
            !all.is_stale(&flow(called, "10.244.2.4:5353"), &node()),
            "{called}"
        );
    }
}

#[test]
fn a_node_port_of_one_family_judges_no_flow_of_the_other() {
    let all = dns(&["10.244.1.4:5353"]);
    let addresses = BTreeSet::from(["fd00:18::11".parse().expect("an address")]);
    let other = flow("[fd00:18::11]:30053", "[fd00:10:244::4]:5353");
    assert!(!all.is_stale(&other, &addresses));
}

#[test]
fn of_a_front_that_no_service_has_any_more_translated_flows_are_stale() {
    let gone = judged(&FRONTS, &[]);
    for called in CALLED {
        assert!(
            gone.is_stale(&flow(called, "10.244.1.4:5353"), &node()),
            "{called}"
        );
        let hosts_own = flow(called, called);
        assert!(!gone.is_stale(&hosts_own, &node()), "{called}");
    }
}

#[test]
fn what_is_withheld_judges_nothing() {
    let flows = CALLED.map(|called| flow(called, "10.244.2.4:5353"));
    let mut all = dns(&["10.244.1.4:5353"]);
    assert!(flows.iter().all(|flow| all.is_stale(flow, &node())));
    for text in FRONTS {
        all.withhold(front(text));
    }
    assert!(!flows.iter().any(|flow| all.is_stale(flow, &node())));
    // An address of the node that a Service is about to get is not judged by its node port.
    let mut all = dns(&["10.244.1.4:5353"]);
    all.withhold(front("172.18.0.11:30053"));
    assert!(!all.is_stale(&flows[3], &node()));
}

/// An external address may be the node's, and its port another Service's node port. The address goes before.
#[test]
fn an_address_of_the_node_is_judged_by_who_has_its_port() {
    let (address, node_port) = ("172.18.0.11:30053", "0.0.0.0:30053");
    let of_address: (&str, &[&str]) = (address, &["10.244.1.4:5353"]);
    let of_node_port: (&str, &[&str]) = (node_port, &["10.244.2.4:5353"]);
    let (to_one, to_two) = (
        flow(address, "10.244.1.4:5353"),
        flow(address, "10.244.2.4:5353"),
    );
    for changed in [[address], [node_port]] {
        let both = judged(&changed, &[of_address, of_node_port]);
        assert!(!both.is_stale(&to_one, &node()) && both.is_stale(&to_two, &node()));
    }
    let gone = judged(&[address], &[of_node_port]);
    assert!(gone.is_stale(&to_one, &node()) && !gone.is_stale(&to_two, &node()));
}
