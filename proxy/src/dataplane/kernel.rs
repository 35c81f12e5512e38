//! The dataplane: keeps the kernel's tables equal to the plans.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use onehop_nft::{Batch, Error, Netfilter};

use super::chains::Chains;
use super::delta::Delta;
use super::element::FrontKey;
use super::options::{Detector, Options, without_loopback};
use super::ports::udp_fronts;
use super::read::{Desired, Difference, Found};
use super::state::{Conflict, State, index};
use super::write::{Writer, chains_of, table};
use crate::model::{Family, ObjectName, Protocol};
use crate::plan::{PortPlan, ServicePlan};

#[cfg(test)]
mod tests;

/// Classes without fronts that are kept, for the next Service of so many endpoints.
const UNUSED_CLASSES: usize = 64;

/// Why the kernel's tables could not be changed, read or removed. After an error of [`Dataplane::apply`] the
/// old rules are whole, and the next call makes up for it.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// No interface can have this name, or one that begins so.
    #[error("tell pods by the interface {0:?}: a name has 1 to 15 bytes")]
    InterfaceName(Box<str>),
    /// The kernel could not be asked what it has.
    #[error("read nftables")]
    Read(#[source] Error),
    /// A transaction had no effect.
    #[error("change nftables")]
    Change(#[source] Error),
}

/// What is to be different from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that have a new plan, or `None`: they are gone.
    pub services: BTreeMap<ObjectName, Option<ServicePlan>>,
    /// The node's addresses that have node ports, under [`super::NodePorts::Listed`]; loopback has none.
    pub node_port_addresses: Option<BTreeSet<IpAddr>>,
    /// The ranges of cluster addresses: what no Service has of them is dropped.
    pub service_cidrs: Option<Vec<IpNet>>,
}

/// What [`Dataplane::apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether all contents were replaced.
    pub replaced: bool,
    /// How many bytes the transaction had; 0 if nothing was to be done.
    pub bytes: usize,
    /// Fronts of UDP whose serving endpoints changed since the last success, those that no Service has any more
    /// and those that another one has now included: flows to former endpoints are stale.
    pub udp_changed: BTreeSet<FrontKey>,
    /// How many times since the last success the kernel refused to remove chains that nothing uses.
    pub failed_cleanups: u32,
    /// How many elements the sets and maps have from this, in both families.
    pub elements: usize,
}

/// The kernel's tables of the network namespace in which this was opened.
#[derive(Debug)]
pub struct Dataplane {
    netfilter: Netfilter,
    options: Options,
    state: State,
    service_cidrs: Vec<IpNet>,
    /// Whether the kernel is believed to have what is desired.
    in_step: bool,
    failed_cleanups: u32,
    /// How many elements the kernel has from this, as of the last success.
    elements: usize,
    tables: [Chains; 2],
    /// The generation that the last replacement made, if nobody else changed anything since before it.
    replaced_in: Option<u32>,
    #[cfg(test)]
    sabotage: bool,
}

impl Dataplane {
    /// Opens the tables in the calling thread's network namespace. Nothing is changed yet: what an earlier
    /// process left works on until the first [`Dataplane::apply`], which has to bring all Services.
    ///
    /// # Errors
    ///
    /// If the kernel has no nftables, or the process no right to them; if an interface of the options cannot be.
    pub fn open(options: Options) -> Result<Self, DataplaneError> {
        if let Detector::Interface(name) | Detector::InterfacePrefix(name) = &options.detector
            && !(1..=15).contains(&name.len())
        {
            return Err(DataplaneError::InterfaceName(name.clone()));
        }
        let mut netfilter = Netfilter::open().map_err(DataplaneError::Read)?;
        let mut ids = HashMap::new();
        for family in &options.families {
            let found = Found::look(&mut netfilter, *family).map_err(DataplaneError::Read)?;
            let recovered = found.ids(&mut netfilter, *family);
            ids.extend(recovered.map_err(DataplaneError::Read)?);
        }
        let mut state = State::new(options.node_ips.clone());
        state.ids.recover(ids);
        Ok(Self {
            netfilter,
            options,
            state,
            service_cidrs: Vec::new(),
            in_step: false,
            failed_cleanups: 0,
            elements: 0,
            tables: Default::default(),
            replaced_in: None,
            #[cfg(test)]
            sabotage: false,
        })
    }

