use super::*;
use crate::model::ObjectName;
use crate::plan::{Front, Handling};

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

fn front(kind: FrontKind, address: Option<&str>, port: u16) -> Front {
    Front {
        address: address.map(|address| address.parse().expect("an address")),
        port,
        kind,
        handling: Handling::ExternalLocal,
    }
}

/// DNS with every kind of address, and these serving endpoints.
fn dns(protocol: Protocol, serving: &[&str]) -> Serving {
    let port = PortPlan {
        family: Family::V4,
        protocol,
        port_name: "dns".into(),
        cluster: Vec::new(),
        local: Vec::new(),
        serving: serving.iter().map(|text| socket(text)).collect(),
        hairpins: Vec::new(),
        affinity: None,
        source_ranges: None,
        fronts: vec![
            front(FrontKind::ClusterIp, Some("10.96.0.10"), 53),
            front(FrontKind::ExternalIp, Some("203.0.113.7"), 53),
            front(FrontKind::LoadBalancer, Some("198.51.100.1"), 53),
            front(FrontKind::NodePort, None, 30053),
        ],
    };
    let name = ObjectName {
        namespace: "kube-system".into(),
        name: "dns".into(),
    };
    let mut all = Serving::default();
    all.add(&ServicePlan {
        name,
        cluster_ips: Vec::new(),
        ports: vec![port],
        health: None,
    });
    all
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
    let all = dns(Protocol::Udp, &["10.244.1.4:5353", "10.244.2.4:5353"]);
    for called in CALLED {
        for endpoint in ["10.244.1.4:5353", "10.244.2.4:5353"] {
            assert!(!all.is_stale(&flow(called, endpoint), &node()), "{called}");
        }
    }
}

#[test]
fn a_flow_to_an_endpoint_that_serves_no_more_is_stale() {
    let all = dns(Protocol::Udp, &["10.244.1.4:5353"]);
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
    let all = dns(Protocol::Udp, &["10.244.1.4:5353"]);
    for called in CALLED {
        assert!(all.is_stale(&flow(called, called), &node()), "{called}");
    }
}

#[test]
fn without_endpoints_every_flow_is_stale() {
    let all = dns(Protocol::Udp, &[]);
    assert!(!all.is_empty());
    for called in CALLED {
        assert!(
            all.is_stale(&flow(called, "10.244.1.4:5353"), &node()),
            "{called}"
        );
    }
}

#[test]
fn flows_to_other_addresses_ports_and_nodes_are_nobodys() {
    let all = dns(Protocol::Udp, &["10.244.1.4:5353"]);
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
    let all = dns(Protocol::Udp, &["10.244.1.4:5353"]);
    let addresses = BTreeSet::from(["fd00:18::11".parse().expect("an address")]);
    let other = flow("[fd00:18::11]:30053", "[fd00:10:244::4]:5353");
    assert!(!all.is_stale(&other, &addresses));
}

#[test]
fn tcp_and_sctp_are_left_alone() {
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        assert!(dns(protocol, &[]).is_empty(), "{protocol:?}");
    }
}

#[test]
fn services_that_share_an_address_keep_each_others_flows() {
    let mut all = dns(Protocol::Udp, &["10.244.1.4:5353"]);
    let other = dns(Protocol::Udp, &["10.244.2.4:5353"]);
    for (address, endpoints) in other.addresses {
        all.addresses.entry(address).or_default().extend(endpoints);
    }
    assert!(!all.is_stale(&flow("203.0.113.7:53", "10.244.1.4:5353"), &node()));
    assert!(!all.is_stale(&flow("203.0.113.7:53", "10.244.2.4:5353"), &node()));
}
