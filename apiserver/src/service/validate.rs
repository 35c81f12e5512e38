//! What a Service may say (`ValidateService`, `ValidateServiceUpdate` in `pkg/apis/core/validation/validation.go`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value};

use super::{Family, SpecExt};
use crate::field::FieldError;
use crate::validate::{meta, names};

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Checks a whole Service, but for its metadata.
pub(super) fn service(service: &Service) -> Vec<FieldError> {
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let mut errors = Vec::new();
    errors.extend(by_type(spec));
    let mut names_seen = BTreeSet::new();
    for (index, port) in spec.port_list().iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        errors.extend(port_fields(
            &path,
            port,
            spec.port_list().len() > 1,
            &mut names_seen,
        ));
    }
    if let Some(selector) = &spec.selector {
        let selector: Map<String, Value> = selector
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        errors.extend(meta::validate_labels("spec.selector", &selector));
    }
    errors.extend(affinity(spec));
    errors.extend(cluster_ip_fields(spec));
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        let path = format!("spec.externalIPs[{index}]");
        match names::ip(&path, text) {
            Ok(address) => errors.extend(names::not_special(&path, address, text)),
            Err(error) => errors.push(error),
        }
    }
    if !matches!(
        spec.type_name(),
        "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort"
    ) {
        errors.push(FieldError::not_supported(
            "spec.type",
            spec.type_name(),
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    errors.extend(ports_together(spec));
    errors.extend(load_balancer_fields(service, spec));
    errors.extend(traffic_policies(spec));
    errors
}

fn by_type(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if spec.port_list().is_empty() && !spec.headless() && spec.type_name() != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if spec.takes_node_ports() && spec.headless() {
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {} services", spec.type_name()),
        ));
    }
    if spec.type_name() != "ExternalName" {
        return errors;
    }
    for (set, path) in [
        (!spec.cluster_ip_list().is_empty(), "spec.clusterIPs"),
        (!spec.family_list().is_empty(), "spec.ipFamilies"),
        (spec.ip_family_policy.is_some(), "spec.ipFamilyPolicy"),
    ] {
        if set {
            errors.push(FieldError::forbidden(
                path,
                "may not be set for ExternalName services",
            ));
        }
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    } else {
        errors.extend(names::at(
            "spec.externalName",
            name,
            names::dns_1123_subdomain(name),
        ));
    }
    errors
}

fn port_fields<'a>(
    path: &str,
    port: &'a ServicePort,
    needs_name: bool,
    seen: &mut BTreeSet<&'a str>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = |field: &str| format!("{path}.{field}");
    match port.name.as_deref().unwrap_or_default() {
        "" if needs_name => errors.push(FieldError::required(at("name"), "")),
        "" => {}
        name => {
            errors.extend(names::at(&at("name"), name, names::dns_1123_label(name)));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(at("name"), name));
            }
        }
    }
    if !(1..=65535).contains(&port.port) {
        errors.push(FieldError::invalid(
            at("port"),
            port.port,
            names::PORT_RANGE,
        ));
    }
    let protocol = port.protocol.as_deref().unwrap_or_default();
    if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
        errors.push(FieldError::not_supported(
            at("protocol"),
            protocol,
            &["SCTP", "TCP", "UDP"],
        ));
    }
    match &port.target_port {
        Some(IntOrString::Int(number)) if !(1..=65535).contains(number) => {
            errors.push(FieldError::invalid(
                at("targetPort"),
                *number,
                names::PORT_RANGE,
            ));
        }
        Some(IntOrString::String(name)) => {
            errors.extend(names::at(&at("targetPort"), name, names::port_name(name)));
        }
        _ => {}
    }
    if let Some(protocol) = &port.app_protocol {
        errors.extend(names::at(
            &at("appProtocol"),
            protocol,
            names::qualified_name(protocol),
        ));
    }
    errors
}

fn affinity(spec: &ServiceSpec) -> Vec<FieldError> {
    let path = "spec.sessionAffinityConfig";
    match spec.session_affinity.as_deref().unwrap_or_default() {
        "ClientIP" => {
            let seconds = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
            match seconds {
                None => vec![FieldError::required(
                    path,
                    "when session affinity type is ClientIP",
                )],
                Some(1..=86400) => Vec::new(),
                Some(wrong) => vec![FieldError::invalid(
                    format!("{path}.clientIP.timeoutSeconds"),
                    wrong,
                    "must be greater than 0 and less than 86400",
                )],
            }
        }
        "None" if spec.session_affinity_config.is_some() => {
            vec![FieldError::forbidden(
                path,
                "must not be set when session affinity is None",
            )]
        }
        "None" => Vec::new(),
        other => vec![FieldError::not_supported(
            "spec.sessionAffinity",
            other,
            &["ClientIP", "None"],
        )],
    }
}

