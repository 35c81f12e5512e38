//! The Kubernetes objects of a lab as the API writes them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::objects::NAMESPACE;
use crate::case::{
    ADDRESSES_ANNOTATION, Backend, MOST_PORTS, MOST_SLICES, Policy, Service as Spec, ServiceType,
    SourceRange, Stated,
};
use crate::world::{self, AddressPlan, Dual, Family, World};

/// The ClusterIP of a Service that has none.
pub(super) const HEADLESS: &str = "None";

/// The label by which an EndpointSlice belongs to a Service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Cases are told apart by the first port of their backends; a case's other ports are this far
/// from each other.
const PORT_STEP: u16 = 1000;

/// The port that the backends in this EndpointSlice listen on for the Service's port at this
/// position, where `first` is the case's first one.
///
/// # Panics
/// When there is no such port: cases are checked before they run.
pub fn target_port(first: u16, position: usize, slice: u16) -> u16 {
    let position = u16::try_from(position).expect("a Service has few ports");
    assert!(position < MOST_PORTS && slice < MOST_SLICES);
    first + PORT_STEP * (position + MOST_PORTS * slice)
}

/// The name of the port that pods have for the Service's port at this position.
pub(crate) fn port_name(position: usize) -> String {
    format!("port-{position}")
}

/// The external address for each node of the case with this first port.
pub(super) fn external_ips(world: &World, first: u16) -> Vec<Dual> {
    let numbers = (1..).take(world.nodes.len());
    numbers
        .map(|node| AddressPlan::external_ip(node, first % PORT_STEP + 1))
        .collect()
}

/// The spec of a Service of this type and policies, as a merge patch or a whole spec: what does
/// not apply to the type is `null`, which removes it.
pub fn service_spec(spec: Spec, world: &World) -> Value {
    let external = match spec.kind {
        ServiceType::ClusterIp | ServiceType::Headless if !spec.external_ips => Value::Null,
        _ => policy(spec.external),
    };
    let mut wanted = json!({
        "type": spec.kind.api_name(),
        "externalTrafficPolicy": external,
        "internalTrafficPolicy": policy(spec.internal),
        "loadBalancerClass": null,
        "loadBalancerSourceRanges": null,
        "allocateLoadBalancerNodePorts": null,
    });
    if spec.kind == ServiceType::Headless {
        wanted["clusterIP"] = json!(HEADLESS);
    }
    if let ServiceType::LoadBalancer(mode) = spec.kind {
        wanted["loadBalancerClass"] = json!(mode.load_balancer_class());
        wanted["loadBalancerSourceRanges"] = source_ranges(spec.source_ranges, world);
        if !spec.allocate_node_ports {
            wanted["allocateLoadBalancerNodePorts"] = json!(false);
        }
    }
    let affinity = affinity(spec.affinity);
    for (field, value) in affinity.as_object().expect("a spec is an object") {
        wanted[field] = value.clone();
    }
    wanted
}

/// The affinity with this timeout in seconds, or without any, as a merge patch of a spec.
pub fn affinity(seconds: Option<u32>) -> Value {
    let config = seconds.map(|seconds| json!({ "clientIP": { "timeoutSeconds": seconds } }));
    let name = if seconds.is_some() {
        "ClientIP"
    } else {
        "None"
    };
    json!({ "sessionAffinity": name, "sessionAffinityConfig": config })
}

/// `loadBalancerSourceRanges` as the API writes them: none at all where there are none.
pub fn source_ranges(ranges: &[SourceRange], world: &World) -> Value {
    match ranges {
        [] => Value::Null,
        ranges => {
            let networks = ranges.iter().flat_map(|range| range.networks(world));
            json!(networks.collect::<Vec<_>>())
        }
    }
}

/// A policy as the API writes it.
pub fn policy(policy: Policy) -> Value {
    json!(policy.to_string())
}

pub(super) fn node_object(node: &world::Node) -> (Value, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.object, "labels": {
            "kubernetes.io/hostname": node.object,
        }},
        "spec": {"podCIDR": node.pod_cidrs[0], "podCIDRs": node.pod_cidrs},
    });
    let addresses: Vec<_> = node
        .address
        .both()
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .chain([json!({"type": "Hostname", "address": node.object})])
        .collect();
    let ready = json!({
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "a node of the lab",
    });
    (
        object,
        json!({"addresses": addresses, "conditions": [ready]}),
    )
}

