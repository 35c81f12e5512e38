//! What an update carries over from the stored Service, and what a type change drops
//! (`patchAllocatedValues`, `normalizeClusterIPs`, `dropTypeDependentFields`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ServiceSpec;

use super::SpecExt;

/// A client may send a Service without the values that the server allocated: they stay.
pub(super) fn carry_over_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    if old.needs_cluster_ip() && new.needs_cluster_ip() {
        if new.cluster_ip.is_none() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ip_list().is_empty() && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if old.allocates_node_ports() && new.allocates_node_ports() {
        let mut used: BTreeSet<i32> = old
            .node_ports()
            .intersection(&new.node_ports())
            .copied()
            .collect();
        let by_name: BTreeMap<_, _> = old
            .port_list()
            .iter()
            .map(|port| (port.name.clone(), port.node_port))
            .collect();
        for port in new
            .ports
            .iter_mut()
            .flatten()
            .filter(|port| port.node_port.is_none())
        {
            if let Some(Some(before)) = by_name.get(&port.name)
                && used.insert(*before)
            {
                port.node_port = Some(*before);
            }
        }
    }
    if old.needs_health_check() && new.needs_health_check() && new.health_check_node_port.is_none()
    {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// Keeps `clusterIP` and `clusterIPs` in step for clients that know only one of them.
pub(super) fn normalise_cluster_ips(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let singular = new.cluster_ip.clone();
    let Some(old) = old else {
        if let Some(address) = singular
            && new.cluster_ip_list().is_empty()
        {
            new.cluster_ips = Some(vec![address]);
        }
        return;
    };
    if !old.cluster_ip_list().is_empty()
        && new.cluster_ip_list().is_empty()
        && old.cluster_ip == singular
    {
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    let untouched = same_cluster_ips(new, old) || new.cluster_ip_list().is_empty();
    if old.cluster_ip != singular && untouched {
        // The client changed or cleared the singular and did not touch the plural.
        new.cluster_ips = singular.map(|address| vec![address]);
    }
}

pub(super) fn same_cluster_ips(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    new.cluster_ip_list() == old.cluster_ip_list()
}

pub(super) fn same_families(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    new.family_list() == old.family_list()
}

/// Values that belonged to the old type and that the client left as they were go away with it.
pub(super) fn drop_type_dependent(new: &mut ServiceSpec, old: &ServiceSpec) {
    if old.needs_cluster_ip() && !new.needs_cluster_ip() {
        if same_cluster_ips(new, old) {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if same_families(new, old) {
            new.ip_families = None;
        }
        if new.ip_family_policy == old.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    if old.takes_node_ports() && !new.takes_node_ports() && new.node_ports() == old.node_ports() {
        for port in new.ports.iter_mut().flatten() {
            port.node_port = None;
        }
    }
    if old.needs_health_check()
        && !new.needs_health_check()
        && new.health_check_node_port == old.health_check_node_port
    {
        new.health_check_node_port = None;
    }
    if old.is_load_balancer() && !new.is_load_balancer() {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    if old.externally_accessible()
        && !new.externally_accessible()
        && new.external_traffic_policy == old.external_traffic_policy
    {
        new.external_traffic_policy = None;
    }
}
