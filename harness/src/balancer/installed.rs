//! What the kernel has of the load balancer's rules, and the transactions that lead to others. Pure.
//!
//! A transaction is not one moment for a packet that is under way. The kernel enters a chain by the rules that were current
//! when it began with the packet, and looks maps up by what is current when it comes to them (`nft_do_chain` and `nft_lookup`,
//! `net/netfilter`): between old rules and maps that are gone, a new connection finds nothing, and is lost. Hence a version
//! that is replaced stays, with all its maps, until no packet can be in the middle of it.

use std::collections::BTreeMap;
use std::time::Duration;

use onehop_nft::Batch;

use super::plan::{Forwarding, Plan, Rules};

#[cfg(test)]
mod tests;

/// How long a version stays after it was replaced. A packet crosses the rules in microseconds; only a machine that stands
/// still in the middle keeps one there longer.
const GRACE: Duration = Duration::from_millis(200);

/// What the kernel has.
#[derive(Clone, Debug, Default)]
pub(super) struct Installed {
    /// Each Service with the version that its packets come to, by the number of its address.
    services: BTreeMap<u8, (Forwarding, u32)>,
    /// The newest version of any.
    version: u32,
    /// What was replaced, in order.
    replaced: Vec<Replaced>,
    /// Whether it may be otherwise: an answer of the kernel was lost.
    doubtful: bool,
}

/// A version that no packet is led to any more.
#[derive(Clone, Debug)]
struct Replaced {
    since: Duration,
    /// Of its Service's address.
    number: u8,
    rules: Rules,
}

impl Installed {
    /// The transaction that leads to this plan, and what the kernel has after it. Times are since any moment, always the same
    /// one. It is empty when there is nothing to do yet.
    pub(super) fn change_to(&self, plan: &Plan, now: Duration) -> (Batch, Self) {
        let mut batch = Batch::new();
        let mut next = self.clone();
        if next.doubtful {
            next.begin_anew(&mut batch);
        }
        next.remove_replaced(now, &mut batch);
        next.remove_services_that_are_not_in(plan, &mut batch);
        for wanted in &plan.services {
            next.install(wanted, now, &mut batch);
        }
        (batch, next)
    }

    /// The same after a transaction of which nobody knows whether it was made: the next one makes all tables anew.
    pub(super) fn doubted(self) -> Self {
        Self {
            doubtful: true,
            ..self
        }
    }

    /// When something is to be deleted that was replaced.
    pub(super) fn due(&self) -> Option<Duration> {
        self.replaced.first().map(|replaced| replaced.since + GRACE)
    }

    fn begin_anew(&mut self, batch: &mut Batch) {
        for (old, _) in std::mem::take(&mut self.services).values() {
            batch.destroy_table(&old.table());
        }
        self.replaced.clear();
        self.doubtful = false;
    }

    fn remove_replaced(&mut self, now: Duration, batch: &mut Batch) {
        let is_over = |replaced: &mut Replaced| now >= replaced.since + GRACE;
        for replaced in self.replaced.extract_if(.., is_over) {
            replaced.rules.remove_from(batch);
        }
    }

    /// Another mode has other base chains, and is another Service: a Service's never changes.
    fn remove_services_that_are_not_in(&mut self, plan: &Plan, batch: &mut Batch) {
        let stays = |number: u8, old: &Forwarding| {
            let mut wanted = plan.services.iter();
            wanted.any(|new| new.number == number && new.mode == old.mode)
        };
        let gone = |number: &u8, (old, _): &mut (Forwarding, u32)| !stays(*number, old);
        for (number, (old, _)) in self.services.extract_if(.., gone) {
            batch.destroy_table(&old.table());
            self.replaced.retain(|replaced| replaced.number != number);
        }
    }

    fn install(&mut self, wanted: &Forwarding, now: Duration, batch: &mut Batch) {
        let number = wanted.number;
        match self.services.get(&number) {
            Some((old, _)) if old == wanted => return,
            Some((old, version)) => self.replaced.push(Replaced {
                since: now,
                number,
                rules: old.rules(*version),
            }),
            // Whoever left a table of this name behind.
            None => batch.destroy_table(&wanted.table()),
        }
        self.version += 1;
        wanted.rules(self.version).add_to(batch);
        self.services.insert(number, (wanted.clone(), self.version));
    }
}
