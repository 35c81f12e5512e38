//! EndpointSlices.

use std::collections::BTreeSet;

use k8s_openapi::api::discovery::v1 as api;

use super::problem::quoted;
use super::{Problems, Reading, address, is_named, port_number, protocol, reading};
use crate::model::{Endpoint, Family, ObjectName, Slice, SlicePort};

/// Which Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// On the slices of headless Services, whatever its value; kube-proxy does not watch them
/// (`cmd/kube-proxy/app/server.go`).
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Reads an EndpointSlice. The first address of an endpoint is its address; the API gives no meaning to others.
#[must_use]
pub fn slice(object: &api::EndpointSlice) -> Reading<Slice> {
    reading("EndpointSlice", &object.metadata, |name, problems| {
        read(object, name, problems)
    })
}

fn read(object: &api::EndpointSlice, name: &ObjectName, problems: &mut Problems) -> Option<Slice> {
    if !is_named(name, problems) {
        return None;
    }
    let label = |label: &str| object.metadata.labels.as_ref()?.get(label);
    if label(HEADLESS).is_some() {
        return None;
    }
    let Some(service) = label(SERVICE_NAME).filter(|service| !service.is_empty()) else {
        problems.add(
            "metadata.labels",
            format_args!("no {SERVICE_NAME}; the slice belongs to no Service"),
        );
        return None;
    };
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        // Legal, and of no use to any proxy of addresses.
        "FQDN" => return None,
        other => {
            problems.add(
                "addressType",
                format_args!(
                    "{} is no address family; the slice is ignored",
                    quoted(other)
                ),
            );
            return None;
        }
    };
    let service = ObjectName {
        namespace: name.namespace.clone(),
        name: service.as_str().into(),
    };
    Some(Slice {
        service,
        family,
        ports: ports(object, problems),
        endpoints: endpoints(object, family, problems),
    })
}

fn ports(object: &api::EndpointSlice, problems: &mut Problems) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for (at, listed) in object.ports.iter().flatten().enumerate() {
        // A port without a number means all ports, which no Service port can lead to.
        let port = match listed.port {
            None => Err("has no number".to_owned()),
            Some(number) => {
                port_number(number).ok_or_else(|| format!("{number} is no port number"))
            }
        };
        let port = port.and_then(|port| Ok((port, protocol(listed.protocol.as_deref())?)));
        match port {
            Ok((port, protocol)) => {
                let name = listed.name.as_deref().unwrap_or_default().into();
                ports.push(SlicePort {
                    name,
                    protocol,
                    port,
                });
            }
            Err(why) => problems.add(format_args!("ports[{at}]"), format_args!("{why}; left out")),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports.shrink_to_fit();
    ports
}

fn endpoints(
    object: &api::EndpointSlice,
    family: Family,
    problems: &mut Problems,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (at, listed) in object.endpoints.iter().flatten().enumerate() {
        match endpoint(listed, family) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(why) => problems.add(
                format_args!("endpoints[{at}].addresses"),
                format_args!("{why}; left out"),
            ),
        }
    }
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.shrink_to_fit();
    endpoints
}

fn endpoint(listed: &api::Endpoint, family: Family) -> Result<Endpoint, String> {
    let address = listed.addresses.first().ok_or("has none")?;
    let address = address::usable_address(address)?;
    if Family::of(address) != family {
        return Err(format!("{address} is not of the slice's address type"));
    }
    let conditions = listed.conditions.as_ref();
    let condition = |read: fn(&api::EndpointConditions) -> Option<bool>| conditions.and_then(read);
    let hints = listed.hints.as_ref();
    let zones = hints
        .and_then(|hints| hints.for_zones.as_deref())
        .unwrap_or_default();
    let nodes = hints
        .and_then(|hints| hints.for_nodes.as_deref())
        .unwrap_or_default();
    Ok(Endpoint {
        address,
        node: listed
            .node_name
            .as_deref()
            .filter(|node| !node.is_empty())
            .map(Into::into),
        ready: condition(|conditions| conditions.ready).unwrap_or(true),
        serving: condition(|conditions| conditions.serving).unwrap_or(true),
        terminating: condition(|conditions| conditions.terminating).unwrap_or(false),
        zones: zones
            .iter()
            .map(|zone| zone.name.as_str().into())
            .collect::<BTreeSet<_>>(),
        nodes: nodes
            .iter()
            .map(|node| node.name.as_str().into())
            .collect::<BTreeSet<_>>(),
    })
}
