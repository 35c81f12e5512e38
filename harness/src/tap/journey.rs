//! The journey of one connection's opening: every sighting of its call and of the answer, in the
//! order of travel, and what can be read from them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::packet::{Direction, Sighting};
use crate::world::World;

/// A connection, or a datagram, as the calling socket knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The name of the calling host.
    pub from: String,
    /// The socket's own address.
    pub local: SocketAddr,
    /// The address that it called.
    pub remote: SocketAddr,
}

impl Call {
    /// The call from a host's socket at `local` to `remote`.
    pub fn new(from: &str, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            from: from.to_owned(),
            local,
            remote,
        }
    }
}

/// The two halves of a journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// The call's way.
    Request,
    /// The answer's way back.
    Reply,
}

/// Which address of a packet was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The address that it comes from.
    Source,
    /// The address that it goes to.
    Destination,
}

/// An address that a host rewrote, port included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rewrite {
    /// The host that did it.
    pub host: String,
    /// On which way.
    pub half: Half,
    /// Which address.
    pub what: What,
    /// What it was.
    pub from: SocketAddr,
    /// What it became.
    pub to: SocketAddr,
}

impl Rewrite {
    /// Whether this rewrite of a reply takes back that one of a request: the same host turns what
    /// it made of one end's address into what it was.
    pub fn undoes(&self, request: &Self) -> bool {
        self.host == request.host
            && (request.half, self.half) == (Half::Request, Half::Reply)
            && self.what != request.what
            && (self.from, self.to) == (request.to, request.from)
    }
}

/// The way of one call through the lab, and of its answer.
///
/// Of a call that was sent more than once, because no answer came in time, it is the way of the
/// last attempt that somebody answered, or of the last one; of an answer that was sent more than
/// once, the last answer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Journey {
    /// Whose journey it is.
    pub call: Call,
    /// How often the call was sent: more than once when no answer came in time.
    pub attempts: usize,
    /// The sightings of the call, in the order of travel. Never empty: the first is the call
    /// leaving the caller, the last one's host is the furthest that it came.
    pub request: Vec<Sighting>,
    /// The sightings of the answer, in the order of travel. The first one's host sent it; empty
    /// only when nobody answered any attempt. That an answer was sent does not mean that it
    /// reached the caller: that is [`Self::came_back`].
    pub reply: Vec<Sighting>,
}

impl Journey {
    /// Makes a journey of all sightings of one initial sequence number, in any order. `None` when
    /// the call itself is not among them.
    ///
    /// Two connections that share a number would show in each other's journey, as hosts that the
    /// call never crossed. Probes never do, and what others had at another time is left out before.
    pub fn assemble(call: Call, mut sightings: Vec<Sighting>) -> Option<Self> {
        sightings.sort_by_key(order_of_travel);
        let (calls, answers): (Vec<_>, Vec<_>) =
            sightings.into_iter().partition(|s| s.kind.is_call());
        let left = |s: &&Sighting| s.host == call.from && s.direction == Direction::Out;
        let first = calls.iter().find(left)?.clone();
        let mut sent = transmissions(calls, &first);
        let attempts = sent.len();
        let answered = |attempt: &Vec<Sighting>| !since(&answers, attempt[0].at).is_empty();
        let last_answered = sent.iter().rposition(answered);
        let request = sent.swap_remove(last_answered.unwrap_or(attempts - 1));
        let answers = since(&answers, request[0].at);
        // The first answer decides the call. A reset that follows belongs to the open connection,
        // and an error that follows does not take the answer back.
        let reply = answers.first().map_or_else(Vec::new, |first| {
            let like = |s: &&Sighting| s.kind.is_like(first.kind);
            let answers = answers.iter().filter(like).cloned().collect();
            transmissions(answers, first).pop().unwrap_or_default()
        });
        Some(Self {
            call,
            attempts,
            request,
            reply,
        })
    }

