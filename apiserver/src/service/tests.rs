//! Services as requests meet them, without a server: each test names its claim.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::{Pools, prepare, release, validate};
use crate::codec;
use crate::resource::{Kind, by_kind};

struct Cluster(Pools);

impl Cluster {
    fn new() -> Self {
        let networks =
            ["10.96.0.0/16", "fd00:10:96::/112"].map(|network| network.parse().expect("a network"));
        Self(Pools::new(&networks, 30_000..=32_767))
    }

    fn decode(spec: &Value) -> Service {
        let service = by_kind(Kind::Service);
        let value = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        codec::typed(
            &codec::decode(service, service.stored(), value)
                .expect("decodes")
                .value,
        )
        .expect("a Service")
    }

    /// Runs the stages and commits, or returns what is refused.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "rows read better without references"
    )]
    fn write(&mut self, spec: Value, old: Option<&Service>) -> Result<Service, Vec<String>> {
        let mut new = Self::decode(&spec);
        let changes = prepare(&self.0, &mut new, old).map_err(|status| vec![status.message])?;
        let errors = validate(&new, old);
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| error.path.clone()).collect());
        }
        self.0.commit(changes);
        Ok(new)
    }

    fn create(&mut self, spec: Value) -> Service {
        self.write(spec, None).expect("valid")
    }
}

fn spec(service: &Service) -> Value {
    serde_json::to_value(&service.spec).expect("JSON")
}

const PORT: &str = r#"[{"port": 80}]"#;

fn ports() -> Value {
    serde_json::from_str(PORT).expect("JSON")
}

