//! Services.

use serde_json::{Value, json};

use super::super::{Reading, service};
use super::{edited, fields, ip};
use crate::model::{ObjectName, Policy, Protocol, Service, ServicePort};

fn object() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "default", "name": "web", "labels": {"app": "web"}},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1", "fd00::1"],
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": ["203.0.113.9", "2001:db8::9"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local",
            "healthCheckNodePort": 32000,
            "loadBalancerSourceRanges": [" 172.16.0.0/12 ", "2001:db8:1::/48"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30080},
                {"name": "dns", "protocol": "UDP", "port": 80, "targetPort": 5353, "nodePort": 30080},
            ],
        },
        "status": {"loadBalancer": {"ingress": [
            {"ip": "198.51.100.7", "ipMode": "VIP", "hostname": ""},
            {"ip": "2001:db8::7", "ipMode": "VIP", "hostname": ""},
        ]}},
    })
}

fn expected() -> Service {
    let port = |name: &str, protocol| ServicePort {
        name: name.into(),
        protocol,
        port: 80,
        node_port: Some(30080),
    };
    Service {
        name: ObjectName {
            namespace: "default".into(),
            name: "web".into(),
        },
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::1")],
        external_ips: vec![ip("203.0.113.9"), ip("2001:db8::9")],
        vips: vec![ip("198.51.100.7"), ip("2001:db8::7")],
        source_ranges: vec![
            "172.16.0.0/12".parse().unwrap(),
            "2001:db8:1::/48".parse().unwrap(),
        ],
        external_policy: Policy::Local,
        internal_policy: Policy::Local,
        affinity: Some(60),
        health_check_node_port: Some(32000),
        ports: vec![port("http", Protocol::Tcp), port("dns", Protocol::Udp)],
    }
}

fn read(edits: &[(&str, Value)]) -> Reading<Service> {
    service(&serde_json::from_value(edited(object(), edits)).unwrap())
}

/// What it says, the fields that are different, what of the Service is different, and the problems' fields.
type Row<'a> = (
    &'a str,
    &'a [(&'a str, Value)],
    fn(&mut Service),
    &'a [&'a str],
);

fn check(rows: &[Row<'_>]) {
    for (says, edits, change, problems) in rows {
        let reading = read(edits);
        let mut expected = expected();
        change(&mut expected);
        assert_eq!(reading.value.as_ref(), Some(&expected), "{says}");
        assert_eq!(
            fields(&reading),
            *problems,
            "{says}: {:?}",
            reading.problems
        );
    }
}

#[test]
fn all_fields_are_read() {
    check(&[("as it is", &[], |_| {}, &[])]);
}

#[test]
fn what_is_not_programmed_is_no_problem() {
    #[rustfmt::skip]
    let rows = [
        ("headless", ("/spec/clusterIP", json!("None"))),
        ("no cluster address yet", ("/spec/clusterIP", json!(""))),
        ("no cluster address at all", ("/spec/clusterIP", Value::Null)),
        ("ExternalName, cluster addresses or not", ("/spec/type", json!("ExternalName"))),
        ("another proxy's", ("/metadata/labels", json!({"service.kubernetes.io/service-proxy-name": "other"}))),
        ("another proxy's, of an empty name", ("/metadata/labels", json!({"service.kubernetes.io/service-proxy-name": ""}))),
        ("no specification", ("/spec", Value::Null)),
    ];
    for (says, edit) in rows {
        let reading = read(&[edit]);
        assert_eq!((reading.value, reading.problems), (None, vec![]), "{says}");
        assert_eq!(reading.name, expected().name, "{says}");
    }
}

/// What it says, the fields that are different, and the problems' fields.
type Unusable<'a> = (&'a str, &'a [(&'a str, Value)], &'a [&'a str]);