pub(super) fn pod_object(pod: &world::Pod) -> (Value, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": pod.node,
            "containers": [{"name": "backend", "image": "onehop"}],
        },
    });
    let addresses: Vec<_> = pod
        .address
        .both()
        .iter()
        .map(|ip| json!({ "ip": ip }))
        .collect();
    let ready = json!({"type": "Ready", "status": "True"});
    let status = json!({
        "phase": "Running",
        "podIP": pod.address.v4,
        "podIPs": addresses,
        "conditions": [ready],
    });
    (object, status)
}

/// The Service of a case, in a cluster of these families.
pub(super) fn service_object(name: &str, spec: Spec, world: &World, clusters: &[Family]) -> Value {
    let ports = spec.ports.iter().enumerate().map(|(position, port)| {
        json!({
            "name": port.name,
            "protocol": port.protocol,
            "port": port.number,
            "targetPort": port_name(position),
        })
    });
    let mut service = json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "ipFamilyPolicy": spec.families.policy(clusters.len()),
            "ipFamilies": spec.families.of(clusters),
            "ports": ports.collect::<Vec<_>>(),
        },
    });
    if spec.two_addresses {
        service["metadata"]["annotations"] = json!({ ADDRESSES_ANNOTATION: "2" });
    }
    let own = service_spec(spec, world);
    for (field, value) in own.as_object().expect("a spec is an object") {
        if !value.is_null() {
            service["spec"][field] = value.clone();
        }
    }
    service
}

/// The EndpointSlices that these backends are in, where the Service has these families. The first of each family is
/// always there.
pub(super) fn slices_of(backends: &[Backend], families: &[Family]) -> BTreeSet<(Family, u16)> {
    let slices = backends.iter().map(|backend| backend.slice).chain([0]);
    slices
        .flat_map(|slice| families.iter().map(move |family| (*family, slice)))
        .collect()
}

pub(super) fn slice_name(service: &str, family: Family, slice: u16) -> String {
    format!("{service}-{}-{slice}", family.api_name().to_lowercase())
}

pub(super) fn slice_object(
    service: &str,
    spec: Spec,
    (family, slice): (Family, u16),
    world: &World,
    backends: &[Backend],
    first_port: u16,
) -> Value {
    let ports = spec.ports.iter().enumerate().map(|(position, port)| {
        json!({
            "name": port.name,
            "protocol": port.protocol,
            "port": target_port(first_port, position, slice),
        })
    });
    json!({
        "metadata": {
            "name": slice_name(service, family, slice),
            "namespace": NAMESPACE,
            "labels": BTreeMap::from([
                (SERVICE_LABEL, service),
                ("endpointslice.kubernetes.io/managed-by", "onehop.dev"),
            ]),
        },
        "addressType": family.api_name(),
        "endpoints": endpoints((family, slice), world, backends),
        "ports": ports.collect::<Vec<_>>(),
    })
}

pub(super) fn endpoints(
    (family, slice): (Family, u16),
    world: &World,
    backends: &[Backend],
) -> Vec<Value> {
    let endpoint = |backend: &Backend| {
        let pod = world
            .pod(&backend.pod)
            .expect("a case's backends are pods of its world");
        let mut endpoint = json!({
            "addresses": [pod.address.of(family)],
            "nodeName": world.node(&pod.node).map(|node| &node.object),
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name},
        });
        if backend.stated != Stated::Nothing {
            endpoint["conditions"] = json!({
                "ready": backend.ready,
                "terminating": backend.terminating,
            });
        }
        if backend.stated == Stated::All {
            endpoint["conditions"]["serving"] = json!(backend.serving);
        }
        let nodes = backend.nodes.iter().map(|name| {
            let node = world.node(name);
            node.map_or_else(|| name.clone(), |node| node.object.clone())
        });
        let hints = [
            ("forZones", backend.zones.clone()),
            ("forNodes", nodes.collect()),
        ];
        for (field, names) in hints.into_iter().filter(|(_, names)| !names.is_empty()) {
            let names: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
            endpoint["hints"][field] = json!(names);
        }
        endpoint
    };
    let own = |backend: &&Backend| backend.slice == slice && backend.is_in(family);
    backends.iter().filter(own).map(endpoint).collect()
}
