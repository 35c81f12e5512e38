//! Services.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;

use super::problem::quoted;
use super::{Problems, Reading, address, is_named, port_number, protocol, reading};
use crate::model::{Family, ObjectName, Policy, Service, ServicePort};

/// Another proxy's Service, whatever the label's value (`cmd/kube-proxy/app/server.go`).
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is absent, and the most that it may be.
const AFFINITY_TIMEOUT_SECONDS: u32 = 10_800;
const LONGEST_AFFINITY_SECONDS: u32 = 86_400;

/// Reads a Service. It has no value, and no problem, if it is headless, an `ExternalName`, or another proxy's.
///
/// As in kube-proxy, node ports, `externalIPs` and load balancer addresses count wherever they are given, whatever
/// the type; the type decides about `externalTrafficPolicy` and the health check port. A family without a cluster
/// address is not served at all.
#[must_use]
pub fn service(object: &api::Service) -> Reading<Service> {
    reading("Service", &object.metadata, |name, problems| {
        read(object, name, problems)
    })
}

fn read(object: &api::Service, name: &ObjectName, problems: &mut Problems) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    let labelled = |label: &str| {
        object
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(label))
    };
    let has_cluster_ip = !matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"));
    if !has_cluster_ip
        || spec.type_.as_deref() == Some("ExternalName")
        || labelled(SERVICE_PROXY_NAME)
    {
        return None;
    }
    if !is_named(name, problems) {
        return None;
    }
    let cluster_ips = cluster_ips(spec, problems);
    if cluster_ips.is_empty() {
        problems.add(
            "spec.clusterIPs",
            "no usable address; the Service is not served",
        );
        return None;
    }
    let external_policy = external_policy(spec, problems);
    let (source_ranges, ranges_unreadable) = source_ranges(spec, problems);
    let mut vips = vips(object, problems);
    if ranges_unreadable && !vips.is_empty() {
        // Who may use them is unknown: nobody is safer than everybody.
        problems.add(
            "spec.loadBalancerSourceRanges",
            "none can be read; no load balancer address is served",
        );
        vips.clear();
    }
    Some(Service {
        name: name.clone(),
        cluster_ips,
        external_ips: external_ips(spec, problems),
        vips,
        source_ranges,
        external_policy,
        internal_policy: policy(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
            problems,
        ),
        affinity: affinity(spec, problems),
        health_check_node_port: health_check_node_port(spec, external_policy, problems),
        ports: ports(spec, problems),
    })
}

/// Its cluster addresses, at most one a family, IPv4 first. Where `ipFamilies` is given, an address must be of the
/// family at its place, as kube-proxy takes it for one of that family.
fn cluster_ips(spec: &api::ServiceSpec, problems: &mut Problems) -> Vec<IpAddr> {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let listed = match spec.cluster_ips.as_deref() {
        Some(listed) if !listed.is_empty() => listed,
        _ => spec.cluster_ip.as_slice(),
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (at, text) in listed.iter().enumerate() {
        let checked = address::usable_address(text).and_then(|address| {
            let family = Family::of(address);
            if families
                .get(at)
                .is_some_and(|named| named != family_name(family))
            {
                Err(format!(
                    "{address} is not of the family that ipFamilies names"
                ))
            } else if addresses.iter().any(|other| Family::of(*other) == family) {
                Err(format!("{address} is the second of its family"))
            } else {
                Ok(address)
            }
        });
        match checked {
            Ok(address) => addresses.push(address),
            Err(why) => problems.add(
                format_args!("spec.clusterIPs[{at}]"),
                format_args!("{why}; left out"),
            ),
        }
    }
    addresses.sort_unstable();
    addresses.shrink_to_fit();
    addresses
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn external_ips(spec: &api::ServiceSpec, problems: &mut Problems) -> Vec<IpAddr> {
    let listed = spec
        .external_ips
        .as_deref()
        .unwrap_or_default()
        .iter()
        .enumerate();
    let listed = listed.filter(|(_, text)| !text.trim().is_empty());
    addresses(
        listed.map(|(at, text)| (format!("spec.externalIPs[{at}]"), text.as_str())),
        problems,
    )
}

/// The addresses of its load balancer that nodes take traffic for. An ingress of a host name alone, or of mode
/// Proxy, is reached through the load balancer.
fn vips(object: &api::Service, problems: &mut Problems) -> Vec<IpAddr> {
    let balancer = object
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let listed = ingress.iter().enumerate().filter_map(|(at, ingress)| {
        let is_vip = matches!(ingress.ip_mode.as_deref(), None | Some("VIP"));
        let text = ingress
            .ip
            .as_deref()
            .filter(|ip| is_vip && !ip.is_empty())?;
        Some((format!("status.loadBalancer.ingress[{at}].ip"), text))
    });
    addresses(listed, problems)
}

/// Addresses with the fields that they stand in, sorted, none twice.
fn addresses<'a>(
    listed: impl Iterator<Item = (impl fmt::Display, &'a str)>,
    problems: &mut Problems,
) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (field, text) in listed {
        match address::usable_address(text) {
            Ok(address) => addresses.push(address),
            Err(why) => problems.add(field, format_args!("{why}; left out")),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.shrink_to_fit();
    addresses
}

/// Its source ranges, sorted, and whether there are some of which none can be read. The API allows blanks
/// around them.
fn source_ranges(spec: &api::ServiceSpec, problems: &mut Problems) -> (Vec<IpNet>, bool) {
    let mut ranges = Vec::new();
    let mut unreadable = false;
    for (at, text) in spec
        .load_balancer_source_ranges
        .iter()
        .flatten()
        .enumerate()
    {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        match address::range(text) {
            Ok(range) => ranges.push(range),
            Err(why) => {
                unreadable = true;
                problems.add(
                    format_args!("spec.loadBalancerSourceRanges[{at}]"),
                    format_args!("{why}; left out"),
                );
            }
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    let unreadable = unreadable && ranges.is_empty();
    (ranges, unreadable)
}

fn policy(field: &str, text: Option<&str>, problems: &mut Problems) -> Policy {
    match text {
        None | Some("" | "Cluster") => Policy::Cluster,
        Some("Local") => Policy::Local,
        Some(other) => {
            problems.add(
                field,
                format_args!("{} is no traffic policy; taken as Cluster", quoted(other)),
            );
            Policy::Cluster
        }
    }
}

/// `externalTrafficPolicy`, which counts only for types that are reached from outside
/// (`pkg/api/v1/service/util.go`).
fn external_policy(spec: &api::ServiceSpec, problems: &mut Problems) -> Policy {
    let external = match spec.type_.as_deref() {
        Some("LoadBalancer" | "NodePort") => true,
        None | Some("ClusterIP") => spec
            .external_ips
            .as_ref()
            .is_some_and(|listed| !listed.is_empty()),
        Some(_) => false,
    };
    if external {
        policy(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
            problems,
        )
    } else {
        Policy::Cluster
    }
}

fn affinity(spec: &api::ServiceSpec, problems: &mut Problems) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            problems.add(
                "spec.sessionAffinity",
                format_args!("{} is no affinity; taken as None", quoted(other)),
            );
            return None;
        }
    }
    let config = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = config.and_then(|config| config.timeout_seconds) else {
        return Some(AFFINITY_TIMEOUT_SECONDS);
    };
    let checked = u32::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=LONGEST_AFFINITY_SECONDS).contains(seconds));
    if checked.is_none() {
        problems.add(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format_args!("{seconds} is not from 1 to {LONGEST_AFFINITY_SECONDS}; taken as {AFFINITY_TIMEOUT_SECONDS}"),
        );
    }
    checked.or(Some(AFFINITY_TIMEOUT_SECONDS))
}

