//! Cluster IPs, node ports and health check node ports (`pkg/registry/core/service/storage/alloc.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::families::unchanged_prefer_dual_stack;
use super::pools::{Claim, Family};
use super::{Refusal, SpecExt};
use crate::field::FieldError;

/// Claims what a new Service needs.
pub(super) fn create(claim: &mut Claim<'_>, spec: &mut ServiceSpec) -> Result<(), Refusal> {
    allocate_addresses(claim, spec, 0)?;
    if spec.takes_node_ports() {
        new_node_ports(claim, spec)?;
    }
    if spec.needs_health_check() {
        health_check_port(claim, spec)?;
    }
    Ok(())
}

/// Claims and releases what a changed Service needs and no longer needs.
pub(super) fn update(
    claim: &mut Claim<'_>,
    new: &mut ServiceSpec,
    old: &ServiceSpec,
) -> Result<(), Refusal> {
    update_addresses(claim, new, old)?;
    if old.takes_node_ports() && !new.takes_node_ports() {
        for port in old.node_ports() {
            claim.release_port(port);
        }
    }
    if new.takes_node_ports() {
        update_node_ports(claim, new, old)?;
    }
    match (old.needs_health_check(), new.needs_health_check()) {
        (false, true) => health_check_port(claim, new)?,
        (true, false) => release_health_check_port(claim, old),
        _ => {}
    }
    Ok(())
}

/// Releases everything.
pub(super) fn release_all(claim: &mut Claim<'_>, spec: &ServiceSpec) {
    for address in spec
        .cluster_ip_list()
        .iter()
        .filter_map(|address| address.parse().ok())
    {
        claim.release_address(address);
    }
    for port in spec.node_ports() {
        claim.release_port(port);
    }
    release_health_check_port(claim, spec);
}

fn release_health_check_port(claim: &mut Claim<'_>, spec: &ServiceSpec) {
    if let Some(port) = spec.health_check_node_port {
        claim.release_port(port);
    }
}

/// Claims an address for each family from position `first` on: the given one, or the next free one.
fn allocate_addresses(
    claim: &mut Claim<'_>,
    spec: &mut ServiceSpec,
    first: usize,
) -> Result<(), Refusal> {
    if !spec.needs_cluster_ip()
        || spec
            .cluster_ip_list()
            .first()
            .is_some_and(|address| address == "None")
    {
        return Ok(());
    }
    let families = spec.family_list().to_vec();
    let mut addresses = spec.cluster_ip_list().to_vec();
    for (index, family) in families.iter().enumerate().skip(first) {
        let family = if family == "IPv6" {
            Family::V6
        } else {
            Family::V4
        };
        match addresses.get(index).cloned() {
            Some(wanted) => {
                let result = wanted
                    .parse::<IpAddr>()
                    .map_err(|_| "provided IP is not valid".to_string())
                    .and_then(|address| claim.address(address));
                result.map_err(|why| {
                    Refusal::field(FieldError::invalid(
                        "spec.clusterIPs",
                        addresses.clone(),
                        format!("failed to allocate IP {wanted}: {why}"),
                    ))
                })?;
            }
            None => {
                let address = claim.next_address(family).map_err(|why| {
                    Refusal::Internal(format!("failed to allocate a serviceIP: {why}"))
                })?;
                addresses.push(address.to_string());
            }
        }
    }
    spec.cluster_ip = addresses.first().cloned();
    spec.cluster_ips = Some(addresses);
    Ok(())
}

fn update_addresses(
    claim: &mut Claim<'_>,
    new: &mut ServiceSpec,
    old: &ServiceSpec,
) -> Result<(), Refusal> {
    if unchanged_prefer_dual_stack(new, old) {
        return Ok(());
    }
    if !old.needs_cluster_ip() && new.needs_cluster_ip() {
        return allocate_addresses(claim, new, 0);
    }
    if old
        .cluster_ip_list()
        .first()
        .is_some_and(|address| address == "None")
    {
        return Ok(());
    }
    let secondary = if old.needs_cluster_ip() && !new.needs_cluster_ip() {
        0
    } else if old.family_list().len() == 1 && new.family_list().len() == 2 {
        return allocate_addresses(claim, new, 1);
    } else if old.family_list().len() == 2 && new.family_list().len() == 1 {
        1
    } else {
        return Ok(());
    };
    for address in old
        .cluster_ip_list()
        .iter()
        .skip(secondary)
        .filter_map(|address| address.parse().ok())
    {
        claim.release_address(address);
    }
    Ok(())
}

/// One number serves TCP and UDP of the same port, so that DNS-like Services get one.
fn new_node_ports(claim: &mut Claim<'_>, spec: &mut ServiceSpec) -> Result<(), Refusal> {
    let allocates = spec.allocates_node_ports();
    let requested: BTreeMap<i32, i32> = spec
        .port_list()
        .iter()
        .rev()
        .filter_map(|port| Some((port.port, port.node_port?)))
        .collect();
    let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
    for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
        if port.node_port.is_none() && !allocates {
            continue;
        }
        let wanted = match (by_port.get(&port.port), port.node_port) {
            (Some(shared), None) => {
                port.node_port = Some(*shared);
                continue;
            }
            (Some(shared), Some(own)) if *shared == own => continue,
            (Some(_), Some(own)) => Some(own),
            (None, _) => requested.get(&port.port).copied(),
        };
        let number = match wanted {
            Some(number) => {
                claim
                    .port(number)
                    .map_err(|why| refused_port(index, number, why))?;
                number
            }
            None => next_port(claim)?,
        };
        port.node_port.get_or_insert(number);
        by_port.entry(port.port).or_insert(number);
    }
    Ok(())
}

fn update_node_ports(
    claim: &mut Claim<'_>,
    new: &mut ServiceSpec,
    old: &ServiceSpec,
) -> Result<(), Refusal> {
    let before = if old.takes_node_ports() {
        old.node_ports()
    } else {
        BTreeSet::new()
    };
    let allocates = new.allocates_node_ports();
    let mut claimed = BTreeSet::new();
    for (index, port) in new.ports.iter_mut().flatten().enumerate() {
        match port.node_port {
            None if !allocates => {}
            None => port.node_port = Some(next_port(claim)?),
            Some(number) => {
                if !before.contains(&number) && claimed.insert(number) {
                    claim
                        .port(number)
                        .map_err(|why| refused_port(index, number, why))?;
                }
            }
        }
    }
    for port in before.difference(&new.node_ports()) {
        claim.release_port(*port);
    }
    Ok(())
}

fn refused_port(index: usize, number: i32, why: String) -> Refusal {
    Refusal::field(FieldError::invalid(
        format!("spec.ports[{index}].nodePort"),
        number,
        why,
    ))
}

fn next_port(claim: &mut Claim<'_>) -> Result<i32, Refusal> {
    claim
        .next_port()
        .map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))
}

fn health_check_port(claim: &mut Claim<'_>, spec: &mut ServiceSpec) -> Result<(), Refusal> {
    match spec.health_check_node_port {
        Some(wanted) => claim.port(wanted).map_err(|why| {
            Refusal::Internal(format!(
                "failed to allocate requested HealthCheck NodePort {wanted}: {why}"
            ))
        }),
        None => {
            let port = claim.next_port().map_err(|why| {
                Refusal::Internal(format!(
                    "failed to allocate a HealthCheck NodePort 0: {why}"
                ))
            })?;
            spec.health_check_node_port = Some(port);
            Ok(())
        }
    }
}