#[test]
fn what_cannot_be_served_at_all_is_a_problem() {
    #[rustfmt::skip]
    let rows: [Unusable<'_>; 4] = [
        ("no name", &[("/metadata/name", Value::Null)], &["metadata.name"]),
        ("no namespace", &[("/metadata/namespace", json!(""))], &["metadata.namespace"]),
        ("no cluster address that parses", &[("/spec/clusterIPs", json!(["x", ""]))],
            &["spec.clusterIPs[0]", "spec.clusterIPs[1]", "spec.clusterIPs"]),
        ("cluster addresses that are loopback", &[("/spec/clusterIPs", json!(["127.0.0.1", "::1"]))],
            &["spec.clusterIPs[0]", "spec.clusterIPs[1]", "spec.clusterIPs"]),
    ];
    for (says, edits, problems) in rows {
        let reading = read(edits);
        assert_eq!(reading.value, None, "{says}");
        assert_eq!(fields(&reading), problems, "{says}");
    }
}

#[test]
fn addresses() {
    #[rustfmt::skip]
    check(&[
        ("no list of cluster addresses", &[("/spec/clusterIPs", Value::Null), ("/spec/ipFamilies", Value::Null)],
            |s| s.cluster_ips.truncate(1), &[]),
        ("cluster addresses in the other order", &[("/spec/clusterIPs", json!(["fd00::1", "10.96.0.1"])),
            ("/spec/ipFamilies", json!(["IPv6", "IPv4"]))], |_| {}, &[]),
        ("a cluster address of another family than it is said to be", &[("/spec/ipFamilies", json!(["IPv4", "IPv4"]))],
            |s| s.cluster_ips.truncate(1), &["spec.clusterIPs[1]"]),
        ("two cluster addresses of one family",
            &[("/spec/clusterIPs/1", json!("10.96.0.2")), ("/spec/ipFamilies", Value::Null)],
            |s| s.cluster_ips.truncate(1), &["spec.clusterIPs[1]"]),
        ("one bad cluster address: the other family is served", &[("/spec/clusterIPs/0", json!("224.0.0.1"))],
            |s| s.cluster_ips.retain(std::net::IpAddr::is_ipv6), &["spec.clusterIPs[0]"]),
        ("leading zeros are decimal", &[("/spec/clusterIPs/0", json!("010.096.000.001"))], |_| {}, &[]),
        ("an IPv4 address in IPv6 form is one of IPv4", &[("/spec/clusterIPs/0", json!("::ffff:10.96.0.1"))], |_| {}, &[]),
        ("external addresses: what is no address or no one's is left out", &[("/spec/externalIPs", json!([
                "x", "203.0.113.9", "127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "255.255.255.255", "::1",
                "fe80::1", "ff02::1", "::", "fe80::1%eth0", "203.0.113.9/32", "+1.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1"]))],
            |s| s.external_ips.truncate(1), &["spec.externalIPs[0]", "spec.externalIPs[2]", "spec.externalIPs[3]",
            "spec.externalIPs[4]", "spec.externalIPs[5]", "spec.externalIPs[6]", "spec.externalIPs[7]",
            "spec.externalIPs[8]", "spec.externalIPs[9]", "spec.externalIPs[10]", "spec.externalIPs[11]",
            "spec.externalIPs[12]", "spec.externalIPs[13]", "spec.externalIPs[14]", "spec.externalIPs[15]",
            "spec.externalIPs[16]"]),
        ("external addresses: blanks are nothing, twice is once", &[("/spec/externalIPs",
            json!(["", " ", "2001:db8::9", "203.0.113.9", "203.0.113.9"]))], |_| {}, &[]),
        ("ipMode Proxy and a host name alone: through the load balancer", &[("/status/loadBalancer/ingress",
            json!([{"ip": "198.51.100.7", "ipMode": "Proxy"}, {"hostname": "lb.example"}, {"ip": ""}]))],
            |s| s.vips.clear(), &[]),
        ("an ingress without a mode is a VIP", &[("/status/loadBalancer/ingress", json!([{"ip": "198.51.100.7"}]))],
            |s| s.vips.truncate(1), &[]),
        ("bad ingress", &[("/status/loadBalancer/ingress/0/ip", json!("169.254.169.254"))],
            |s| s.vips.retain(std::net::IpAddr::is_ipv6), &["status.loadBalancer.ingress[0].ip"]),
        ("no status", &[("/status", Value::Null)], |s| s.vips.clear(), &[]),
    ]);
}

