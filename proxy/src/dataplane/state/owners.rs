//! Whose a front is that several Services ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::super::classes::Class;
use super::super::element::FrontKey;
use super::super::ports::{front_class, is_cluster_ip, udp_fronts};
use super::{State, index};
use crate::model::{Family, ObjectName};
use crate::plan::ServicePlan;

/// A front that several Services ask for. One of them has it: the one whose cluster address it is, or else the first
/// by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The front.
    pub front: FrontKey,
    /// Who has it.
    pub winner: ObjectName,
    /// Whether it is a cluster address of the winner.
    pub cluster_ip: bool,
    /// Who asks for it in vain. Sorted.
    pub losers: Vec<ObjectName>,
}

impl State {
    /// Which Service port has a front, its class, and whether its sources are restricted.
    pub(super) fn owner(&self, key: &FrontKey) -> Option<(u32, Class, bool)> {
        let claims = self.tables[index(Family::of(key.address))]
            .fronts
            .claims(key);
        let id = *claims.iter().min_by_key(|id| self.rank(**id, key))?;
        let (class, ranged) = front_class(self.port(id).1, *key)?;
        Some((id, class, ranged))
    }

    /// By which the first of the Service ports that ask for a front has it.
    ///
    /// A cluster address is allocated to one Service, and anyone may write it into the `externalIPs` of
    /// another: that must not divert its traffic. Among equals the name decides, and never who came first,
    /// so that all nodes agree, and each with itself after a restart.
    fn rank(&self, id: u32, key: &FrontKey) -> (bool, &ObjectName, u32) {
        let (name, port) = self.port(id);
        let external = !is_cluster_ip(port, key);
        (external, name, self.ids.slot(id).index)
    }

    /// Whether a Service port has its own cluster address, and no other one has it.
    #[cfg(test)]
    pub(in super::super) fn has_its_cluster_ip(&self, id: u32) -> bool {
        let mut own = super::cluster_keys(self.port(id).1);
        own.any(|key| self.owner(&key).is_some_and(|owner| owner.0 == id))
    }

    /// The serving endpoints of the Service port that has a front, if any has it.
    pub(in super::super) fn serving(&self, front: &FrontKey) -> Option<&[SocketAddr]> {
        let (id, ..) = self.owner(front)?;
        Some(&self.port(id).1.serving)
    }

    /// What of UDP a Service asks for or will ask for, and which endpoints serve it now.
    pub(super) fn served(
        &self,
        name: &ObjectName,
        plan: Option<&ServicePlan>,
    ) -> BTreeMap<FrontKey, Option<Vec<SocketAddr>>> {
        let fronts = self.plan(name).into_iter().chain(plan).flat_map(udp_fronts);
        fronts
            .map(|front| (front, self.serving(&front).map(<[_]>::to_vec)))
            .collect()
    }

    /// The fronts that several Services ask for, in order.
    pub(in super::super) fn conflicts(&self) -> Vec<Conflict> {
        let tables = self.tables.iter();
        let contested = tables.flat_map(|table| {
            let fronts = table.fronts.contested();
            fronts.map(|front| (front, table.fronts.claims(&front)))
        });
        let conflicts = contested.filter_map(|(front, claims)| {
            let mut claims = claims.to_vec();
            claims.sort_unstable_by_key(|id| self.rank(*id, &front));
            let (winner, port) = self.port(*claims.first()?);
            let losers: BTreeSet<_> = claims.iter().map(|id| self.port(*id).0).collect();
            let losers = losers.into_iter().filter(|name| *name != winner);
            let losers: Vec<_> = losers.cloned().collect();
            (!losers.is_empty()).then(|| Conflict {
                front,
                winner: winner.clone(),
                cluster_ip: is_cluster_ip(port, &front),
                losers,
            })
        });
        conflicts.collect()
    }
}
