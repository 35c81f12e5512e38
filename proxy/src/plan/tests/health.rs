//! The health check port.

use std::collections::BTreeMap;

use super::stage::{ELSEWHERE, HERE, Row, State, endpoint, ip, plan, plan_of, slice, web_under};
use crate::model::{Endpoint, Family, Policy, Protocol, Service, Slice, SlicePort};
use crate::plan::HealthPlan;

use State::{Leaving, Ready, Unready};

fn checked() -> Service {
    Service {
        health_check_node_port: Some(32000),
        ..web_under(Policy::Cluster, Policy::Local)
    }
}

fn counts(counts: &[(Family, u32)]) -> Option<HealthPlan> {
    Some(HealthPlan {
        port: 32000,
        local_endpoints: counts.iter().copied().collect::<BTreeMap<_, _>>(),
    })
}

#[test]
fn distinct_local_ready_addresses_are_counted() {
    #[rustfmt::skip]
    let rows: [(&str, &[Row], u32); 6] = [
        ("none", &[], 0),
        ("ready ones on the node", &[(1, HERE, Ready), (2, HERE, Ready), (3, ELSEWHERE, Ready)], 2),
        ("terminating counts 0", &[(1, HERE, Leaving)], 0),
        ("local terminating and remote ready: 503", &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], 0),
        ("not ready counts 0", &[(1, HERE, Unready), (2, HERE, Ready)], 1),
        ("one whose node is unknown counts 0", &[(1, None, Ready)], 0),
    ];
    for (says, endpoints, expected) in rows {
        assert_eq!(
            plan_of(&checked(), endpoints).health,
            counts(&[(Family::V4, expected)]),
            "{says}"
        );
    }
}

#[test]
fn two_ports_on_one_address_count_once_and_a_port_of_its_own_counts() {
    let named = |name: &str, port| SlicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port,
    };
    let one = || slice([endpoint((1, HERE, Ready))]);
    let two_ports = Slice {
        ports: vec![named("http", 8080), named("https", 8443)],
        ..one()
    };
    assert_eq!(
        plan(&checked(), &[two_ports, one()]).health,
        counts(&[(Family::V4, 1)])
    );

    let other_port = Slice {
        ports: vec![named("other", 1)],
        ..one()
    };
    assert_eq!(
        plan(&checked(), &[other_port]).health,
        counts(&[(Family::V4, 1)]),
        "the Service does not have it"
    );

    let no_port = Slice {
        ports: vec![],
        ..one()
    };
    assert_eq!(
        plan(&checked(), &[no_port]).health,
        counts(&[(Family::V4, 0)])
    );
}

#[test]
fn each_family_is_counted_for_itself() {
    let dual = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::1")],
        ..checked()
    };
    let v6 = Endpoint {
        address: ip("fd00:2::1"),
        ..endpoint((1, HERE, Ready))
    };
    let v6 = Slice {
        family: Family::V6,
        ..slice([v6])
    };
    let v4 = slice([(1, HERE, Ready), (2, HERE, Ready)].map(endpoint));
    assert_eq!(
        plan(&dual, &[v4.clone(), v6.clone()]).health,
        counts(&[(Family::V4, 2), (Family::V6, 1)])
    );
    assert_eq!(
        plan(&checked(), &[v4, v6]).health,
        counts(&[(Family::V4, 2)]),
        "no port in a family without an address"
    );
}

#[test]
fn it_exists_only_where_the_service_has_it() {
    let without = Service {
        health_check_node_port: None,
        ..checked()
    };
    assert_eq!(plan_of(&without, &[(1, HERE, Ready)]).health, None);

    let portless = Service {
        ports: vec![],
        ..checked()
    };
    assert_eq!(plan_of(&portless, &[(1, HERE, Ready)]).health, None);
    let not_served_here = Service {
        cluster_ips: vec![ip("192.168.0.1")],
        ..checked()
    };
    assert_eq!(plan_of(&not_served_here, &[(1, HERE, Ready)]).health, None);
}
