//! From the journey of a connection to what a verdict needs of it.

use std::collections::BTreeSet;

use crate::tap::{Half, Journey, Rewrite, What};
use crate::verdict::Trip;
use crate::world::World;

/// What a verdict needs of this journey.
pub(super) fn of(journey: &Journey, world: &World) -> Trip {
    let rewrites = journey.rewrites();
    let by = |what: What, counts: &dyn Fn(&Rewrite) -> bool| -> BTreeSet<String> {
        let made = rewrites
            .iter()
            .filter(|r| r.half == Half::Request && r.what == what && counts(r));
        made.map(|r| r.host.clone()).collect()
    };
    // Connection tracking changes the port alone, and of its own accord, where two connections to
    // different addresses of a Service would otherwise look the same to their common backend. The
    // source that a policy keeps or loses is the address.
    let moved = |rewrite: &Rewrite| rewrite.from.ip() != rewrite.to.ip();
    let destination_rewritten_by = by(What::Destination, &|_| true);
    let rewriting_node = journey
        .nodes(world)
        .into_iter()
        .find(|node| destination_rewritten_by.contains(*node));
    let not_undone = journey
        .not_undone()
        .into_iter()
        .map(|r| format!("{:?} {} -> {} by {}", r.what, r.from, r.to, r.host).to_lowercase());
    Trip {
        entry: rewriting_node
            .or_else(|| journey.entry_node(world))
            .map(str::to_owned),
        source_rewritten_by: by(What::Source, &moved),
        destination_rewritten_by,
        crossed: journey.hosts().into_iter().map(str::to_owned).collect(),
        not_undone: not_undone.collect(),
        ended_at: journey.request.last().map(|sighting| sighting.host.clone()),
        answered_by: journey.reply.first().map(|sighting| sighting.host.clone()),
        answers_from: journey.answers_from(),
    }
}