    /// The hosts of the request, in the order of travel; a host that it came back to is named
    /// again.
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<_> = self.request.iter().map(|s| &*s.host).collect();
        hosts.dedup();
        hosts
    }

    /// The nodes among [`Self::hosts`].
    pub fn nodes(&self, world: &World) -> Vec<&str> {
        let mut nodes = self.hosts();
        nodes.retain(|host| world.node(host).is_some());
        nodes.dedup();
        nodes
    }

    /// The first node of the request: whose rules decided where it goes.
    pub fn entry_node(&self, world: &World) -> Option<&str> {
        self.nodes(world).first().copied()
    }

    /// Every address that a host rewrote, request first, in the order of travel.
    ///
    /// The calling host's own rewrites are those between what its socket called and what left it.
    /// That it took them back from the reply happens behind the last tap; it is taken as done when
    /// the reply arrives between exactly the addresses that the call had left with.
    pub fn rewrites(&self) -> Vec<Rewrite> {
        let mut found = Vec::new();
        if let Some(first) = self.first_at_caller() {
            let called = (self.call.local, self.call.remote);
            let left_with = (first.source, first.destination);
            compare(&first.host, Half::Request, called, left_with, &mut found);
        }
        let own = !found.is_empty();
        inside_hosts(&self.request, Half::Request, &mut found);
        inside_hosts(&self.reply, Half::Reply, &mut found);
        if let (true, Some(first), Some(last)) = (own, self.first_at_caller(), self.arrival()) {
            let arrived = (last.source, last.destination);
            if arrived == (first.destination, first.source) {
                let undone = (self.call.remote, self.call.local);
                compare(&last.host, Half::Reply, arrived, undone, &mut found);
            }
        }
        found
    }

    /// The rewrites of the request that the host which made them did not undo in the reply.
    pub fn not_undone(&self) -> Vec<Rewrite> {
        let (requests, replies): (Vec<_>, Vec<_>) = self
            .rewrites()
            .into_iter()
            .partition(|rewrite| rewrite.half == Half::Request);
        let undone = |request: &Rewrite| replies.iter().any(|reply| reply.undoes(request));
        requests.into_iter().filter(|r| !undone(r)).collect()
    }

    /// The addresses that answers came from when they reached the caller: only the called one,
    /// if every rewrite was undone. Of an ICMP error, the address that it reports about.
    pub fn answers_from(&self) -> BTreeSet<SocketAddr> {
        let rewrites = self.rewrites();
        let at_caller = self
            .reply
            .iter()
            .filter(|s| s.host == self.call.from && s.direction == Direction::In);
        let taken_back = |source: SocketAddr| {
            let undone = rewrites.iter().find(|r| {
                r.host == self.call.from
                    && (r.half, r.what, r.from) == (Half::Reply, What::Source, source)
            });
            undone.map_or(source, |r| r.to)
        };
        at_caller.map(|s| taken_back(s.source)).collect()
    }

    /// Whether an answer reached the caller.
    pub fn came_back(&self) -> bool {
        self.arrival().is_some()
    }

    /// Where the last trace of a call without an answer is: of the answer if one was on its way,
    /// else of the call. `None` when the answer reached the caller.
    pub fn last_seen(&self) -> Option<&Sighting> {
        if self.came_back() {
            return None;
        }
        self.reply.last().or(self.request.last())
    }

    /// The first sighting, at the caller.
    fn first_at_caller(&self) -> Option<&Sighting> {
        let first = self.request.first()?;
        (first.host == self.call.from && first.direction == Direction::Out).then_some(first)
    }

    /// The last sighting of the reply, if that is its arrival at the caller.
    fn arrival(&self) -> Option<&Sighting> {
        let last = self.reply.last()?;
        (last.host == self.call.from && last.direction == Direction::In).then_some(last)
    }
}

/// Sorts sightings of one packet as it travelled.
///
/// The kernel stamps them with one clock, in the order in which they happen. Two stamps can only
/// be equal, and then a packet with more hops to live is the earlier one, and leaving a host comes
/// before reaching the next.
fn order_of_travel(sighting: &Sighting) -> (Duration, Reverse<u8>, Direction) {
    (sighting.at, Reverse(sighting.ttl), sighting.direction)
}

/// The sightings of each transmission of a packet, in the order of sending, from this first one on.
///
/// Each begins with a packet that leaves the sending host with as many hops to live as the first
/// one did; a packet that only comes by that host again has lost some. A sender waits a second
/// before it sends again, but a host that is looking for its neighbour's link address may hold
/// the earlier packet back as long, and sends both on. No packet crosses an interface twice the
/// same way with as many hops to live, so of such sightings the last one stays.
fn transmissions(sightings: Vec<Sighting>, first: &Sighting) -> Vec<Vec<Sighting>> {
    let mut found: Vec<Vec<Sighting>> = Vec::new();
    for sighting in sightings.into_iter().skip_while(|s| s != first) {
        let begins = sighting.host == first.host
            && (sighting.direction, sighting.ttl) == (first.direction, first.ttl);
        match found.last_mut() {
            Some(transmission) if !begins => transmission.push(sighting),
            _ => found.push(vec![sighting]),
        }
    }
    for transmission in &mut found {
        let key = |s: &Sighting| (s.host.clone(), s.interface.clone(), s.direction, s.ttl);
        let keys: Vec<_> = transmission.iter().map(key).collect();
        let mut index = 0;
        transmission.retain(|_| {
            index += 1;
            !keys[index..].contains(&keys[index - 1])
        });
    }
    found
}

/// The answers that were sent at this time or later, without the rest of one that was already
/// under way.
fn since(answers: &[Sighting], began: Duration) -> &[Sighting] {
    let sent = |index: &usize| {
        let sighting = &answers[*index];
        let Some(before) = index.checked_sub(1).map(|before| &answers[before]) else {
            return sighting.at >= began;
        };
        // What a host passes on, it has just received, with more hops to live.
        let passed_on = before.host == sighting.host
            && before.direction == Direction::In
            && before.ttl > sighting.ttl;
        sighting.at >= began && sighting.direction == Direction::Out && !passed_on
    };
    let first = (0..answers.len()).find(sent).unwrap_or(answers.len());
    &answers[first..]
}

/// What hosts did to a packet between receiving and sending it.
fn inside_hosts(sightings: &[Sighting], half: Half, found: &mut Vec<Rewrite>) {
    for pair in sightings.windows(2) {
        let [before, after] = pair else { continue };
        if before.host == after.host
            && (before.direction, after.direction) == (Direction::In, Direction::Out)
        {
            let addresses = |s: &Sighting| (s.source, s.destination);
            compare(
                &before.host,
                half,
                addresses(before),
                addresses(after),
                found,
            );
        }
    }
}

/// Notes which of source and destination differ.
fn compare(
    host: &str,
    half: Half,
    before: (SocketAddr, SocketAddr),
    after: (SocketAddr, SocketAddr),
    found: &mut Vec<Rewrite>,
) {
    let ends = [
        (What::Source, before.0, after.0),
        (What::Destination, before.1, after.1),
    ];
    let rewritten = ends.into_iter().filter(|(_, from, to)| from != to);
    found.extend(rewritten.map(|(what, from, to)| Rewrite {
        host: host.to_owned(),
        half,
        what,
        from,
        to,
    }));
}

#[cfg(test)]
mod tests;