/// The four fields of cluster addresses and families (`ValidateServiceClusterIPsRelatedFields`).
pub(super) fn cluster_ip_fields(spec: &ServiceSpec) -> Vec<FieldError> {
    if !spec.needs_cluster_ip() {
        return Vec::new();
    }
    let path = "spec.clusterIPs";
    let list = spec.cluster_ip_list();
    let mut errors = Vec::new();
    match (spec.cluster_ip.as_deref(), list.first()) {
        (Some(_), None) => errors.push(FieldError::required(path, "")),
        (Some(one), Some(first)) if one != first => {
            errors.push(FieldError::invalid(
                path,
                list.to_vec(),
                "first value must match `clusterIP`",
            ));
        }
        (None, Some(_)) => errors.push(FieldError::invalid(
            path,
            list.to_vec(),
            "must be empty when `clusterIP` is not specified",
        )),
        _ => {}
    }
    for (index, family) in spec.family_list().iter().enumerate() {
        let path = format!("spec.ipFamilies[{index}]");
        if !matches!(family.as_str(), "IPv4" | "IPv6") {
            errors.push(FieldError::not_supported(
                &path,
                family.as_str(),
                &["IPv4", "IPv6"],
            ));
        }
        if spec.family_list()[..index].contains(family) {
            errors.push(FieldError::duplicate(&path, family.as_str()));
        }
    }
    if let Some(policy) = spec.ip_family_policy.as_deref()
        && !matches!(
            policy,
            "SingleStack" | "PreferDualStack" | "RequireDualStack"
        )
    {
        errors.push(FieldError::not_supported(
            "spec.ipFamilyPolicy",
            policy,
            &["PreferDualStack", "RequireDualStack", "SingleStack"],
        ));
    }
    errors.extend(addresses_match_families(spec));
    errors
}

