//! From the journey of a connection to what a verdict needs of it.

use std::collections::BTreeSet;

use crate::tap::{Half, Journey, What};
use crate::verdict::Trip;
use crate::world::World;

/// What a verdict needs of this journey.
pub(super) fn of(journey: &Journey, world: &World) -> Trip {
    let rewrites = journey.rewrites();
    let by = |what: What| -> BTreeSet<String> {
        let made = rewrites
            .iter()
            .filter(|r| r.half == Half::Request && r.what == what);
        made.map(|r| r.host.clone()).collect()
    };
    let destination_rewritten_by = by(What::Destination);
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
        source_rewritten_by: by(What::Source),
        answers_from: journey.answers_from(),
        not_undone: not_undone.collect(),
        answered: journey.came_back(),
        destination_rewritten_by,
    }
}
