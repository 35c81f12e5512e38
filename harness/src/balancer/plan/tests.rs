use onehop_nft::Data;

use super::*;
use crate::world::AddressPlan;

pub(in crate::balancer) fn forwarding(mode: BalancerMode, nodes: &[u8]) -> Forwarding {
    Forwarding {
        service: "default/web".to_owned(),
        number: 7,
        mode,
        addresses: AddressPlan::vip(7).both().to_vec(),
        ports: vec![Port {
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        targets: Family::ALL
            .map(|family| (family, targets(nodes, family)))
            .into(),
        listeners: Family::ALL
            .map(|family| ((family, 80), listener(family)))
            .into(),
    }
}

fn targets(nodes: &[u8], family: Family) -> Vec<Target> {
    let target = |number: &u8| Target {
        mark: 1000 + u32::from(*number),
        address: AddressPlan::node_host(10 + number).of(family),
        weight: 1,
    };
    nodes.iter().map(target).collect()
}

fn listener(family: Family) -> SocketAddr {
    SocketAddr::new(AddressPlan::load_balancer().of(family), 40_000)
}

fn names<T, U>(all: &[(T, U)], name: impl Fn(&T) -> &str) -> Vec<String> {
    all.iter().map(|(each, _)| name(each).to_owned()).collect()
}

fn chains(rules: &Rules) -> Vec<String> {
    names(&rules.chains, |chain| &chain.name)
}

fn sets(rules: &Rules) -> Vec<String> {
    names(&rules.sets, |set| &set.name)
}

fn chain<'a>(rules: &'a Rules, name: &str) -> &'a [Rule] {
    let found = rules.chains.iter().find(|(chain, _)| chain.name == name);
    &found.expect("the chain").1
}

fn elements<'a>(rules: &'a Rules, name: &str) -> &'a [Element] {
    let found = rules.sets.iter().find(|(set, _)| set.name == name);
    &found.expect("the set").1
}

fn ip(text: &str) -> Value {
    Value::new().ip(text.parse::<IpAddr>().expect("an address"))
}

fn number(number: u32) -> Value {
    Value::new().number(number)
}

#[test]
fn a_vip_service_draws_a_mark() {
    let rules = forwarding(BalancerMode::Vip, &[1, 3]).rules(3);
    assert_eq!(rules.table.name, "onehop_balancer_7");
    assert_eq!(rules.table.comment.as_deref(), Some("default/web"));
    assert_eq!(
        chains(&rules),
        ["draw_ip_3", "draw_ip6_3", "balance_3", "prerouting"]
    );
    assert_eq!(
        sets(&rules),
        [
            "healthy_ip_3",
            "draw_ip_3",
            "healthy_ip6_3",
            "draw_ip6_3",
            "services_ip_3",
            "services_ip6_3"
        ]
    );
    assert_eq!(
        chain(&rules, "draw_ip_3"),
        [
            // ct mark @healthy_ip_3 meta mark set ct mark accept
            Rule::new()
                .in_set(CT_MARK, "healthy_ip_3")
                .set_mark(CT_MARK)
                .accept(),
            // ct mark set numgen random mod 2 map @draw_ip_3
            Rule::new().set_ct_mark(map(random(2), "draw_ip_3", 4)),
            // meta mark set ct mark accept
            Rule::new().set_mark(CT_MARK).accept(),
        ]
    );
    assert_eq!(
        elements(&rules, "healthy_ip_3"),
        [1001, 1003].map(|mark| Element::new(number(mark)))
    );
    assert_eq!(
        elements(&rules, "draw_ip_3"),
        [(0, 1001), (1, 1003)].map(|(at, mark)| Element::value(number(at), number(mark)))
    );
}

#[test]
fn a_node_is_drawn_as_often_as_it_weighs() {
    let mut service = forwarding(BalancerMode::Weighted, &[1, 3]);
    let nodes = service.targets.get_mut(&Family::V4);
    nodes.expect("IPv4")[1].weight = 2;
    let rules = service.rules(3);
    // ct mark set numgen random mod 3 map @draw_ip_3
    let drawn = Rule::new().set_ct_mark(map(random(3), "draw_ip_3", 4));
    assert_eq!(chain(&rules, "draw_ip_3")[1], drawn);
    assert_eq!(
        elements(&rules, "draw_ip_3"),
        [(0, 1001), (1, 1003), (2, 1003)]
            .map(|(at, mark)| Element::value(number(at), number(mark)))
    );
    assert_eq!(
        elements(&rules, "healthy_ip_3"),
        [1001, 1003].map(|mark| Element::new(number(mark)))
    );
}

#[test]
fn a_family_without_a_healthy_node_is_dropped_and_the_other_served() {
    for (mode, chain_of_ip) in [
        (BalancerMode::Vip, "draw_ip_3"),
        (BalancerMode::Weighted, "draw_ip_3"),
        (BalancerMode::NodePort, "ip_tcp_80_3"),
        (BalancerMode::Proxy, "ip_tcp_80_3"),
    ] {
        let mut service = forwarding(mode, &[1, 3]);
        service.targets.insert(Family::V6, Vec::new());
        let rules = service.rules(3);
        assert_eq!(chains(&rules)[0], chain_of_ip);
        let of_ipv6 = |name: &String| name.contains("ip6");
        assert!(!chains(&rules).iter().chain(&sets(&rules)).any(of_ipv6));
    }
}