#[test]
fn source_ranges() {
    #[rustfmt::skip]
    check(&[
        ("host bits, zeros, IPv4 in IPv6 form, twice", &[("/spec/loadBalancerSourceRanges",
            json!(["172.016.1.1/012", "::ffff:172.16.0.0/108", "2001:db8:1::1/48", "172.16.0.0/12", ""]))], |_| {}, &[]),
        ("some bad", &[("/spec/loadBalancerSourceRanges", json!(["172.16.0.0/12", "10.0.0.0/33", "10.0.0.1", "10.0.0.0/+8",
            "::ffff:10.0.0.0/8"]))], |s| s.source_ranges.truncate(1), &["spec.loadBalancerSourceRanges[1]",
            "spec.loadBalancerSourceRanges[2]", "spec.loadBalancerSourceRanges[3]", "spec.loadBalancerSourceRanges[4]"]),
        ("all bad: nobody, not everybody", &[("/spec/loadBalancerSourceRanges", json!(["x"]))],
            |s| { s.source_ranges.clear(); s.vips.clear(); },
            &["spec.loadBalancerSourceRanges[0]", "spec.loadBalancerSourceRanges"]),
        ("blanks alone: none", &[("/spec/loadBalancerSourceRanges", json!([" "]))], |s| s.source_ranges.clear(), &[]),
        ("all sources", &[("/spec/loadBalancerSourceRanges", json!(["0.0.0.0/0"]))],
            |s| s.source_ranges = vec!["0.0.0.0/0".parse().unwrap()], &[]),
    ]);
}

#[test]
fn policies_affinity_and_health() {
    fn not_outside(service: &mut Service) {
        service.external_policy = Policy::Cluster;
        service.health_check_node_port = None;
    }
    #[rustfmt::skip]
    check(&[
        ("no policies", &[("/spec/externalTrafficPolicy", Value::Null), ("/spec/internalTrafficPolicy", Value::Null)],
            |s| { not_outside(s); s.internal_policy = Policy::Cluster; }, &[]),
        ("unknown policies", &[("/spec/externalTrafficPolicy", json!("Global")), ("/spec/internalTrafficPolicy", json!("local"))],
            |s| { not_outside(s); s.internal_policy = Policy::Cluster; },
            &["spec.externalTrafficPolicy", "spec.internalTrafficPolicy"]),
        ("a node port Service has no health check port", &[("/spec/type", json!("NodePort"))],
            |s| s.health_check_node_port = None, &[]),
        ("a cluster address Service with external addresses is reached from outside", &[("/spec/type", json!("ClusterIP"))],
            |s| s.health_check_node_port = None, &[]),
        ("and without is not", &[("/spec/type", json!("ClusterIP")), ("/spec/externalIPs", json!([]))],
            |s| { not_outside(s); s.external_ips.clear(); }, &[]),
        ("no health check port", &[("/spec/healthCheckNodePort", Value::Null)],
            |s| s.health_check_node_port = None, &["spec.healthCheckNodePort"]),
        ("a health check port out of range", &[("/spec/healthCheckNodePort", json!(65536))],
            |s| s.health_check_node_port = None, &["spec.healthCheckNodePort"]),
        ("no affinity", &[("/spec/sessionAffinity", json!("None"))], |s| s.affinity = None, &[]),
        ("an unknown affinity", &[("/spec/sessionAffinity", json!("Cookie"))], |s| s.affinity = None, &["spec.sessionAffinity"]),
        ("affinity without configuration: three hours", &[("/spec/sessionAffinityConfig", Value::Null)],
            |s| s.affinity = Some(10800), &[]),
        ("affinity without a timeout: three hours", &[("/spec/sessionAffinityConfig/clientIP", json!({}))],
            |s| s.affinity = Some(10800), &[]),
        ("the longest affinity", &[("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", json!(86400))],
            |s| s.affinity = Some(86400), &[]),
        ("affinity for no time", &[("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", json!(0))],
            |s| s.affinity = Some(10800), &["spec.sessionAffinityConfig.clientIP.timeoutSeconds"]),
        ("affinity for a negative time", &[("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", json!(-1))],
            |s| s.affinity = Some(10800), &["spec.sessionAffinityConfig.clientIP.timeoutSeconds"]),
        ("affinity for ever", &[("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", json!(86401))],
            |s| s.affinity = Some(10800), &["spec.sessionAffinityConfig.clientIP.timeoutSeconds"]),
    ]);
}