fn addresses_match_families(spec: &ServiceSpec) -> Vec<FieldError> {
    let path = "spec.clusterIPs";
    let list = spec.cluster_ip_list();
    let mut errors = Vec::new();
    let mut parsed = Vec::new();
    let mut unreadable = false;
    for (index, text) in list.iter().enumerate() {
        if index == 0 && text == "None" {
            if list.len() > 1 {
                unreadable = true;
                errors.push(FieldError::invalid(
                    path,
                    list.to_vec(),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        match names::ip(&format!("{path}[{index}]"), text) {
            Ok(address) => parsed.push(address),
            Err(error) => {
                unreadable = true;
                errors.push(error);
            }
        }
    }
    if list.len() > 2 {
        errors.push(FieldError::invalid(
            path,
            list.to_vec(),
            "may only hold up to 2 values",
        ));
    }
    if unreadable {
        return errors;
    }
    let dual = parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if list.len() > 1 && !dual {
        errors.push(FieldError::invalid(
            path,
            list.to_vec(),
            "may specify no more than one IP for each IP family",
        ));
    }
    for (index, (address, family)) in parsed.iter().zip(spec.family_list()).enumerate() {
        if matches!(family.as_str(), "IPv4" | "IPv6") && Family::of(*address).name() != family {
            errors.push(FieldError::invalid(
                format!("{path}[{index}]"),
                list[index].as_str(),
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`"),
            ));
        }
    }
    errors
}

fn ports_together(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if spec.type_name() == "ClusterIP" {
        for (index, _) in spec
            .port_list()
            .iter()
            .enumerate()
            .filter(|(_, port)| port.node_port.is_some())
        {
            errors.push(FieldError::forbidden(
                format!("spec.ports[{index}].nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
    let mut node_ports = BTreeSet::new();
    for (index, port) in spec.port_list().iter().enumerate() {
        if let Some(number) = port.node_port
            && !node_ports.insert((&port.protocol, number))
        {
            errors.push(FieldError::duplicate(
                format!("spec.ports[{index}].nodePort"),
                number,
            ));
        }
    }
    let mut ports = BTreeSet::new();
    for (index, port) in spec.port_list().iter().enumerate() {
        if !ports.insert((&port.protocol, port.port)) {
            // Upstream shows its internal type, with the two fields that were compared.
            errors.push(FieldError::duplicate_text(
                format!("spec.ports[{index}]"),
                format!(
                    r#"{{"Name":"","Protocol":{},"AppProtocol":null,"Port":{},"TargetPort":0,"NodePort":0}}"#,
                    Value::from(port.protocol.clone()),
                    port.port
                ),
            ));
        }
    }
    errors
}

fn load_balancer_fields(service: &Service, spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let annotation = service
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(SOURCE_RANGES_ANNOTATION));
    let ranges = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    if !ranges.is_empty() {
        // The capital letter is upstream's.
        let path = "spec.LoadBalancerSourceRanges";
        if !spec.is_load_balancer() {
            errors.push(FieldError::forbidden(path, ONLY_LOAD_BALANCER));
        }
        for (index, range) in ranges.iter().enumerate() {
            errors.extend(names::cidr(&format!("{path}[{index}]"), range.trim()).err());
        }
    } else if let Some(annotation) = annotation {
        let path = format!("metadata.annotations[{SOURCE_RANGES_ANNOTATION}]");
        if !spec.is_load_balancer() {
            errors.push(FieldError::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        for range in annotation
            .split(',')
            .map(str::trim)
            .filter(|range| !range.is_empty())
        {
            errors.extend(names::cidr(&path, range).err());
        }
    }
    if spec.allocate_load_balancer_node_ports.is_some() && !spec.is_load_balancer() {
        errors.push(FieldError::forbidden(
            "spec.allocateLoadBalancerNodePorts",
            ONLY_LOAD_BALANCER,
        ));
    }
    if let Some(class) = &spec.load_balancer_class {
        let path = "spec.loadBalancerClass";
        if spec.is_load_balancer() {
            errors.extend(names::at(path, class, names::qualified_name(class)));
        } else {
            errors.push(FieldError::forbidden(path, ONLY_LOAD_BALANCER));
        }
    }
    errors
}

fn traffic_policies(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = "spec.externalTrafficPolicy";
    match (
        spec.externally_accessible(),
        spec.external_traffic_policy.as_deref(),
    ) {
        (false, Some(policy)) => {
            errors.push(FieldError::invalid(
                path,
                policy,
                "may only be set for externally-accessible services",
            ));
        }
        (true, None) => errors.push(FieldError::required(path, "")),
        (true, Some("Cluster" | "Local")) | (false, None) => {}
        (true, Some(other)) => errors.push(FieldError::not_supported(
            path,
            other,
            &["Cluster", "Local"],
        )),
    }
    let path = "spec.healthCheckNodePort";
    match (spec.needs_health_check(), spec.health_check_node_port) {
        (false, Some(port)) => errors.push(FieldError::invalid(
            path,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )),
        (true, None) => errors.push(FieldError::required(path, "")),
        _ => {}
    }
    if let Some(policy) = spec.internal_traffic_policy.as_deref()
        && !matches!(policy, "Cluster" | "Local")
    {
        errors.push(FieldError::not_supported(
            "spec.internalTrafficPolicy",
            policy,
            &["Cluster", "Local"],
        ));
    }
    if let Some(distribution) = spec.traffic_distribution.as_deref()
        && !matches!(
            distribution,
            "PreferClose" | "PreferSameNode" | "PreferSameZone"
        )
    {
        errors.push(FieldError::not_supported(
            "spec.trafficDistribution",
            distribution,
            &["PreferClose", "PreferSameZone", "PreferSameNode"],
        ));
    }
    errors
}

/// `ValidateLoadBalancerStatus`.
pub(super) fn load_balancer_status(service: &Service) -> Vec<FieldError> {
    let path = "status.loadBalancer.ingress";
    let is_load_balancer = service.spec.as_ref().is_some_and(SpecExt::is_load_balancer);
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let mut errors = Vec::new();
    if !is_load_balancer && !ingress.is_empty() {
        errors.push(FieldError::forbidden(
            path,
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
        return errors;
    }
    for (index, entry) in ingress.iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        if let Some(ip) = &entry.ip {
            errors.extend(names::ip(&at("ip"), ip).err());
        }
        match (&entry.ip, entry.ip_mode.as_deref()) {
            (Some(_), None) => errors.push(FieldError::required(
                at("ipMode"),
                "must be specified when `ip` is set",
            )),
            (None, Some(_)) => {
                errors.push(FieldError::forbidden(
                    at("ipMode"),
                    "may not be specified when `ip` is not set",
                ));
            }
            (Some(_), Some("VIP" | "Proxy")) | (None, None) => {}
            (Some(_), Some(other)) => errors.push(FieldError::not_supported(
                at("ipMode"),
                other,
                &["Proxy", "VIP"],
            )),
        }
        if let Some(name) = &entry.hostname {
            errors.extend(names::at(
                &at("hostname"),
                name,
                names::dns_1123_subdomain(name),
            ));
            if name.parse::<IpAddr>().is_ok() {
                errors.push(FieldError::invalid(
                    at("hostname"),
                    name.as_str(),
                    "must be a DNS name, not an IP address",
                ));
            }
        }
    }
    errors
}
