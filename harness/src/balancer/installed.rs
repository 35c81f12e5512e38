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
    /// What was replaced and when, in order.
    replaced: Vec<(Duration, u8, Rules)>,
}

impl Installed {
    /// The transaction that leads to this plan, and what the kernel has after it. Times are since any moment, always the same
    /// one. It is empty when there is nothing to do yet.
    pub(super) fn change_to(&self, plan: &Plan, now: Duration) -> (Batch, Self) {
        let mut batch = Batch::new();
        let mut next = self.clone();
        let is_over = |(since, ..): &(Duration, u8, Rules)| now >= *since + GRACE;
        for (_, _, rules) in next.replaced.extract_if(.., |replaced| is_over(replaced)) {
            rules.remove_from(&mut batch);
        }
        // Another mode has other base chains. A Service's never changes: it is another Service.
        let stays = |number: u8, old: &Forwarding| {
            let mut wanted = plan.services.iter();
            wanted.any(|new| new.number == number && new.mode == old.mode)
        };
        next.services.retain(|number, (old, _)| {
            let stays = stays(*number, old);
            if !stays {
                batch.destroy_table(&old.table());
                next.replaced.retain(|(_, of, _)| of != number);
            }
            stays
        });
        for wanted in &plan.services {
            let old = next.services.get(&wanted.number);
            match old {
                Some((old, _)) if old == wanted => continue,
                Some((old, version)) => {
                    let old = old.rules(*version);
                    next.replaced.push((now, wanted.number, old));
                }
                // Whoever left a table of this name behind.
                None => batch.destroy_table(&wanted.table()),
            }
            next.version += 1;
            wanted.rules(next.version).add_to(&mut batch);
            let installed = (wanted.clone(), next.version);
            next.services.insert(wanted.number, installed);
        }
        (batch, next)
    }

    /// When something is to be deleted that was replaced.
    pub(super) fn due(&self) -> Option<Duration> {
        self.replaced.first().map(|(since, ..)| *since + GRACE)
    }
}
