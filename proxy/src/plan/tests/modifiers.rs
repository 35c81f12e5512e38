//! The modifiers that a plan shows.

use ipnet::IpNet;

use super::stage::{
    ELSEWHERE, HERE, Row, State, endpoint, fronts, hinted, ip, last, node, only_port, plan, plan_of,
};
use super::stage::{plan_on, port, slice, web, web_under};
use crate::model::{
    Endpoint, Family, Node, Policy, Protocol, Service, ServicePort, Slice, SlicePort,
};
use crate::plan::{FrontKind, Handling};

use State::{Gone, Leaving, Ready, Unready};

const BOTH: &[Row] = &[(1, HERE, Ready), (2, ELSEWHERE, Ready)];

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn hairpins_are_the_reachable_endpoints_that_may_be_clients_of_the_node() {
    #[rustfmt::skip]
    let rows: [(&str, Service, &[Row], &[&str]); 5] = [
        ("those on the node", web(), BOTH, &["10.0.0.1"]),
        ("those whose node is unknown", web(), &[(1, None, Ready), (2, ELSEWHERE, Ready)], &["10.0.0.1"]),
        ("not those that no policy uses", web(), &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], &[]),
        ("those that only Local uses", web_under(Policy::Cluster, Policy::Local),
            &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], &["10.0.0.1"]),
        ("those that only Cluster uses", web_under(Policy::Local, Policy::Cluster),
            &[(1, None, Ready), (2, HERE, Ready)], &["10.0.0.1", "10.0.0.2"]),
    ];
    for (says, of, endpoints, expected) in rows {
        let expected: Vec<_> = expected.iter().map(|text| ip(text)).collect();
        assert_eq!(
            only_port(&plan_of(&of, endpoints)).hairpins,
            expected,
            "{says}"
        );
    }
}

#[test]
fn a_load_balancer_in_proxy_mode_or_with_a_host_name_has_no_front() {
    // The reader leaves such addresses out; see its tests.
    let of = Service {
        vips: Vec::new(),
        ..web()
    };
    let plan = plan_of(&of, BOTH);
    assert_eq!(fronts(only_port(&plan), FrontKind::LoadBalancer), []);
    assert_eq!(only_port(&plan).fronts.len(), 3);
}

#[test]
fn source_ranges_hold_for_the_load_balancers_addresses_of_their_family() {
    let of = |texts: &[&str], vips: &[&str]| Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::1")],
        vips: vips.iter().map(|text| ip(text)).collect(),
        source_ranges: ranges(texts),
        ..web()
    };
    const VIPS: &[&str] = &["198.51.100.7", "198.51.100.8", "2001:db8::7"];
    /// What it says, the ranges, the load balancer's addresses, and the plan's ranges of both families.
    type Case = (&'static str, Texts, Texts, Option<Texts>, Option<Texts>);
    type Texts = &'static [&'static str];
    #[rustfmt::skip]
    let rows: [Case; 6] = [
        ("none: all sources", &[], VIPS, None, None),
        ("some", &["172.16.0.0/12", "2001:db8:1::/48"], VIPS, Some(&["172.16.0.0/12"]), Some(&["2001:db8:1::/48"])),
        ("of one family: all sources of the other", &["172.16.0.0/12"], VIPS, Some(&["172.16.0.0/12"]), None),
        ("a range of all sources is none", &["172.16.0.0/12", "0.0.0.0/0", "2001:db8:1::/48"], VIPS,
            None, Some(&["2001:db8:1::/48"])),
        ("without an address of the load balancer: nothing to hold for", &["172.16.0.0/12"], &["2001:db8::7"], None, None),
        ("ranges that overlap are one", &["172.16.0.0/12", "172.16.5.0/24", "172.16.0.0/16"], VIPS,
            Some(&["172.16.0.0/12"]), None),
    ];
    for (says, texts, vips, v4, v6) in rows {
        let plan = plan_of(&of(texts, vips), BOTH);
        let found: Vec<_> = plan
            .ports
            .iter()
            .map(|port| (port.family, port.source_ranges.clone()))
            .collect();
        assert_eq!(
            found,
            [(Family::V4, v4.map(ranges)), (Family::V6, v6.map(ranges))],
            "{says}"
        );
    }
}