    /// Makes the kernel have these changes and all that failed before, wholly or not at all.
    ///
    /// # Errors
    ///
    /// If the kernel refuses. The changes are kept: another call, also one without changes, tries again.
    pub fn apply(&mut self, changes: Changes) -> Result<Report, DataplaneError> {
        self.sweep_chains();
        let mut deltas: [Delta; 2] = Default::default();
        let mut recorder = self.in_step.then_some(&mut deltas);
        let retired = self
            .state
            .retire_classes(UNUSED_CLASSES, recorder.as_deref_mut());
        for (name, plan) in changes.services {
            self.state.change(&name, plan, recorder.as_deref_mut());
        }
        if let Some(addresses) = changes.node_port_addresses {
            let addresses = without_loopback(&addresses);
            self.state.set_node_port_addresses(&addresses, recorder);
        }
        let service_cidrs = changes
            .service_cidrs
            .filter(|cidrs| *cidrs != self.service_cidrs);
        let new_cidrs = service_cidrs.is_some();
        if let Some(cidrs) = service_cidrs {
            self.service_cidrs = cidrs;
        }
        let replaced = !self.in_step;
        let bytes = if replaced {
            self.replace()?
        } else {
            self.in_step = false;
            let bytes = self.change(&deltas, new_cidrs)?;
            self.retire_chains(!retired.is_empty());
            bytes
        };
        self.in_step = true;
        self.state.ids.forget_recovered();
        Ok(Report {
            replaced,
            bytes,
            udp_changed: std::mem::take(&mut self.state.udp_changed),
            failed_cleanups: std::mem::take(&mut self.failed_cleanups),
            elements: self.elements,
        })
    }

    /// Replaces all contents of the tables at the next [`Dataplane::apply`]: somebody else changed them.
    pub fn distrust(&mut self) {
        self.in_step = false;
    }

    /// Whether nothing was changed since before the last replacement of all contents, but by it. If that is
    /// not known, no.
    pub fn is_undisturbed(&mut self) -> bool {
        let now = self.netfilter.generation();
        now.is_ok_and(|now| Some(now.id) == self.replaced_in)
    }

    /// How the kernel's state differs from the desired one. Reads all of it.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked, or somebody changes its chains or rules during each of a few attempts.
    pub fn verify(&mut self) -> Result<Vec<Difference>, DataplaneError> {
        let mut differences = Vec::new();
        for family in &self.options.families {
            let retired = self.tables[index(*family)].retired.keys().cloned();
            let desired = Desired {
                family: *family,
                state: &self.state,
                options: &self.options,
                service_cidrs: &self.service_cidrs,
                retired: retired.collect(),
            };
            let found = desired.differences(&mut self.netfilter);
            differences.extend(found.map_err(DataplaneError::Read)?);
        }
        Ok(differences)
    }