#[test]
fn known_flows_come_first_and_the_rest_is_dropped() {
    let rules = forwarding(BalancerMode::Vip, &[1, 3]).rules(3);
    let known = ct_state::ESTABLISHED | ct_state::RELATED;
    let lookup = |family: TableFamily, map: &str| {
        // meta nfproto FAMILY ct state new FAMILY daddr . meta l4proto . th dport vmap @MAP
        Rule::new()
            .eq(NFPROTO, Value::new().byte(family.number()))
            .any(CT_STATE, ct_state::NEW)
            .vmap([daddr(family), L4PROTO, TH_DPORT], map)
    };
    assert_eq!(
        chain(&rules, "balance_3"),
        [
            // ct state established,related ct direction original ct mark != 0 meta mark set ct mark accept
            Rule::new()
                .any(CT_STATE, known)
                .eq(CT_DIRECTION, Value::new().byte(0))
                .ne(CT_MARK, number(0))
                .set_mark(CT_MARK)
                .accept(),
            // ct state established,related accept
            Rule::new().any(CT_STATE, known).accept(),
            lookup(TableFamily::Ip, "services_ip_3"),
            lookup(TableFamily::Ip6, "services_ip6_3"),
            Rule::new().drop(),
        ]
    );
    for (map, address, draw) in [
        ("services_ip_3", "198.51.100.7", "draw_ip_3"),
        ("services_ip6_3", "2001:db8:100::7", "draw_ip6_3"),
    ] {
        let key = ip(address).proto(6).port(80);
        let drawn = Element::verdict(key, Verdict::goto(draw));
        assert_eq!(elements(&rules, map), [drawn]);
    }
    let own = |family: TableFamily, address| {
        // FAMILY daddr ADDRESS goto balance_3
        Rule::new()
            .eq(NFPROTO, Value::new().byte(family.number()))
            .eq(daddr(family), ip(address))
            .goto("balance_3")
    };
    assert_eq!(
        chain(&rules, "prerouting"),
        [
            own(TableFamily::Ip, "198.51.100.7"),
            own(TableFamily::Ip6, "2001:db8:100::7"),
        ]
    );
}

#[test]
fn a_node_port_service_rewrites_the_destination() {
    let rules = forwarding(BalancerMode::NodePort, &[1, 3]).rules(3);
    assert_eq!(
        chains(&rules),
        [
            "ip_tcp_80_3",
            "ip6_tcp_80_3",
            "balance_3",
            "rewrite",
            "prerouting"
        ]
    );
    let key = || ip("198.51.100.7").proto(6).port(80);
    assert_eq!(
        elements(&rules, "services_ip_3"),
        [Element::verdict(key(), Verdict::Accept)]
    );
    assert_eq!(
        elements(&rules, "rewrites_ip_3"),
        [Element::verdict(key(), Verdict::goto("ip_tcp_80_3"))]
    );
    for (family, name, length, nodes) in [
        (
            TableFamily::Ip,
            "ip_tcp_80_3",
            8,
            ["172.18.0.11", "172.18.0.13"],
        ),
        (
            TableFamily::Ip6,
            "ip6_tcp_80_3",
            20,
            ["fd00:18::b", "fd00:18::d"],
        ),
    ] {
        // dnat FAMILY to numgen random mod 2 map @NAME
        let rewrite = Rule::new().dnat(family, map(random(2), name, length));
        assert_eq!(chain(&rules, name), [rewrite]);
        let [first, second] = nodes.map(|node| ip(node).port(30080));
        assert_eq!(
            elements(&rules, name),
            [
                Element::value(number(0), first),
                Element::value(number(1), second)
            ]
        );
    }
    assert!(!sets(&rules).contains(&"draw_ip_3".to_owned()));
}

#[test]
fn a_proxied_service_sends_its_tcp_ports_to_the_balancer_itself() {
    let mut service = forwarding(BalancerMode::Proxy, &[1, 3]);
    service.ports.push(Port {
        protocol: Protocol::Udp,
        ..service.ports[0]
    });
    let rules = service.rules(3);
    let key = ip("198.51.100.7").proto(6).port(80);
    assert_eq!(
        elements(&rules, "services_ip_3"),
        [Element::verdict(key, Verdict::Accept)]
    );
    for (family, name) in [(Family::V4, "ip_tcp_80_3"), (Family::V6, "ip6_tcp_80_3")] {
        let own = listener(family);
        let own = Value::new().ip(own.ip()).port(own.port());
        assert_eq!(elements(&rules, name), [Element::value(number(0), own)]);
    }
    assert!(!chains(&rules).contains(&"ip_udp_80_3".to_owned()));
}

#[test]
fn without_a_healthy_node_the_address_is_known_and_new_flows_are_dropped() {
    for mode in BalancerMode::ALL {
        let rules = forwarding(mode, &[]).rules(3);
        assert_eq!(sets(&rules), [""; 0]);
        assert_eq!(chain(&rules, "balance_3").len(), 3);
        assert_eq!(chain(&rules, "prerouting").len(), 2);
    }
}

#[test]
fn node_port_mode_drops_a_port_that_has_no_node_port() {
    let mut service = forwarding(BalancerMode::NodePort, &[1]);
    service.ports[0].node_port = None;
    let rules = service.rules(3);
    assert_eq!(sets(&rules), [""; 0]);
    assert_eq!(chains(&rules), ["balance_3", "rewrite", "prerouting"]);
    assert_eq!(chain(&rules, "rewrite"), []);
}

#[test]
fn every_name_that_a_rule_uses_is_there() {
    for mode in BalancerMode::ALL {
        let rules = forwarding(mode, &[1, 2, 3]).rules(3);
        let known = chains(&rules);
        for (set, elements) in &rules.sets {
            for element in elements {
                if let Some(Data::Verdict(Verdict::Goto(chain))) = &element.data {
                    assert!(
                        known.contains(&chain.to_string()),
                        "{chain} of {}",
                        set.name
                    );
                }
            }
        }
    }
}
