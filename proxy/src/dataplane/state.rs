//! What the tables should hold: the plans of all Services, and the elements that follow from them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::classes::{Class, Classes};
use super::delta::Delta;
use super::element::{FrontKey, Key, Value};
use super::fronts::{Fronts, Installed};
use super::ids::{Ids, Slot};
use super::ports::{cluster_keys, front_keys, keep_places, port_elements, without_absurd};
use crate::model::{Family, ObjectName, Protocol};
use crate::plan::{PortPlan, ServicePlan};

mod owners;
#[cfg(test)]
mod tests;

pub use owners::Conflict;

/// The desired contents of all tables.
#[derive(Debug, Default)]
pub(super) struct State {
    node_ips: Vec<IpAddr>,
    names: HashMap<ObjectName, u32>,
    services: Vec<Option<Held>>,
    vacant: Vec<u32>,
    pub(super) ids: Ids,
    tables: [TableState; 2],
    /// Fronts of UDP whose serving endpoints are others than before, be it that another Service has them.
    pub(super) udp_changed: BTreeSet<FrontKey>,
}

/// A Service that is held.
#[derive(Debug)]
struct Held {
    plan: ServicePlan,
    /// The number of each of its ports.
    ids: Vec<u32>,
}

/// The part of one family.
#[derive(Debug, Default)]
struct TableState {
    fronts: Fronts,
    classes: Classes,
    /// How many Services have a cluster address: two may, while one is deleted and made again.
    cluster_ips: HashMap<IpAddr, u32>,
    /// How many Service ports have an endpoint that may be its own client.
    hairpins: HashMap<IpAddr, u32>,
    node_port_addresses: BTreeSet<IpAddr>,
}

/// Where changes are noted, one for each family; `None` if all will be written anyway.
pub(super) type Deltas<'a> = Option<&'a mut [Delta; 2]>;

/// The fronts that a change concerns, with what was installed for them.
type Touched = BTreeMap<FrontKey, Option<Installed>>;

/// The index of a family's table.
pub(super) fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn delta<'a>(deltas: &'a mut Deltas<'_>, family: Family) -> Option<&'a mut Delta> {
    deltas.as_mut().map(|deltas| &mut deltas[index(family)])
}

impl State {
    pub(super) fn new(node_ips: Vec<IpAddr>) -> Self {
        Self {
            node_ips,
            ..Self::default()
        }
    }

    /// The plan of a Service, its endpoints in the order of their numbers.
    pub(super) fn plan(&self, name: &ObjectName) -> Option<&ServicePlan> {
        let service = *self.names.get(name)?;
        Some(&self.held(service).plan)
    }

    fn held(&self, service: u32) -> &Held {
        let held = self.services[service as usize].as_ref();
        held.expect("a Service that has a number is held")
    }

    /// The Service and the port of an id.
    fn port(&self, id: u32) -> (&ObjectName, &PortPlan) {
        let slot = self.ids.slot(id);
        let plan = &self.held(slot.service).plan;
        (&plan.name, &plan.ports[slot.index as usize])
    }

    /// Puts a plan in the place of a Service's former one, or takes that away.
    pub(super) fn change(
        &mut self,
        name: &ObjectName,
        plan: Option<ServicePlan>,
        mut deltas: Deltas<'_>,
    ) {
        if plan.is_some() && self.plan(name) == plan.as_ref() {
            return;
        }
        let served = self.served(name, plan.as_ref());
        let mut touched = Touched::new();
        let old = self.take(name);
        if let Some((_, held)) = &old {
            for (id, port) in held.ids.iter().zip(&held.plan.ports) {
                self.withdraw(*id, port, &mut touched, &mut deltas);
            }
            for address in &held.plan.cluster_ips {
                let counts = &mut self.tables[index(Family::of(*address))].cluster_ips;
                less(counts, *address, Key::ClusterIp, &mut deltas);
            }
        }
        match (plan, old) {
            (Some(plan), old) => self.put(name, plan, old, &mut touched, &mut deltas),
            (None, Some((service, held))) => {
                held.ids.iter().for_each(|id| self.ids.release(*id));
                self.vacant.push(service);
            }
            (None, None) => {}
        }
        for (key, before) in touched {
            self.settle(key, before, &mut deltas);
        }
        for (front, before) in served {
            if self.serving(&front) != before.as_deref() {
                self.udp_changed.insert(front);
            }
        }
    }

    fn take(&mut self, name: &ObjectName) -> Option<(u32, Held)> {
        let service = self.names.remove(name)?;
        let held = self.services[service as usize].take()?;
        Some((service, held))
    }

