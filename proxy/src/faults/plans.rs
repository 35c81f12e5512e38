//! What faults do to plans, and to what is about to be programmed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::dataplane::Changes;
use crate::model::{Endpoint, Family, Protocol};
use crate::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan};

use super::World;

impl ServicePlan {
    fn fronts(&mut self) -> impl Iterator<Item = &mut Front> {
        self.ports.iter_mut().flat_map(|port| &mut port.fronts)
    }
}

impl World {
    /// The endpoint that listens there.
    fn endpoint(&self, at: &SocketAddr) -> Option<&Endpoint> {
        let mut all = self.slices.iter().flat_map(|slice| &slice.endpoints);
        all.find(|endpoint| endpoint.address == at.ip())
    }
}

pub(super) fn drops_for_refusals(plan: &mut ServicePlan, _: &World) {
    let refused = plan.fronts().filter(|f| f.handling == Handling::Reject);
    refused.for_each(|front| front.handling = Handling::Drop);
}

/// Also where the pods and the node itself would get to endpoints elsewhere.
pub(super) fn refusals_for_drops(plan: &mut ServicePlan, _: &World) {
    for port in &mut plan.ports {
        let none = port.local.is_empty();
        for front in &mut port.fronts {
            match front.handling {
                Handling::Drop => front.handling = Handling::Reject,
                Handling::ExternalLocal if none => front.handling = Handling::Reject,
                _ => {}
            }
        }
    }
}

pub(super) fn only_first_endpoint(plan: &mut ServicePlan, _: &World) {
    for port in &mut plan.ports {
        port.cluster.truncate(1);
        port.local.truncate(1);
    }
}

pub(super) fn double_share(plan: &mut ServicePlan, _: &World) {
    for port in &mut plan.ports {
        for list in [&mut port.cluster, &mut port.local] {
            if list.len() > 1 {
                list.extend(list.first().copied());
            }
        }
    }
}

pub(super) fn local_follows_hints(plan: &mut ServicePlan, world: &World) {
    let Some(zone) = &world.node.zone else {
        return;
    };
    let meant = |at: &SocketAddr| {
        let zones = world.endpoint(at).map(|endpoint| &endpoint.zones);
        zones.is_none_or(|zones| zones.is_empty() || zones.contains(zone))
    };
    plan.ports
        .iter_mut()
        .for_each(|port| port.local.retain(meant));
}

pub(super) fn terminating_follow_hints(plan: &mut ServicePlan, world: &World) {
    let Some(zone) = &world.node.zone else {
        return;
    };
    let meant = |at: &SocketAddr| {
        let endpoint = world.endpoint(at);
        endpoint.is_none_or(|e| e.ready || e.zones.is_empty() || e.zones.contains(zone))
    };
    plan.ports
        .iter_mut()
        .for_each(|port| port.cluster.retain(meant));
}

/// Outside clients get all endpoints, their source kept.
pub(super) fn local_has_all(plan: &mut ServicePlan, _: &World) {
    for port in &mut plan.ports {
        if uses(port, Handling::ExternalLocal) {
            port.local.clone_from(&port.cluster);
        }
    }
}

pub(super) fn local_has_all_with_affinity(plan: &mut ServicePlan, world: &World) {
    if world.service.affinity.is_some() {
        local_has_all(plan, world);
    }
}

/// Where any policy is Local, flows stay with endpoints here alone.
pub(super) fn flows_follow_policies(plan: &mut ServicePlan, _: &World) {
    let local = [
        Handling::InternalLocal,
        Handling::ExternalLocal,
        Handling::Drop,
    ];
    for port in &mut plan.ports {
        if local.iter().any(|handling| uses(port, *handling)) {
            port.serving.clone_from(&port.local);
        }
    }
}

fn uses(port: &PortPlan, handling: Handling) -> bool {
    port.fronts.iter().any(|front| front.handling == handling)
}

fn local_is_cluster(plan: &mut ServicePlan, kind: FrontKind) {
    let local =
        |front: &&mut Front| front.kind == kind && front.handling == Handling::ExternalLocal;
    plan.fronts()
        .filter(local)
        .for_each(|front| front.handling = Handling::ExternalCluster);
}

pub(super) fn local_vips_are_cluster(plan: &mut ServicePlan, _: &World) {
    local_is_cluster(plan, FrontKind::LoadBalancer);
}

pub(super) fn local_external_ips_are_cluster(plan: &mut ServicePlan, _: &World) {
    local_is_cluster(plan, FrontKind::ExternalIp);
}

pub(super) fn local_node_ports_are_cluster(plan: &mut ServicePlan, _: &World) {
    local_is_cluster(plan, FrontKind::NodePort);
}