/// The health check port, which only a load balancer Service under Local has.
fn health_check_node_port(
    spec: &api::ServiceSpec,
    external: Policy,
    problems: &mut Problems,
) -> Option<u16> {
    if spec.type_.as_deref() != Some("LoadBalancer") || external != Policy::Local {
        return None;
    }
    let number = spec.health_check_node_port.unwrap_or(0);
    let port = port_number(number);
    if port.is_none() {
        problems.add(
            "spec.healthCheckNodePort",
            format_args!("{number} is no port number; no health is served"),
        );
    }
    port
}

/// Its ports. Of two with the same name and protocol, or the same number and protocol, the first is used; a node
/// port that another port of the Service has, or that makes no sense, is left out alone.
fn ports(spec: &api::ServiceSpec, problems: &mut Problems) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (at, listed) in spec.ports.iter().flatten().enumerate() {
        let field = format!("spec.ports[{at}]");
        let mut port = match port(listed, &ports) {
            Ok(port) => port,
            Err(why) => {
                problems.add(field, format_args!("{why}; left out"));
                continue;
            }
        };
        match node_port(listed, &port, &ports) {
            Ok(node_port) => port.node_port = node_port,
            Err(why) => problems.add(
                format_args!("{field}.nodePort"),
                format_args!("{why}; left out"),
            ),
        }
        ports.push(port);
    }
    ports.shrink_to_fit();
    ports
}

fn port(listed: &api::ServicePort, others: &[ServicePort]) -> Result<ServicePort, String> {
    let protocol = protocol(listed.protocol.as_deref())?;
    let port =
        port_number(listed.port).ok_or_else(|| format!("{} is no port number", listed.port))?;
    let name = listed.name.as_deref().unwrap_or_default();
    let mut same = others.iter().filter(|other| other.protocol == protocol);
    if same.any(|other| other.port == port || *other.name == *name) {
        return Err("another port of the Service has its name or number".to_owned());
    }
    Ok(ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port: None,
    })
}

fn node_port(
    listed: &api::ServicePort,
    port: &ServicePort,
    others: &[ServicePort],
) -> Result<Option<u16>, String> {
    let Some(number) = listed.node_port.filter(|number| *number != 0) else {
        return Ok(None);
    };
    let node_port = port_number(number).ok_or_else(|| format!("{number} is no port number"))?;
    let mut same = others
        .iter()
        .filter(|other| other.protocol == port.protocol);
    if same.any(|other| other.node_port == Some(node_port)) {
        return Err(format!("another port of the Service has {number}"));
    }
    Ok(Some(node_port))
}