#[test]
fn a_bare_service_gets_every_default() {
    let service = Cluster::new().create(json!({"ports": ports()}));
    let spec = spec(&service);
    assert_eq!(spec["type"], "ClusterIP");
    assert_eq!(
        spec["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
    );
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert!(spec["externalTrafficPolicy"].is_null());
}

#[test]
fn families_decide_the_addresses() {
    let mut cluster = Cluster::new();
    let dual =
        spec(&cluster.create(json!({"ports": ports(), "ipFamilyPolicy": "PreferDualStack"})));
    assert_eq!(dual["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(dual["clusterIPs"].as_array().map(Vec::len), Some(2));
    let six = spec(&cluster.create(json!({"ports": ports(), "ipFamilies": ["IPv6"]})));
    assert!(
        six["clusterIP"]
            .as_str()
            .is_some_and(|address| address.starts_with("fd00:10:96::"))
    );
    let headless = spec(&cluster.create(json!({"ports": ports(), "clusterIP": "None"})));
    assert_eq!(headless["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(headless["ipFamilyPolicy"], "RequireDualStack");
}

#[test]
fn tcp_and_udp_of_one_port_share_a_node_port() {
    let ports = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "x", "port": 54}]);
    let mut cluster = Cluster::new();
    let spec = spec(&cluster.create(json!({"type": "NodePort", "ports": ports})));
    assert_eq!(spec["ports"][0]["nodePort"], spec["ports"][1]["nodePort"]);
    assert_ne!(spec["ports"][0]["nodePort"], spec["ports"][2]["nodePort"]);
    assert_eq!(cluster.0.in_use(), (1, 2));
}

#[test]
fn the_health_check_port_comes_and_goes_with_local() {
    let mut cluster = Cluster::new();
    let base = json!({"type": "LoadBalancer", "ports": ports()});
    let mut local = base.clone();
    local["externalTrafficPolicy"] = "Local".into();
    let first = cluster.create(local);
    let port = spec(&first)["healthCheckNodePort"].clone();
    assert!(port.is_number());
    assert_eq!(cluster.0.in_use(), (1, 2));
    let mut kept = spec(&first);
    kept["externalTrafficPolicy"] = "Cluster".into();
    let second = cluster.write(kept, Some(&first)).expect("valid");
    assert!(spec(&second)["healthCheckNodePort"].is_null());
    assert_eq!(cluster.0.in_use(), (1, 1));
    let mut changed = spec(&first);
    changed["healthCheckNodePort"] = 31_999.into();
    assert!(cluster.write(changed, Some(&first)).is_err());
}

#[test]
fn an_update_without_allocated_values_keeps_them() {
    let mut cluster = Cluster::new();
    let first = cluster.create(json!({"type": "NodePort", "ports": ports()}));
    let second = cluster
        .write(json!({"type": "NodePort", "ports": ports()}), Some(&first))
        .expect("valid");
    assert_eq!(spec(&second), spec(&first));
    assert_eq!(cluster.0.in_use(), (1, 1));
}

#[test]
fn type_changes_release_what_they_no_longer_need() {
    let mut cluster = Cluster::new();
    let first = cluster.create(
        json!({"type": "LoadBalancer", "ports": ports(), "externalTrafficPolicy": "Local"}),
    );
    let mut next = spec(&first);
    next["type"] = "ClusterIP".into();
    let second = cluster.write(next, Some(&first)).expect("valid");
    for gone in [
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "allocateLoadBalancerNodePorts",
    ] {
        assert!(spec(&second)[gone].is_null(), "{gone}");
    }
    assert_eq!(cluster.0.in_use(), (1, 0));
    let mut next = spec(&second);
    next["type"] = "ExternalName".into();
    next["externalName"] = "example.com".into();
    let third = cluster.write(next, Some(&second)).expect("valid");
    assert!(spec(&third)["clusterIPs"].is_null());
    assert_eq!(cluster.0.in_use(), (0, 0));
    let fourth = cluster
        .write(json!({"ports": ports()}), Some(&third))
        .expect("valid");
    assert_eq!(cluster.0.in_use(), (1, 0));
    let changes = release(&cluster.0, &fourth);
    cluster.0.commit(changes);
    assert_eq!(cluster.0.in_use(), (0, 0));
}

#[test]
fn releasing_the_second_family_releases_its_address() {
    let mut cluster = Cluster::new();
    let first = cluster.create(json!({"ports": ports(), "ipFamilyPolicy": "RequireDualStack"}));
    assert_eq!(cluster.0.in_use(), (2, 0));
    let mut next = spec(&first);
    next["ipFamilyPolicy"] = "SingleStack".into();
    let second = cluster.write(next, Some(&first)).expect("valid");
    assert_eq!(spec(&second)["ipFamilies"], json!(["IPv4"]));
    assert_eq!(cluster.0.in_use(), (1, 0));
}

#[test]
fn a_refused_service_leaks_nothing() {
    let mut cluster = Cluster::new();
    for wrong in [
        json!({"type": "NodePort", "ports": [{"port": 0}]}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}),
        json!({"type": "LoadBalancer", "ports": ports(), "externalTrafficPolicy": "Sideways"}),
        json!({"type": "LoadBalancer", "ports": ports(), "clusterIP": "10.96.0.0"}),
        json!({"ports": ports(), "clusterIP": "192.0.2.1"}),
    ] {
        assert!(cluster.write(wrong.clone(), None).is_err(), "{wrong}");
        assert_eq!(cluster.0.in_use(), (0, 0), "{wrong}");
    }
}

#[test]
fn wrong_fields_are_named_as_upstream_names_them() {
    let two = json!([{"port": 80}, {"port": 80}]);
    for (wrong, paths) in [
        (json!({}), vec!["spec.ports"]),
        (
            json!({"ports": two}),
            vec!["spec.ports[0].name", "spec.ports[1].name", "spec.ports[1]"],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30_001}]}),
            vec!["spec.ports[0].nodePort"],
        ),
        (
            json!({"ports": ports(), "externalTrafficPolicy": "Local"}),
            vec!["spec.externalTrafficPolicy"],
        ),
        (
            json!({"ports": ports(), "internalTrafficPolicy": "x"}),
            vec!["spec.internalTrafficPolicy"],
        ),
        (
            json!({"ports": ports(), "healthCheckNodePort": 30_001}),
            vec!["spec.healthCheckNodePort"],
        ),
        (
            json!({"ports": ports(), "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            vec!["spec.LoadBalancerSourceRanges"],
        ),
        (
            json!({"ports": ports(), "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
            vec!["spec.sessionAffinityConfig.clientIP.timeoutSeconds"],
        ),
        (json!({"type": "ExternalName"}), vec!["spec.externalName"]),
        (
            json!({"type": "NodePort", "clusterIP": "None", "ports": ports()}),
            vec!["spec.clusterIPs[0]"],
        ),
        (
            json!({"ports": ports(), "externalIPs": ["127.0.0.1"]}),
            vec!["spec.externalIPs[0]"],
        ),
    ] {
        let refused = Cluster::new()
            .write(wrong.clone(), None)
            .expect_err("invalid");
        assert_eq!(refused, paths, "{wrong}");
    }
}