#[test]
fn without_node_ports_the_vip_still_works() {
    let of = Service {
        ports: vec![port("http", Protocol::Tcp, 80, None)],
        ..web()
    };
    let plan = plan_of(&of, BOTH);
    assert_eq!(fronts(only_port(&plan), FrontKind::NodePort), []);
    let [vip] = *fronts(only_port(&plan), FrontKind::LoadBalancer) else {
        panic!("one VIP: {plan:?}")
    };
    assert_eq!((vip.port, vip.handling), (80, Handling::ExternalCluster));
}

#[test]
fn a_cluster_address_is_known_for_its_wrong_ports() {
    let plan = plan_of(&web(), &[]);
    assert_eq!(plan.cluster_ips, [ip("10.96.0.1")]);
}

#[test]
fn session_affinity_is_of_the_port_across_all_its_addresses() {
    let of = Service {
        affinity: Some(10_800),
        ..web_under(Policy::Cluster, Policy::Local)
    };
    let plan = plan_of(&of, BOTH);
    assert_eq!(only_port(&plan).affinity, Some(10_800));
    assert_eq!(only_port(&plan).fronts.len(), 4);
    assert_eq!(only_port(&plan_of(&web(), BOTH)).affinity, None);
}

#[test]
fn flows_stay_with_endpoints_that_serve_under_any_policy() {
    let published = Endpoint {
        ready: true,
        ..endpoint((6, ELSEWHERE, Unready))
    };
    let endpoints = [
        (1, HERE, Ready),
        (2, ELSEWHERE, Ready),
        (3, ELSEWHERE, Leaving),
        (4, HERE, Gone),
        (5, HERE, Unready),
    ];
    let mut endpoints: Vec<_> = endpoints.into_iter().map(endpoint).collect();
    endpoints.push(published);
    endpoints.push(hinted((7, ELSEWHERE, Ready), &["zone-2"], &[]));
    for (internal, external) in [
        (Policy::Cluster, Policy::Cluster),
        (Policy::Local, Policy::Local),
    ] {
        let plan = plan(&web_under(internal, external), &[slice(endpoints.clone())]);
        assert_eq!(
            last(&only_port(&plan).serving),
            [1, 2, 3, 6, 7],
            "{internal:?}"
        );
    }
}

#[test]
fn ports_find_their_endpoints_by_name_and_protocol_in_every_slice() {
    let of = Service {
        ports: vec![
            port("dns", Protocol::Udp, 53, None),
            port("dns-tcp", Protocol::Tcp, 53, None),
            port("metrics", Protocol::Tcp, 9153, None),
            port("absent", Protocol::Tcp, 1, None),
        ],
        ..web()
    };
    let ports = |named: &[(&str, Protocol, u16)]| {
        named
            .iter()
            .map(|&(name, protocol, port)| SlicePort {
                name: name.into(),
                protocol,
                port,
            })
            .collect::<Vec<_>>()
    };
    let one = [(1, HERE, Ready)].map(endpoint).to_vec();
    let other = [(2, ELSEWHERE, Ready)].map(endpoint).to_vec();
    let slices = [
        Slice {
            ports: ports(&[
                ("dns", Protocol::Udp, 5353),
                ("dns-tcp", Protocol::Tcp, 5353),
                ("metrics", Protocol::Tcp, 9000),
            ]),
            ..slice(one)
        },
        // A named target port may have another number on other pods.
        Slice {
            ports: ports(&[("dns", Protocol::Udp, 53), ("metrics", Protocol::Udp, 9000)]),
            ..slice(other)
        },
    ];
    let plan = plan(&of, &slices);
    let found: Vec<_> = plan
        .ports
        .iter()
        .map(|port| (&*port.port_name, port.protocol, port.cluster.clone()))
        .collect();
    let socket = |text: &str| text.parse().unwrap();
    assert_eq!(
        found,
        [
            (
                "dns",
                Protocol::Udp,
                vec![socket("10.0.0.1:5353"), socket("10.0.0.2:53")]
            ),
            ("dns-tcp", Protocol::Tcp, vec![socket("10.0.0.1:5353")]),
            ("metrics", Protocol::Tcp, vec![socket("10.0.0.1:9000")]),
            ("absent", Protocol::Tcp, vec![]),
        ]
    );
    assert!(
        plan.ports[3]
            .fronts
            .iter()
            .all(|front| front.handling == Handling::Reject)
    );
}

