//! A journey to be kept: with what became of the call, and with the names of its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journey::Journey;

/// One call as an example of many: what became of it, and by which way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// What became of it, in a word or two.
    pub outcome: String,
    /// Its journey; none when no interface saw it, because the calling node refused or dropped it itself.
    pub journey: Option<Journey>,
    /// What people call the addresses in it. One without a name is not here.
    pub names: BTreeMap<IpAddr, String>,
}

impl Sample {
    /// A journey with the names that `name` gives to its addresses, as [`crate::world::World::describe`] does.
    pub fn new(outcome: String, journey: Option<Journey>, name: impl Fn(IpAddr) -> String) -> Self {
        let addresses = journey.as_ref().map(addresses).unwrap_or_default();
        let named = addresses
            .into_iter()
            .map(|address| (address, name(address)));
        let names = named.filter(|(address, name)| *name != address.to_string());
        Self {
            outcome,
            names: names.collect(),
            journey,
        }
    }

    /// What people call an address, or the address itself.
    pub fn name(&self, address: IpAddr) -> String {
        let name = self.names.get(&address);
        name.cloned().unwrap_or_else(|| address.to_string())
    }

    /// Whether the other one shows the same: the same call by name, with the same end, over the same interfaces, rewritten in
    /// the same places. Ports, times and the family may differ.
    pub fn is_like(&self, other: &Self) -> bool {
        self.outcome == other.outcome && self.shape() == other.shape()
    }

    /// The way in steps, request first: where the call and its answer were seen, with the names of their ends but without ports and
    /// times, which differ from call to call.
    pub fn steps(&self) -> Vec<String> {
        let Some(journey) = &self.journey else {
            return Vec::new();
        };
        let halves = [("→", &journey.request), ("←", &journey.reply)];
        let steps = halves.into_iter().flat_map(|(arrow, sightings)| {
            sightings.iter().map(move |seen| {
                let (source, destination) = (seen.source.ip(), seen.destination.ip());
                let (host, way, ttl) = (&seen.host, seen.direction, seen.ttl);
                let ends = format!("{} → {}", self.name(source), self.name(destination));
                format!("{arrow} {host} {way}: {ends}, ttl {ttl}")
            })
        });
        steps.collect()
    }

    fn shape(&self) -> Option<impl PartialEq> {
        let journey = self.journey.as_ref()?;
        let seen = |sighting: &super::Sighting| {
            let (host, interface) = (sighting.host.clone(), sighting.interface.clone());
            (host, interface, sighting.direction)
        };
        let rewrites = journey.rewrites().into_iter();
        let rewrites = rewrites.map(|r| (r.host, r.half, r.what, self.name(r.to.ip())));
        Some((
            self.name(journey.call.remote.ip()),
            journey.request.iter().map(seen).collect::<Vec<_>>(),
            journey.reply.iter().map(seen).collect::<Vec<_>>(),
            rewrites.collect::<Vec<_>>(),
        ))
    }
}

/// Every address of a journey.
fn addresses(journey: &Journey) -> BTreeSet<IpAddr> {
    let seen = journey.request.iter().chain(&journey.reply);
    let seen = seen.flat_map(|sighting| [sighting.source, sighting.destination]);
    let ends = [journey.call.local, journey.call.remote];
    seen.chain(ends).map(|address| address.ip()).collect()
}

/// The journey as text, a line for each sighting.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.journey {
            Some(journey) => journey.display(|address| self.name(address)).fmt(f),
            None => f.write_str("it never left the calling node\n"),
        }
    }
}
