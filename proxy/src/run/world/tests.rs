use k8s_openapi::serde_json::{Value, from_value, json};
use kube::runtime::watcher;

use super::*;

fn service(name: &str) -> Observed {
    let object = json!({"metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}});
    Observed::Service(Change::Applied(from_value(object).expect("a Service")))
}

fn slice(name: &str, service: &str) -> Observed {
    let object = json!({"metadata": {"namespace": "default", "name": name,
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.244.1.4"]}]});
    Observed::Slice(Change::Applied(from_value(object).expect("a slice")))
}

fn range(name: &str, cidr: &str) -> Observed {
    let object = json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
    Observed::ServiceCidr(Change::Applied(from_value(object).expect("a ServiceCIDR")))
}

fn node(spec: &Value) -> Observed {
    let object = json!({"metadata": {"name": "vm1"}, "spec": spec,
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.11"}]}});
    Observed::Node(Change::Applied(from_value(object).expect("a Node")))
}

fn names(names: &[&str]) -> BTreeSet<ObjectName> {
    let name = |name: &&str| ObjectName {
        namespace: "default".into(),
        name: (*name).into(),
    };
    names.iter().map(name).collect()
}

/// A world that has listed all kinds, none of which had any object.
fn empty() -> World {
    let mut world = World::new("vm1", [].into());
    for observed in [
        Observed::Service(Change::Listed),
        Observed::Slice(Change::Listed),
        Observed::Node(Change::Listed),
        Observed::ServiceCidr(Change::Listed),
    ] {
        world.observe(observed);
    }
    world
}

#[test]
fn a_world_is_complete_once_services_slices_and_node_are_listed() {
    let mut world = World::new("vm1", [].into());
    for observed in [
        Observed::ServiceCidr(Change::Listed),
        Observed::Service(Change::Listing),
        service("a"),
        Observed::Service(Change::Listed),
        Observed::Slice(Change::Listed),
        Observed::Node(Change::Listing),
    ] {
        world.observe(observed);
        assert!(!world.is_complete());
    }
    world.observe(Observed::Node(Change::Listed));
    assert!(world.is_complete());
    // A list that begins anew makes nothing unknown.
    world.observe(Observed::Service(Change::Listing));
    assert!(world.is_complete());
    assert_eq!(
        world.index.services().cloned().collect::<BTreeSet<_>>(),
        names(&["a"])
    );
}

#[test]
fn what_a_new_list_lacks_is_gone_and_what_it_repeats_is_untouched() {
    let mut world = empty();
    for observed in [
        service("a"),
        service("b"),
        slice("a-1", "a"),
        slice("b-1", "b"),
    ] {
        world.observe(observed);
    }
    for observed in [
        Observed::Service(Change::Listing),
        service("b"),
        service("c"),
    ] {
        let touched = world.observe(observed).touched;
        assert!(
            touched.is_empty() || touched == names(&["c"]),
            "{touched:?}"
        );
    }
    assert_eq!(
        world.observe(Observed::Service(Change::Listed)).touched,
        names(&["a"])
    );

    world.observe(Observed::Slice(Change::Listing));
    assert_eq!(
        world.observe(Observed::Slice(Change::Listed)).touched,
        names(&["b"])
    );
    let plan = world
        .index
        .plan(names(&["b"]).first().expect("one"))
        .expect("it exists");
    assert!(plan.ports.iter().all(|port| port.serving.is_empty()));
}

#[test]
fn a_list_that_broke_off_and_began_again_counts_from_its_new_begin() {
    let mut world = empty();
    world.observe(service("a"));
    world.observe(Observed::Service(Change::Listing));
    world.observe(service("a"));
    world.observe(Observed::Broken {
        kind: Kind::Services,
        error: watcher::Error::NoResourceVersion,
        again: false,
    });
    world.observe(Observed::Service(Change::Listing));
    assert_eq!(
        world.observe(Observed::Service(Change::Listed)).touched,
        names(&["a"])
    );
}

#[test]
fn an_unreadable_object_is_reported_and_as_if_it_were_not_there() {
    let mut world = empty();
    world.observe(service("a"));
    let name = names(&["a"]).pop_first().expect("one");
    let unreadable = Observed::Service(Change::Unreadable {
        name,
        error: "no number".to_owned(),
    });
    let concerns = world.observe(unreadable);
    assert_eq!(concerns.touched, names(&["a"]));
    let problems = concerns.problems.iter().map(ToString::to_string);
    assert_eq!(
        problems.collect::<Vec<_>>(),
        ["Service default/a: (all of it): cannot be read: no number"]
    );
}

#[test]
fn a_node_that_is_gone_is_reported_and_leaves_what_it_said() {
    let mut world = empty();
    let concerns = world.observe(node(
        &json!({"podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"]}),
    ));
    assert!(concerns.node && !concerns.node_gone);
    for gone in [
        vec![Observed::Node(Change::Deleted(
            names(&["vm1"]).pop_first().expect("one"),
        ))],
        vec![
            Observed::Node(Change::Listing),
            Observed::Node(Change::Listed),
        ],
    ] {
        let reported: Vec<_> = gone
            .into_iter()
            .map(|it| world.observe(it).node_gone)
            .collect();
        assert_eq!(reported.last(), Some(&true));
        assert_eq!(world.index.node().addresses.len(), 1);
        assert_eq!(world.pod_cidrs.len(), 2);
    }
    // It comes back, and has no ranges yet.
    world.observe(node(&json!({})));
    assert_eq!(world.pod_cidrs.len(), 2);
}

#[test]
fn ranges_of_cluster_addresses_follow_their_objects() {
    let mut world = empty();
    assert!(
        world
            .observe(range("kubernetes", "10.96.0.0/16"))
            .service_cidrs
    );
    assert!(world.observe(range("more", "10.97.0.0/16")).service_cidrs);
    assert_eq!(world.index.service_cidrs().len(), 2);
    world.observe(Observed::ServiceCidr(Change::Listing));
    world.observe(range("kubernetes", "10.96.0.0/16"));
    assert!(
        world
            .observe(Observed::ServiceCidr(Change::Listed))
            .service_cidrs
    );
    assert_eq!(world.index.service_cidrs().len(), 1);
}

#[test]
fn only_slices_that_concern_a_service_say_since_when() {
    let time = "2026-01-01T00:00:01Z";
    let timed = |port: u16| {
        let Observed::Slice(Change::Applied(mut slice)) = slice("s", "a") else {
            unreachable!("it is a slice");
        };
        let annotation = "endpoints.kubernetes.io/last-change-trigger-time";
        slice.metadata.annotations = Some([(annotation.to_owned(), time.to_owned())].into());
        slice.ports.as_mut().expect("it has one")[0].port = Some(port.into());
        Observed::Slice(Change::Applied(slice))
    };
    let mut world = empty();
    let says = Some((Family::V4, time.parse().expect("a time")));
    assert_eq!(world.observe(timed(80)).trigger, None, "no such Service");
    assert_eq!(world.observe(service("a")).trigger, None);
    assert_eq!(world.observe(timed(80)).trigger, None, "nothing is new");
    assert_eq!(world.observe(timed(81)).trigger, says);
    assert_eq!(
        world.observe(slice("s", "a")).trigger,
        None,
        "it says nothing"
    );
}