#[test]
fn each_family_has_its_own_endpoints_and_addresses() {
    let of = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::1")],
        external_ips: vec![ip("203.0.113.9"), ip("2001:db8::9")],
        vips: vec![ip("2001:db8::7")],
        internal_policy: Policy::Local,
        ..web()
    };
    let v6 = Slice {
        family: Family::V6,
        ..slice([Endpoint {
            address: ip("fd00:2::2"),
            ..endpoint((2, ELSEWHERE, Ready))
        }])
    };
    let both = plan(&of, &[v6.clone(), slice([endpoint((1, HERE, Ready))])]);
    let shown: Vec<_> = both
        .ports
        .iter()
        .map(|port| (port.family, port.fronts[1].handling, port.fronts.len()))
        .collect();
    assert_eq!(
        shown,
        [
            (Family::V4, Handling::InternalLocal, 3),
            (Family::V6, Handling::ExternalCluster, 4)
        ]
    );
    let internal = |kind| fronts(&both.ports[1], kind)[0].handling;
    assert_eq!(
        internal(FrontKind::ClusterIp),
        Handling::Drop,
        "no endpoint of this family on the node"
    );
    assert_eq!(last(&both.ports[1].cluster), [2]);

    // Without a cluster address of a family, none of its addresses are served (kube-proxy's serviceToServiceMap).
    let single = Service {
        cluster_ips: vec![ip("10.96.0.1")],
        ..of
    };
    let single = plan(&single, &[v6, slice([endpoint((1, HERE, Ready))])]);
    assert_eq!(
        single
            .ports
            .iter()
            .map(|port| port.family)
            .collect::<Vec<_>>(),
        [Family::V4]
    );
}

#[test]
fn an_address_in_two_kinds_has_one_front() {
    let of = Service {
        external_ips: vec![ip("10.96.0.1"), ip("198.51.100.7"), ip("203.0.113.9")],
        ..web_under(Policy::Local, Policy::Cluster)
    };
    let plan = plan_of(&of, BOTH);
    let kinds: Vec<_> = only_port(&plan)
        .fronts
        .iter()
        .map(|front| (front.address, front.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (None, FrontKind::NodePort),
            (Some(ip("10.96.0.1")), FrontKind::ClusterIp),
            (Some(ip("198.51.100.7")), FrontKind::LoadBalancer),
            (Some(ip("203.0.113.9")), FrontKind::ExternalIp),
        ]
    );
}

#[test]
fn a_cluster_address_that_is_the_nodes_own_is_not_served() {
    let of = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:1::1")],
        ..web()
    };
    let plan = plan_of(&of, BOTH);
    assert_eq!(plan.cluster_ips, [ip("10.96.0.1")]);
    assert!(plan.ports.iter().all(|port| port.family == Family::V4));

    let elsewhere = Node {
        addresses: vec![ip("192.168.0.2")],
        ..node()
    };
    assert_eq!(plan_on(&elsewhere, &of, &[]).cluster_ips.len(), 2);
}

/// Upstream serves an outside address that is the node's; but the node's own health is nobody else's to answer.
#[test]
fn an_outside_address_that_is_the_nodes_is_served_but_at_the_nodes_own_ports() {
    let (own, port) = (ip("192.168.0.1"), |number, protocol| ServicePort {
        port: number,
        name: format!("{number}-{protocol:?}").into(),
        protocol,
        node_port: None,
    });
    let of = Service {
        external_ips: vec![own, ip("203.0.113.9")],
        vips: vec![own],
        ports: vec![
            port(80, Protocol::Tcp),
            port(10250, Protocol::Tcp),
            port(10250, Protocol::Udp),
        ],
        ..web()
    };
    let plan = plan_of(&of, BOTH);
    let served = |number, protocol, address| {
        let mut fronts = plan.ports.iter().filter(|port| port.protocol == protocol);
        fronts.any(|port| {
            let mut fronts = port.fronts.iter();
            fronts.any(|front| front.port == number && front.address == Some(address))
        })
    };
    for (number, protocol, expected) in [
        (80, Protocol::Tcp, true),
        (10250, Protocol::Tcp, false),
        (10250, Protocol::Udp, true),
    ] {
        assert_eq!(
            served(number, protocol, own),
            expected,
            "{number} {protocol:?}"
        );
        assert!(
            served(number, protocol, ip("203.0.113.9")),
            "another address"
        );
    }
}