    fn put(
        &mut self,
        name: &ObjectName,
        mut plan: ServicePlan,
        old: Option<(u32, Held)>,
        touched: &mut Touched,
        deltas: &mut Deltas<'_>,
    ) {
        plan.ports.iter_mut().for_each(without_absurd);
        let (service, old) = match old {
            Some((service, held)) => (service, Some(held)),
            None => (self.new_service(), None),
        };
        let ids = self.number_ports(service, &mut plan, old);
        for address in &plan.cluster_ips {
            let counts = &mut self.tables[index(Family::of(*address))].cluster_ips;
            more(counts, *address, Key::ClusterIp, deltas);
        }
        for (id, port) in ids.iter().zip(&plan.ports) {
            self.announce(*id, port, touched, deltas);
        }
        self.names.insert(name.clone(), service);
        self.services[service as usize] = Some(Held { plan, ids });
    }

    fn new_service(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.services.push(None);
            u32::try_from(self.services.len() - 1).expect("fewer Services than 2^32")
        })
    }

    /// Ports that were there before keep their numbers, and their endpoints keep theirs as far as they can:
    /// a large Service that changes one endpoint then changes few elements.
    fn number_ports(
        &mut self,
        service: u32,
        plan: &mut ServicePlan,
        old: Option<Held>,
    ) -> Vec<u32> {
        let mut former: BTreeMap<(Family, Protocol, Box<str>), (u32, PortPlan)> = BTreeMap::new();
        for (id, port) in old
            .into_iter()
            .flat_map(|held| held.ids.into_iter().zip(held.plan.ports))
        {
            let identity = (port.family, port.protocol, port.port_name.clone());
            if let Some((displaced, _)) = former.insert(identity, (id, port)) {
                self.ids.release(displaced);
            }
        }
        let mut kept = Vec::with_capacity(plan.ports.len());
        for port in &mut plan.ports {
            let identity = (port.family, port.protocol, port.port_name.clone());
            kept.push(former.remove(&identity).map(|(id, former)| {
                keep_places(&former.cluster, &mut port.cluster);
                keep_places(&former.local, &mut port.local);
                id
            }));
        }
        for (id, _) in former.into_values() {
            self.ids.release(id);
        }
        let ports = (0..).zip(&plan.ports).zip(kept);
        let ids = ports.map(|((index, port), kept)| {
            let slot = Slot { service, index };
            match kept {
                Some(id) => {
                    self.ids.place(id, slot);
                    id
                }
                // By its cluster address it is the port that an earlier process numbered. Any other front
                // may have been another Service's, and the number would bring that one's affinity.
                None => self.ids.allocate(slot, cluster_keys(port)),
            }
        });
        ids.collect()
    }

    /// Takes away what a Service port brought. Its fronts are settled later: others may have them next.
    fn withdraw(
        &mut self,
        id: u32,
        port: &PortPlan,
        touched: &mut Touched,
        deltas: &mut Deltas<'_>,
    ) {
        let table = &mut self.tables[index(port.family)];
        for key in front_keys(port) {
            let installed = table.fronts.installed(&key);
            touched.entry(key).or_insert(installed);
        }
        front_keys(port).for_each(|key| table.fronts.release(key, id));
        if let Some(delta) = delta(deltas, port.family) {
            let elements = port_elements(id, port, &self.node_ips);
            elements.for_each(|(key, value)| delta.remove(key, value));
        }
        for address in &port.hairpins {
            less(&mut table.hairpins, *address, Key::Hairpin, deltas);
        }
    }

    /// Adds what a Service port brings. Its fronts are settled later.
    fn announce(
        &mut self,
        id: u32,
        port: &PortPlan,
        touched: &mut Touched,
        deltas: &mut Deltas<'_>,
    ) {
        let table = &mut self.tables[index(port.family)];
        for key in front_keys(port) {
            let installed = table.fronts.installed(&key);
            touched.entry(key).or_insert(installed);
            table.fronts.claim(key, id);
        }
        if let Some(delta) = delta(deltas, port.family) {
            let elements = port_elements(id, port, &self.node_ips);
            elements.for_each(|(key, value)| delta.add(key, value));
        }
        for address in &port.hairpins {
            more(&mut table.hairpins, *address, Key::Hairpin, deltas);
        }
    }

    /// Gives a front to whom it belongs now.
    fn settle(&mut self, key: FrontKey, before: Option<Installed>, deltas: &mut Deltas<'_>) {
        let family = Family::of(key.address);
        let owner = self.owner(&key);
        let table = &mut self.tables[index(family)];
        let after = owner.map(|(id, class, ranged)| {
            let (number, new) = table.classes.acquire(class);
            if let Some(delta) = delta(deltas, family).filter(|_| new) {
                delta.classes.push(class);
                class_elements(class, number).for_each(|(key, value)| delta.add(key, value));
            }
            Installed {
                class: number,
                id,
                ranged,
            }
        });
        if let Some(before) = before {
            table.classes.release(before.class);
        }
        if let Some(after) = after {
            table.fronts.install(&key, after);
        }
        if let Some(delta) = delta(deltas, family) {
            let elements = |installed: Option<Installed>| {
                let installed = installed.into_iter();
                installed.flat_map(move |installed| installed.elements(key))
            };
            elements(before).for_each(|(key, value)| delta.remove(key, value));
            elements(after).for_each(|(key, value)| delta.add(key, value));
        }
    }

    /// Changes the addresses that have node ports.
    pub(super) fn set_node_port_addresses(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        mut deltas: Deltas<'_>,
    ) {
        for family in Family::ALL {
            let of_family = addresses
                .iter()
                .copied()
                .filter(|ip| Family::of(*ip) == family);
            let after: BTreeSet<IpAddr> = of_family.collect();
            let current = &mut self.tables[index(family)].node_port_addresses;
            let before = std::mem::replace(current, after.clone());
            if let Some(delta) = delta(&mut deltas, family) {
                for address in before {
                    delta.remove(Key::NodePortAddress(address), Value::Member);
                }
                for address in after {
                    delta.add(Key::NodePortAddress(address), Value::Member);
                }
            }
        }
    }

    /// Forgets classes without fronts if there are many, and returns them by family.
    pub(super) fn retire_classes(
        &mut self,
        limit: usize,
        mut deltas: Deltas<'_>,
    ) -> Vec<(Family, Class)> {
        let mut all = Vec::new();
        for family in Family::ALL {
            let retired = self.tables[index(family)].classes.retire(limit);
            for (class, number) in retired {
                if let Some(delta) = delta(&mut deltas, family) {
                    class_elements(class, number).for_each(|(key, value)| delta.remove(key, value));
                }
                all.push((family, class));
            }
        }
        all
    }

    /// The classes of a table.
    pub(super) fn classes(&self, family: Family) -> impl Iterator<Item = Class> {
        self.tables[index(family)]
            .classes
            .iter()
            .map(|(class, _)| class)
    }

    /// All elements of a table.
    pub(super) fn elements(&self, family: Family) -> impl Iterator<Item = (Key, Value)> {
        let table = &self.tables[index(family)];
        let classes = table.classes.iter();
        let classes = classes.flat_map(|(class, number)| class_elements(class, number));
        let fronts = table.fronts.iter();
        let fronts = fronts.flat_map(|(key, installed)| installed.elements(key));
        let ports = self.services.iter().flatten().flat_map(move |held| {
            let ports = held.ids.iter().zip(&held.plan.ports);
            let ports = ports.filter(move |(_, port)| port.family == family);
            ports.flat_map(|(id, port)| port_elements(*id, port, &self.node_ips))
        });
        let cluster_ips = table.cluster_ips.keys().copied().map(Key::ClusterIp);
        let hairpins = table.hairpins.keys().copied().map(Key::Hairpin);
        let addresses = table.node_port_addresses.iter().copied();
        let members = cluster_ips
            .chain(hairpins)
            .chain(addresses.map(Key::NodePortAddress));
        let members = members.map(|key| (key, Value::Member));
        classes.chain(fronts).chain(ports).chain(members)
    }
}

fn class_elements(class: Class, number: u32) -> impl Iterator<Item = (Key, Value)> {
    let chain = class.translates();
    let chain = chain.then_some((Key::Class(number), Value::Chain(class)));
    let refusal = class.refusal();
    let refusal = refusal.map(|refusal| (Key::Refusal(number), Value::Refusal(refusal)));
    chain.into_iter().chain(refusal)
}

fn more(
    counts: &mut HashMap<IpAddr, u32>,
    address: IpAddr,
    key: fn(IpAddr) -> Key,
    deltas: &mut Deltas<'_>,
) {
    let count = counts.entry(address).or_insert(0);
    *count += 1;
    if let Some(delta) = delta(deltas, Family::of(address)).filter(|_| *count == 1) {
        delta.add(key(address), Value::Member);
    }
}

fn less(
    counts: &mut HashMap<IpAddr, u32>,
    address: IpAddr,
    key: fn(IpAddr) -> Key,
    deltas: &mut Deltas<'_>,
) {
    let Some(count) = counts.get_mut(&address) else {
        return;
    };
    *count -= 1;
    if *count == 0 {
        counts.remove(&address);
        if let Some(delta) = delta(deltas, Family::of(address)) {
            delta.remove(key(address), Value::Member);
        }
    }
}
