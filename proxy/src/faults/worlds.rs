//! What faults do to what a plan is made from.

use crate::model::{Endpoint, Policy, Slice};

use super::{Past, World};

/// The node of the lab whose proxy alone is wrong, where one alone is.
const ONE_NODE: &str = "vm3";

impl World {
    fn endpoints(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        self.slices
            .iter_mut()
            .flat_map(|slice| &mut slice.endpoints)
    }

    fn keep(&mut self, wanted: impl Fn(&Endpoint) -> bool) {
        for slice in &mut self.slices {
            slice.endpoints.retain(&wanted);
        }
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.node.name)
    }

    fn has_local(&self) -> bool {
        let mut all = self.slices.iter().flat_map(|slice| &slice.endpoints);
        all.any(|endpoint| (endpoint.ready || endpoint.serving) && self.is_local(endpoint))
    }
}

pub(super) fn unready_are_ready(world: &mut World, _: &mut Past) {
    let unready = world.endpoints().filter(|endpoint| !endpoint.terminating);
    unready.for_each(|endpoint| endpoint.ready = true);
}

pub(super) fn terminating_are_ready(world: &mut World, _: &mut Past) {
    let leaving = world.endpoints().filter(|e| e.terminating && e.serving);
    leaving.for_each(|endpoint| endpoint.ready = true);
}

pub(super) fn terminating_are_gone(world: &mut World, _: &mut Past) {
    world.keep(|endpoint| endpoint.ready || !endpoint.terminating);
}

pub(super) fn published_are_terminating(world: &mut World, _: &mut Past) {
    let published = world.endpoints().filter(|e| e.ready && e.terminating);
    published.for_each(|endpoint| endpoint.ready = false);
}

pub(super) fn finished_are_serving(world: &mut World, _: &mut Past) {
    let finished = world.endpoints().filter(|endpoint| endpoint.terminating);
    finished.for_each(|endpoint| endpoint.serving = true);
}

pub(super) fn without_hints(world: &mut World, _: &mut Past) {
    for endpoint in world.endpoints() {
        endpoint.zones.clear();
        endpoint.nodes.clear();
    }
}

pub(super) fn without_node_hints(world: &mut World, _: &mut Past) {
    world
        .endpoints()
        .for_each(|endpoint| endpoint.nodes.clear());
}

/// Endpoints without a zone are meant for nobody, where others have one.
pub(super) fn partial_hints_count(world: &mut World, _: &mut Past) {
    if world.endpoints().any(|endpoint| !endpoint.zones.is_empty()) {
        let without = world.endpoints().filter(|e| e.zones.is_empty());
        without.for_each(|endpoint| endpoint.zones.extend(["nowhere".into()]));
    }
}

/// Endpoints for other zones are out of the question, even if there is none for this.
pub(super) fn only_own_zone(world: &mut World, _: &mut Past) {
    if let Some(zone) = world.node.zone.clone() {
        world.keep(|endpoint| endpoint.zones.is_empty() || endpoint.zones.contains(&zone));
    }
}

pub(super) fn only_first_slice(world: &mut World, _: &mut Past) {
    let mut seen = Vec::new();
    world.slices.retain(|slice| {
        let first = !seen.contains(&slice.family);
        seen.push(slice.family);
        first
    });
}

pub(super) fn ports_of_first_slice(world: &mut World, _: &mut Past) {
    if let Some(first) = world.slices.first().map(|slice| slice.ports.clone()) {
        world
            .slices
            .iter_mut()
            .for_each(|slice| slice.ports.clone_from(&first));
    }
}

/// The ports of a Service all lead to what the first leads to.
pub(super) fn first_port_for_all(world: &mut World, _: &mut Past) {
    for slice in &mut world.slices {
        if let Some(number) = slice.ports.first().map(|port| port.port) {
            slice.ports.iter_mut().for_each(|port| port.port = number);
        }
    }
}

fn remember(world: &World, past: &mut Past) {
    for slice in &world.slices {
        if !past.slices.contains(slice) {
            past.slices.push(slice.clone());
        }
    }
}

pub(super) fn endpoints_stay(world: &mut World, past: &mut Past) {
    remember(world, past);
    world.slices.clone_from(&past.slices);
}

pub(super) fn endpoints_stay_with_affinity(world: &mut World, past: &mut Past) {
    if world.service.affinity.is_some() {
        endpoints_stay(world, past);
    }
}

/// One node stops at the endpoints that it knew first.
pub(super) fn one_node_is_stale(world: &mut World, past: &mut Past) {
    if *world.node.name != *ONE_NODE {
        return;
    }
    let any = |slice: &Slice| !slice.endpoints.is_empty();
    for family in crate::model::Family::ALL {
        if !past.slices.iter().any(|slice| slice.family == family) {
            let known = world.slices.iter().filter(|slice| slice.family == family);
            past.slices
                .extend(known.filter(|slice| any(slice)).cloned());
        }
    }
    world.slices.clone_from(&past.slices);
}

pub(super) fn internal_local_is_cluster(world: &mut World, _: &mut Past) {
    world.service.internal_policy = Policy::Cluster;
}

pub(super) fn internal_local_falls_back(world: &mut World, _: &mut Past) {
    if !world.has_local() {
        world.service.internal_policy = Policy::Cluster;
    }
}

pub(super) fn internal_local_holds_outside(world: &mut World, _: &mut Past) {
    if world.service.internal_policy == Policy::Local {
        world.service.external_policy = Policy::Local;
    }
}

pub(super) fn external_local_holds_inside(world: &mut World, _: &mut Past) {
    if world.service.external_policy == Policy::Local {
        world.service.internal_policy = Policy::Local;
    }
}

pub(super) fn external_local_is_cluster(world: &mut World, _: &mut Past) {
    world.service.external_policy = Policy::Cluster;
}

pub(super) fn external_local_falls_back(world: &mut World, _: &mut Past) {
    if !world.has_local() {
        world.service.external_policy = Policy::Cluster;
    }
}

pub(super) fn without_source_ranges(world: &mut World, _: &mut Past) {
    world.service.source_ranges.clear();
}

pub(super) fn no_affinity(world: &mut World, _: &mut Past) {
    world.service.affinity = None;
}

pub(super) fn endless_affinity(world: &mut World, _: &mut Past) {
    world.service.affinity = world.service.affinity.map(|_| 86_400);
}

pub(super) fn no_affinity_under_local(world: &mut World, _: &mut Past) {
    if world.service.external_policy == Policy::Local {
        world.service.affinity = None;
    }
}

pub(super) fn no_health_port(world: &mut World, _: &mut Past) {
    world.service.health_check_node_port = None;
}

pub(super) fn health_port_stays(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    let now = &mut world.service.health_check_node_port;
    *now = now.or(first.health_check_node_port);
}

pub(super) fn external_policy_stays(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    world.service.external_policy = first.external_policy;
}

pub(super) fn families_stay(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    world.service.cluster_ips.clone_from(&first.cluster_ips);
}

pub(super) fn internal_policy_stays(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    world.service.internal_policy = first.internal_policy;
}

pub(super) fn source_ranges_stay(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    world.service.source_ranges.clone_from(&first.source_ranges);
}

pub(super) fn affinity_stays(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    first.affinity = first.affinity.or(world.service.affinity);
    world.service.affinity = first.affinity;
}

pub(super) fn node_ports_stay(world: &mut World, past: &mut Past) {
    let first = past.service.get_or_insert_with(|| world.service.clone());
    for (known, now) in first.ports.iter_mut().zip(&mut world.service.ports) {
        known.node_port = known.node_port.or(now.node_port);
        now.node_port = known.node_port;
    }
}