/// Gives fronts of a kind a port of their own, which others no longer share anything with.
fn split(plan: &mut ServicePlan, kinds: &[FrontKind], change: impl Fn(&mut PortPlan)) {
    for mut port in std::mem::take(&mut plan.ports) {
        for kind in kinds {
            let mut own = port.clone();
            own.port_name = format!("{}-{kind:?}", port.port_name).into();
            own.fronts.retain(|front| front.kind == *kind);
            port.fronts.retain(|front| front.kind != *kind);
            change(&mut own);
            if !own.fronts.is_empty() {
                plan.ports.push(own);
            }
        }
        plan.ports.push(port);
    }
}

const OUTSIDE: [FrontKind; 3] = [
    FrontKind::NodePort,
    FrontKind::ExternalIp,
    FrontKind::LoadBalancer,
];

/// Under Local, pods and the node itself are held to the node's own endpoints.
pub(super) fn no_short_circuit(plan: &mut ServicePlan, _: &World) {
    split(plan, &OUTSIDE, |port| {
        if uses(port, Handling::ExternalLocal) {
            port.cluster.clone_from(&port.local);
            if port.local.is_empty() {
                port.fronts
                    .iter_mut()
                    .for_each(|front| front.handling = Handling::Drop);
            }
        }
    });
}

/// The source of outside clients is lost, though only local pods serve them.
pub(super) fn local_loses_the_source(plan: &mut ServicePlan, _: &World) {
    split(plan, &OUTSIDE, |port| {
        if uses(port, Handling::ExternalLocal) && !port.local.is_empty() {
            port.cluster.clone_from(&port.local);
            port.fronts
                .iter_mut()
                .for_each(|front| front.handling = Handling::ExternalCluster);
        }
    });
}

/// Not as if nobody had them: what comes for them would go round between the nodes and whoever sends it.
pub(super) fn vips_need_node_ports(plan: &mut ServicePlan, world: &World) {
    let mut ports = world.service.ports.iter();
    if ports.all(|port| port.node_port.is_none()) {
        let vips = plan.fronts().filter(|f| f.kind == FrontKind::LoadBalancer);
        vips.for_each(|front| front.handling = Handling::Reject);
    }
}

pub(super) fn affinity_by_address(plan: &mut ServicePlan, _: &World) {
    split(plan, &OUTSIDE, |_| {});
}

pub(super) fn no_hairpins(plan: &mut ServicePlan, _: &World) {
    plan.ports.iter_mut().for_each(|port| port.hairpins.clear());
}

pub(super) fn other_ports_are_nobodys(plan: &mut ServicePlan, _: &World) {
    plan.cluster_ips.clear();
}

pub(super) fn ranges_hold_external_ips(plan: &mut ServicePlan, _: &World) {
    let external = plan.fronts().filter(|f| f.kind == FrontKind::ExternalIp);
    external.for_each(|front| front.kind = FrontKind::LoadBalancer);
}

/// Of several load-balancer addresses of a family, the first alone is held to the ranges.
pub(super) fn ranges_hold_the_first_address(plan: &mut ServicePlan, _: &World) {
    for port in &mut plan.ports {
        let vips = port.fronts.iter_mut();
        let vips = vips.filter(|front| front.kind == FrontKind::LoadBalancer);
        vips.skip(1)
            .for_each(|front| front.kind = FrontKind::ExternalIp);
    }
}

/// Each node port is one of the node's addresses, and held to the ranges as a VIP is.
pub(super) fn ranges_hold_node_ports(plan: &mut ServicePlan, world: &World) {
    for port in plan
        .ports
        .iter_mut()
        .filter(|port| port.source_ranges.is_some())
    {
        let family = port.family;
        let own = |address: &&IpAddr| Family::of(**address) == family;
        let Some(address) = world.node.addresses.iter().find(own) else {
            continue;
        };
        let node_ports = port.fronts.iter_mut();
        for front in node_ports.filter(|front| front.kind == FrontKind::NodePort) {
            front.address = Some(*address);
            front.kind = FrontKind::LoadBalancer;
        }
    }
}

/// Sets what the health check port counts in each family.
fn count(plan: &mut ServicePlan, by: impl Fn(Family) -> usize) {
    if let Some(health) = &mut plan.health {
        let recount = |(family, count): (&Family, &mut u32)| {
            *count = u32::try_from(by(*family)).expect("few endpoints");
        };
        health.local_endpoints.iter_mut().for_each(recount);
    }
}

fn endpoints(world: &World, family: Family) -> impl Iterator<Item = &Endpoint> {
    let slices = world.slices.iter();
    let slices = slices.filter(move |slice| slice.family == family);
    slices.flat_map(|slice| &slice.endpoints)
}

pub(super) fn health_counts_terminating(plan: &mut ServicePlan, world: &World) {
    count(plan, |family| {
        let here = endpoints(world, family).filter(|e| e.node.as_ref() == Some(&world.node.name));
        here.filter(|endpoint| endpoint.ready || endpoint.serving)
            .count()
    });
}

pub(super) fn health_counts_all_nodes(plan: &mut ServicePlan, world: &World) {
    count(plan, |family| {
        endpoints(world, family)
            .filter(|endpoint| endpoint.ready)
            .count()
    });
}

