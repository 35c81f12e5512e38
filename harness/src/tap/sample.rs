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
    /// Its journey; none when no interface saw it, because the calling node refused or dropped it itself, or when its way could not be
    /// had, which the outcome says then.
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
    /// the same places. Ports, times and the family may differ, and so may the pod that was reached, of several on a node.
    pub fn is_like(&self, other: &Self) -> bool {
        let both = self.shape().zip(other.shape());
        self.end() == other.end() && both.is_some_and(|(one, other)| one == other)
    }

    /// The pod that was reached.
    fn pod(&self) -> Option<&str> {
        self.outcome.strip_prefix("reached ")
    }

    /// What became of it, whichever pod that was.
    fn end(&self) -> &str {
        self.pod().map_or(&self.outcome, |_| "reached")
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
        // On its node, a pod's interface has the name of the pod in it.
        let any = |name: &str| match self.pod() {
            Some(pod) if name.ends_with(pod) => "the pod".to_owned(),
            _ => name.to_owned(),
        };
        let seen = |sighting: &super::Sighting| {
            let (host, interface) = (any(&sighting.host), any(&sighting.interface));
            let kind = sighting.kind.is_call().then_some(sighting.kind);
            (host, interface, sighting.direction, sighting.ttl, kind)
        };
        let rewrites = journey.rewrites().into_iter();
        let rewrites = rewrites.map(|r| (any(&r.host), r.half, r.what, any(&self.name(r.to.ip()))));
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
            None => f.write_str("no interface saw it\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tap::{Call, Direction, Kind, Sighting};

    /// A call from a client to a pod by way of its node, at this port.
    fn sample(pod: &str, node: &str, port: u16) -> Sample {
        let (client, service): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 96, 0, 1].into());
        let address: IpAddr = [10, 0, 0, pod.len() as u8 + pod.as_bytes()[pod.len() - 1]].into();
        let seen = |host: &str, interface: &str, direction, destination, at| Sighting {
            host: host.to_owned(),
            interface: interface.to_owned(),
            direction,
            source: (client, port).into(),
            destination,
            ttl: 64,
            kind: Kind::Syn,
            sequence: 7,
            at: Duration::from_micros(at),
        };
        let (called, reached) = ((service, 80).into(), (address, 8080).into());
        let sightings = vec![
            seen("client", "eth0", Direction::Out, called, 0),
            seen(node, "eth0", Direction::In, called, 1),
            seen(node, pod, Direction::Out, reached, 2),
            seen(pod, "eth0", Direction::In, reached, 3),
        ];
        let call = Call::new("client", (client, port).into(), called);
        let journey = Journey::assemble(call, sightings);
        let name = |ip: IpAddr| {
            if ip == address {
                pod.to_owned()
            } else {
                ip.to_string()
            }
        };
        Sample::new(format!("reached {pod}"), journey, name)
    }

    #[test]
    fn examples_are_alike_whatever_the_port_and_the_pod_but_not_by_another_node() {
        let one = sample("web-1", "vm3", 4000);
        assert!(one.is_like(&sample("web-1", "vm3", 4001)));
        assert!(one.is_like(&sample("web-2", "vm3", 4000)));
        assert!(!one.is_like(&sample("web-1", "vm1", 4000)));
        let dropped = Sample {
            outcome: "dropped".to_owned(),
            ..one.clone()
        };
        assert!(!one.is_like(&dropped) && dropped.is_like(&dropped));
        let unseen = Sample {
            journey: None,
            ..one.clone()
        };
        assert!(!unseen.is_like(&unseen), "nothing is known of whose it is");
        let mut further = one.clone();
        further.journey.as_mut().expect("a way").request[3].ttl -= 1;
        assert!(!one.is_like(&further), "a hop more");
    }

    #[test]
    fn only_addresses_with_a_name_have_one() {
        let sample = sample("web-1", "vm3", 4000);
        assert_eq!(sample.names.values().collect::<Vec<_>>(), ["web-1"]);
        assert_eq!(sample.name([10, 96, 0, 1].into()), "10.96.0.1");
        assert_eq!(sample.steps()[2], "→ vm3 out: 10.0.0.1 → web-1, ttl 64");
    }
}