    /// By which [`onehop_nft::Generation::port`] names changes that were made by this.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.netfilter.port()
    }

    /// The plan of a Service, its endpoints in the order of their numbers in the kernel.
    #[must_use]
    pub fn plan(&self, name: &ObjectName) -> Option<&ServicePlan> {
        self.state.plan(name)
    }

    /// The endpoints that may serve flows to a front: those of the Service that has it. `None` if none has.
    #[must_use]
    pub fn serving(&self, front: &FrontKey) -> Option<&[SocketAddr]> {
        self.state.serving(front)
    }

    /// Fronts of UDP of which changes may say something new.
    #[must_use]
    pub fn udp_fronts(&self, changes: &Changes) -> BTreeSet<FrontKey> {
        let services = changes.services.iter();
        let services = services.map(|(name, plan)| (self.state.plan(name), plan.as_ref()));
        let different = services.filter(|(before, after)| udp_differs(*before, *after));
        let plans = different.flat_map(|(before, after)| before.into_iter().chain(after));
        plans.flat_map(udp_fronts).collect()
    }

    /// The fronts that several Services ask for, in order.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.state.conflicts()
    }

    fn change(&mut self, deltas: &[Delta; 2], new_cidrs: bool) -> Result<usize, DataplaneError> {
        let mut batch = Batch::new();
        let mut made: [BTreeSet<String>; 2] = Default::default();
        for family in &self.options.families {
            let index = index(*family);
            let mut writer = Writer::new(&mut batch, *family);
            let present = &self.tables[index].present;
            made[index] = writer.delta(&deltas[index], &self.options, present);
            if new_cidrs {
                writer.unallocated(&self.service_cidrs);
            }
        }
        if batch.is_empty() {
            return Ok(0);
        }
        self.commit(&mut batch).map_err(DataplaneError::Change)?;
        for family in &self.options.families {
            let delta = &deltas[index(*family)];
            self.elements =
                (self.elements + delta.added().count()).saturating_sub(delta.removed().count());
        }
        for (chains, made) in self.tables.iter_mut().zip(made) {
            chains.made(made);
        }
        Ok(batch.len())
    }

    /// Replaces all contents. Where the table is an older layout's, the table itself is replaced.
    fn replace(&mut self) -> Result<usize, DataplaneError> {
        let before = self.netfilter.generation().map_err(DataplaneError::Read)?;
        self.replaced_in = None;
        let mut found: [Found; 2] = Default::default();
        for family in &self.options.families {
            let looked = Found::look(&mut self.netfilter, *family);
            found[index(*family)] = looked.map_err(DataplaneError::Read)?;
        }
        let (mut batch, mut made) = self.replacement(&found, false);
        let mut committed = self.commit(&mut batch);
        if matches!(committed, Err(Error::Refused(_))) && found.iter().any(|found| found.table) {
            found = Default::default();
            (batch, made) = self.replacement(&found, true);
            committed = self.commit(&mut batch);
        }
        committed.map_err(DataplaneError::Change)?;
        self.replaced_in = Some(before.id.wrapping_add(1));
        let families = self.options.families.iter();
        let elements = families.map(|family| self.state.elements(*family).count());
        self.elements = elements.sum();
        for ((chains, found), made) in self.tables.iter_mut().zip(found).zip(made) {
            let left = found.chains.into_iter();
            let left = left.filter(|name| !made.all.contains(name));
            *chains = Chains::replaced(made.of_classes, left);
        }
        Ok(batch.len())
    }

    fn replacement(&self, found: &[Found; 2], destroy: bool) -> (Batch, [Made; 2]) {
        let mut batch = Batch::new();
        let mut made: [Made; 2] = Default::default();
        for family in &self.options.families {
            let mut writer = Writer::new(&mut batch, *family);
            if destroy {
                writer.destroy();
            }
            let found = &found[index(*family)];
            let of_classes = writer.replace(found, &self.state, &self.options, &self.service_cidrs);
            let fixed = super::layout::chains(*family, &self.options).into_iter();
            let fixed = fixed.map(|ruled| ruled.chain.name);
            made[index(*family)] = Made {
                all: of_classes.iter().cloned().chain(fixed).collect(),
                of_classes,
            };
        }
        (batch, made)
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        #[cfg(test)]
        if self.sabotage {
            let nowhere = onehop_nft::Table::new(onehop_nft::Family::Ip, "no-such-table");
            batch.delete_table(&nowhere);
        }
        self.netfilter.commit(batch)
    }

    /// Finds the chains that no class needs any more.
    fn retire_chains(&mut self, any: bool) {
        if !any {
            return;
        }
        for family in &self.options.families {
            let classes = self.state.classes(*family);
            let needed = classes.flat_map(|class| chains_of(&class).collect::<Vec<_>>());
            self.tables[index(*family)].keep(needed.collect());
        }
    }

    /// Deletes chains that were retired long enough ago. If that fails, it is tried again later: they do no
    /// harm.
    fn sweep_chains(&mut self) {
        let now = Instant::now();
        let mut batch = Batch::new();
        for family in &self.options.families {
            let ripe = self.tables[index(*family)].ripe(now);
            Writer::new(&mut batch, *family).delete_chains(ripe);
        }
        if !self.in_step || batch.is_empty() {
            return;
        }
        let swept = self.commit(&mut batch);
        if let Err(error) = &swept {
            self.failed_cleanups += 1;
            tracing::warn!("chains that nothing uses stay for now: {error}");
        }
        for chains in &mut self.tables {
            chains.swept(now, swept.is_ok());
        }
    }
}

/// The chains of a replaced table.
#[derive(Debug, Default)]
struct Made {
    all: BTreeSet<String>,
    of_classes: BTreeSet<String>,
}

/// Whether a Service has other fronts of UDP than before, or other endpoints that serve them.
fn udp_differs(before: Option<&ServicePlan>, after: Option<&ServicePlan>) -> bool {
    fn udp(plan: Option<&ServicePlan>) -> impl Iterator<Item = &PortPlan> {
        let ports = plan.into_iter().flat_map(|plan| &plan.ports);
        ports.filter(|port| port.protocol == Protocol::Udp)
    }
    let relevant = |port: &PortPlan| (port.family, port.fronts.clone(), port.serving.clone());
    !udp(before).map(relevant).eq(udp(after).map(relevant))
}

/// Removes the tables of both families, and nothing else. Returns whether there were any.
///
/// # Errors
///
/// If the kernel refuses.
pub fn cleanup() -> Result<bool, DataplaneError> {
    let mut netfilter = Netfilter::open().map_err(DataplaneError::Read)?;
    let mut batch = Batch::new();
    for family in Family::ALL {
        let found = Found::look(&mut netfilter, family).map_err(DataplaneError::Read)?;
        if found.table {
            batch.delete_table(&table(family));
        }
    }
    let any = !batch.is_empty();
    netfilter
        .commit(&mut batch)
        .map_err(DataplaneError::Change)?;
    Ok(any)
}