#[test]
fn ports() {
    #[rustfmt::skip]
    check(&[
        ("a port of no name and no protocol", &[("/spec/ports/0/name", Value::Null), ("/spec/ports/0/protocol", Value::Null)],
            |s| s.ports[0].name = "".into(), &[]),
        ("no node port: none is allocated", &[("/spec/ports/0/nodePort", Value::Null), ("/spec/ports/1/nodePort", json!(0))],
            |s| s.ports.iter_mut().for_each(|port| port.node_port = None), &[]),
        ("the smallest and the greatest number", &[("/spec/ports/0/port", json!(1)), ("/spec/ports/0/nodePort", json!(65535))],
            |s| { s.ports[0].port = 1; s.ports[0].node_port = Some(65535); }, &[]),
        ("port 0", &[("/spec/ports/0/port", json!(0))], |s| drop(s.ports.remove(0)), &["spec.ports[0]"]),
        ("a negative port", &[("/spec/ports/0/port", json!(-80))], |s| drop(s.ports.remove(0)), &["spec.ports[0]"]),
        ("port 65536", &[("/spec/ports/1/port", json!(65536))], |s| s.ports.truncate(1), &["spec.ports[1]"]),
        ("node port 65536: the port's other addresses are served", &[("/spec/ports/0/nodePort", json!(65536))],
            |s| s.ports[0].node_port = None, &["spec.ports[0].nodePort"]),
        ("a negative node port", &[("/spec/ports/0/nodePort", json!(-1))],
            |s| s.ports[0].node_port = None, &["spec.ports[0].nodePort"]),
        ("an unknown protocol", &[("/spec/ports/0/protocol", json!("QUIC\n"))], |s| drop(s.ports.remove(0)), &["spec.ports[0]"]),
        ("SCTP", &[("/spec/ports/0/protocol", json!("SCTP"))], |s| s.ports[0].protocol = Protocol::Sctp, &[]),
        ("the same number and protocol", &[("/spec/ports/1/protocol", json!("TCP"))], |s| s.ports.truncate(1), &["spec.ports[1]"]),
        ("the same name and protocol", &[("/spec/ports/1", json!({"name": "http", "port": 81}))],
            |s| s.ports.truncate(1), &["spec.ports[1]"]),
        ("the same name and another protocol", &[("/spec/ports/1/name", json!("http"))],
            |s| s.ports[1].name = "http".into(), &[]),
        ("the same node port and protocol", &[("/spec/ports/1", json!({"name": "alt", "port": 81, "nodePort": 30080}))],
            |s| s.ports[1] = ServicePort { name: "alt".into(), protocol: Protocol::Tcp, port: 81, node_port: None },
            &["spec.ports[1].nodePort"]),
        ("no ports", &[("/spec/ports", Value::Null)], |s| s.ports.clear(), &[]),
    ]);
}