pub(super) fn health_counts_ports(plan: &mut ServicePlan, world: &World) {
    let ports = world.service.ports.len();
    let counts: BTreeMap<Family, u32> = match &plan.health {
        Some(health) => health.local_endpoints.clone(),
        None => return,
    };
    count(plan, |family| counts[&family] as usize * ports);
}

pub(super) fn health_port_is_v4(plan: &mut ServicePlan, _: &World) {
    if let Some(health) = &mut plan.health {
        health
            .local_endpoints
            .retain(|family, _| *family == Family::V4);
    }
}

/// Every Service that changes is gone.
pub(super) fn without_what_changes(changes: &Changes) -> Changes {
    let services = changes.services.keys();
    Changes {
        services: services.map(|name| (name.clone(), None)).collect(),
        node_port_addresses: changes.node_port_addresses.clone(),
        service_cidrs: changes.service_cidrs.clone(),
    }
}

pub(super) fn keep_services(changes: &mut Changes) {
    changes.services.retain(|_, plan| plan.is_some());
}

/// One Service alone: no two may have one address.
pub(super) fn serves_an_unallocated_address(plan: &mut ServicePlan, _: &World) {
    if *plan.name.name != *"scope-cluster-ip-unallocated-address" {
        return;
    }
    for port in &mut plan.ports {
        // Next to the last one of the lab's range, which is given to nobody.
        let address: IpAddr = match port.family {
            Family::V4 => [10, 96, 255, 254].into(),
            Family::V6 => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xfffe].into(),
        };
        let own = port
            .fronts
            .iter()
            .filter(|front| front.kind == FrontKind::ClusterIp);
        let further: Vec<_> = own
            .map(|front| Front {
                address: Some(address),
                ..*front
            })
            .collect();
        port.fronts.extend(further);
        port.fronts.sort_unstable();
    }
}

/// Whether there is any endpoint is decided for both families at once: the one without drops.
pub(super) fn families_in_one_pot(plan: &mut ServicePlan, _: &World) {
    let served = ports_with(plan, |port| !port.serving.is_empty());
    for port in &mut plan.ports {
        if served.contains(&of_port(port)) {
            let refused = port
                .fronts
                .iter_mut()
                .filter(|front| front.handling == Handling::Reject);
            refused.for_each(|front| front.handling = Handling::Drop);
        }
    }
}

/// Whether a node has an endpoint is decided for both families at once: the one without is served by those elsewhere.
pub(super) fn local_by_either_family(plan: &mut ServicePlan, _: &World) {
    let local = ports_with(plan, |port| !port.local.is_empty());
    for port in &mut plan.ports {
        if !port.local.is_empty() || !local.contains(&of_port(port)) {
            continue;
        }
        port.local.clone_from(&port.serving);
        for front in &mut port.fronts {
            match (front.handling, front.kind) {
                (Handling::Drop, FrontKind::ClusterIp) => front.handling = Handling::InternalLocal,
                (Handling::Drop, _) => front.handling = Handling::ExternalLocal,
                _ => {}
            }
        }
    }
}

/// The ports of which this is so in any family.
fn ports_with(plan: &ServicePlan, is_so: impl Fn(&PortPlan) -> bool) -> Vec<(Protocol, Box<str>)> {
    let ports = plan.ports.iter().filter(|port| is_so(port));
    ports.map(of_port).collect()
}

/// What names a port in whichever family.
fn of_port(port: &PortPlan) -> (Protocol, Box<str>) {
    (port.protocol, port.port_name.clone())
}

/// Both families get the count of the one that has more.
pub(super) fn health_port_counts_for_both(plan: &mut ServicePlan, _: &World) {
    if let Some(health) = &mut plan.health
        && let Some(most) = health.local_endpoints.values().copied().max()
    {
        health
            .local_endpoints
            .values_mut()
            .for_each(|count| *count = most);
    }
}

/// A node port of a Service of one family is taken for one without endpoints here in the other family.
pub(super) fn drops_in_the_other_family(plan: &mut ServicePlan, _: &World) {
    let families = |family| plan.ports.iter().any(|port| port.family == family);
    let ([true, false] | [false, true]) = Family::ALL.map(families) else {
        return;
    };
    let other = |port: &PortPlan| {
        let node_ports = port
            .fronts
            .iter()
            .filter(|front| front.kind == FrontKind::NodePort);
        let dropped = node_ports.map(|front| Front {
            handling: Handling::Drop,
            ..*front
        });
        PortPlan {
            family: match port.family {
                Family::V4 => Family::V6,
                Family::V6 => Family::V4,
            },
            cluster: Vec::new(),
            local: Vec::new(),
            serving: Vec::new(),
            hairpins: Vec::new(),
            source_ranges: None,
            fronts: dropped.collect(),
            ..port.clone()
        }
    };
    let others: Vec<_> = plan.ports.iter().map(other).collect();
    plan.ports.extend(others);
}
