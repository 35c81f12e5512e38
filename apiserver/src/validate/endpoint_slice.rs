//! EndpointSlices (`pkg/apis/discovery/validation/validation.go`, `pkg/apis/discovery/v1/defaults.go`).

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{immutable, names};
use crate::field::FieldError;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY: usize = 16;
const MAX_HINTS: usize = 8;

pub(super) fn default(value: &mut Value) {
    for port in value["ports"].as_array_mut().into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.entry("name").or_insert_with(|| "".into());
            port.entry("protocol").or_insert_with(|| "TCP".into());
        }
    }
    if let Some(object) = value.as_object_mut() {
        // Neither list has omitempty upstream: an absent one is shown as null.
        for list in ["endpoints", "ports"] {
            object.entry(list).or_insert(Value::Null);
        }
        for endpoint in object
            .get_mut("endpoints")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(endpoint) = endpoint.as_object_mut() {
                endpoint
                    .entry("conditions")
                    .or_insert_with(|| Value::Object(Map::new()));
            }
        }
    }
}

pub(super) fn validate(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let address_type = value["addressType"].as_str().unwrap_or_default();
    match address_type {
        "" => errors.push(FieldError::required("addressType", "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => errors.push(FieldError::not_supported(
            "addressType",
            other,
            &["FQDN", "IPv4", "IPv6"],
        )),
    }
    errors.extend(validate_ports(
        value["ports"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default(),
    ));
    let endpoints = value["endpoints"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(
            "endpoints",
            endpoints.len(),
            MAX_ENDPOINTS,
        ));
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            errors.extend(validate_endpoint(
                &format!("endpoints[{index}]"),
                endpoint,
                address_type,
            ));
        }
    }
    if let Some(old) = old {
        errors.extend(immutable(
            "addressType",
            &value["addressType"],
            &old["addressType"],
        ));
    }
    errors
}

fn validate_endpoint(path: &str, endpoint: &Value, address_type: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let addresses = endpoint["addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let addresses_path = format!("{path}.addresses");
    if addresses.is_empty() {
        errors.push(FieldError::required(
            &addresses_path,
            "must contain at least 1 address",
        ));
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(FieldError::too_many(
            &addresses_path,
            addresses.len(),
            MAX_ADDRESSES,
        ));
    }
    for (index, address) in addresses.iter().enumerate() {
        let path = format!("{addresses_path}[{index}]");
        errors.extend(validate_address(
            &path,
            address.as_str().unwrap_or_default(),
            address_type,
        ));
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        errors.extend(names::at(
            &format!("{path}.nodeName"),
            node,
            names::dns_1123_subdomain(node),
        ));
    }
    if let Some(topology) = endpoint["deprecatedTopology"].as_object() {
        let path = format!("{path}.deprecatedTopology");
        if topology.len() > MAX_TOPOLOGY {
            errors.push(FieldError::too_many(&path, topology.len(), MAX_TOPOLOGY));
        }
        errors.extend(super::meta::validate_labels(&path, topology));
        if topology.contains_key("kubernetes.io/hostname") {
            errors.push(FieldError::invalid(
                format!("{path}[kubernetes.io/hostname]"),
                topology["kubernetes.io/hostname"].clone(),
                "may not be set, use nodeName instead",
            ));
        }
    }
    if let Some(hostname) = endpoint["hostname"].as_str() {
        errors.extend(names::at(
            &format!("{path}.hostname"),
            hostname,
            names::dns_1123_label(hostname),
        ));
    }
    for hint in ["forZones", "forNodes"] {
        if let Some(list) = endpoint["hints"][hint].as_array() {
            errors.extend(validate_hints(&format!("{path}.hints.{hint}"), list));
        }
    }
    errors
}

fn validate_hints(path: &str, list: &[Value]) -> Vec<FieldError> {
    if list.len() > MAX_HINTS {
        return vec![FieldError::too_many(path, list.len(), MAX_HINTS)];
    }
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (index, hint) in list.iter().enumerate() {
        let name = hint["name"].as_str().unwrap_or_default();
        let path = format!("{path}[{index}].name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        seen.push(name);
        errors.extend(names::at(&path, name, names::label_value(name)));
    }
    errors
}

fn validate_address(path: &str, address: &str, address_type: &str) -> Vec<FieldError> {
    match address_type {
        "IPv4" | "IPv6" => match names::ip(path, address) {
            Ok(ip) if ip.is_ipv4() == (address_type == "IPv4") => {
                names::not_special(path, ip, address)
            }
            Ok(_) => {
                // Upstream drops the position from the path of this one.
                let list = path.rsplit_once('[').map_or(path, |(list, _)| list);
                vec![FieldError::invalid(
                    list,
                    address,
                    format!("must be an {address_type} address"),
                )]
            }
            Err(error) => vec![error],
        },
        "FQDN" => {
            let name = address.strip_suffix('.').unwrap_or(address);
            if name.is_empty() {
                return vec![FieldError::required(path, "")];
            }
            let mut errors = names::at(path, name, names::dns_1123_subdomain(name));
            if errors.is_empty() && !name.contains('.') {
                errors.push(FieldError::invalid(
                    path,
                    name,
                    "should be a domain with at least two segments separated by dots",
                ));
            }
            errors
        }
        _ => Vec::new(),
    }
}

fn validate_ports(ports: &[Value]) -> Vec<FieldError> {
    if ports.len() > MAX_PORTS {
        return vec![FieldError::too_many("ports", ports.len(), MAX_PORTS)];
    }
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if !name.is_empty() {
            errors.extend(names::at(
                &format!("{path}.name"),
                name,
                names::dns_1123_label(name),
            ));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        match port["protocol"].as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(format!("{path}.protocol"), "")),
            "TCP" | "UDP" | "SCTP" => {}
            other => {
                errors.push(FieldError::not_supported(
                    format!("{path}.protocol"),
                    other,
                    &["SCTP", "TCP", "UDP"],
                ));
            }
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            let path = format!("{path}.appProtocol");
            errors.extend(names::at(&path, protocol, names::qualified_name(protocol)));
        }
    }
    errors
}
