//! The journey of one connection's opening: every sighting of its call and of the answer, in the
//! order of travel, and what can be read from them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::packet::{Direction, Sighting};
use crate::world::World;

/// A connection, or a datagram, as the calling socket knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// Two connections that share a number by chance would show in each other's journey, as hosts
    /// that the call never crossed. Among ten thousand remembered connections, that happens to a
    /// given one with a chance of one in 400,000.
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
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::tap::Kind;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A sighting, written `host direction source destination ttl µs`.
    fn seen(kind: Kind, text: &str) -> Sighting {
        let fields: Vec<_> = text.split_whitespace().collect();
        let [host, direction, source, destination, ttl, at] = fields[..] else {
            panic!("six fields in {text}");
        };
        Sighting {
            host: host.to_owned(),
            interface: "eth0".to_owned(),
            direction: match direction {
                "in" => Direction::In,
                _ => Direction::Out,
            },
            source: address(source),
            destination: address(destination),
            ttl: ttl.parse().expect("a number"),
            kind,
            sequence: 7,
            at: Duration::from_micros(at.parse().expect("a number")),
        }
    }

    fn journey(from: [&str; 3], request: &[&str], reply: &[&str]) -> Journey {
        let call = Call::new(from[0], address(from[1]), address(from[2]));
        let request = request.iter().map(|text| seen(Kind::Syn, text));
        let reply = reply.iter().map(|text| seen(Kind::SynAck, text));
        // The order in which sightings are found is not the order of travel.
        let sightings: Vec<_> = request.chain(reply).collect();
        let sightings = sightings.into_iter().rev().collect();
        Journey::assemble(call, sightings).expect("the call was seen")
    }

    /// Who did not undo its rewrites.
    fn not_undone(journey: &Journey) -> Vec<String> {
        let rewrites = journey.not_undone().into_iter();
        rewrites.map(|rewrite| rewrite.host).collect()
    }

    const CALLER: [&str; 3] = ["client", "1.0.0.1:40", "2.0.0.2:80"];
    const REQUEST: [&str; 4] = [
        "client out 1.0.0.1:40 2.0.0.2:80 64 0",
        "node in 1.0.0.1:40 2.0.0.2:80 64 1",
        "node out 2.0.0.2:99 3.0.0.3:8080 63 2",
        "pod in 2.0.0.2:99 3.0.0.3:8080 63 3",
    ];
    const REPLY: [&str; 4] = [
        "pod out 3.0.0.3:8080 2.0.0.2:99 64 4",
        "node in 3.0.0.3:8080 2.0.0.2:99 64 5",
        "node out 2.0.0.2:80 1.0.0.1:40 63 6",
        "client in 2.0.0.2:80 1.0.0.1:40 63 7",
    ];

    #[test]
    fn both_rewrites_of_a_node_are_found_and_undone() {
        let journey = journey(CALLER, &REQUEST, &REPLY);
        assert_eq!(journey.rewrites().len(), 4);
        assert_eq!(journey.not_undone(), []);
        assert_eq!(journey.answers_from(), [address("2.0.0.2:80")].into());
        assert_eq!(journey.hosts(), ["client", "node", "pod"]);
    }

    #[test]
    fn an_answer_around_the_node_is_not_undone() {
        let reply = [
            "pod out 3.0.0.3:8080 1.0.0.1:40 64 4",
            "client in 3.0.0.3:8080 1.0.0.1:40 64 5",
        ];
        let journey = journey(CALLER, &REQUEST, &reply);
        assert_eq!(not_undone(&journey), ["node", "node"]);
        assert_eq!(journey.answers_from(), [address("3.0.0.3:8080")].into());
    }

    #[test]
    fn a_half_undone_rewrite_is_not_undone() {
        let mut reply = REPLY;
        reply[2] = "node out 3.0.0.3:8080 1.0.0.1:40 63 6";
        reply[3] = "client in 3.0.0.3:8080 1.0.0.1:40 63 7";
        let journey = journey(CALLER, &REQUEST, &reply);
        assert_eq!(not_undone(&journey), ["node"]);
    }

    #[test]
    fn equal_stamps_are_ordered_by_hops_to_live_and_direction() {
        let at_once = |texts: [&str; 4]| {
            texts.map(|text| {
                let (head, _) = text.rsplit_once(' ').expect("six fields");
                format!("{head} 0")
            })
        };
        let request = at_once(REQUEST);
        let journey = journey(CALLER, &request.each_ref().map(String::as_str), &[]);
        assert_eq!(journey.hosts(), ["client", "node", "pod"]);
        assert_eq!(journey.last_seen().map(|s| &*s.host), Some("pod"));
    }

    #[test]
    fn a_call_sent_again_is_the_last_attempts_journey() {
        let again = REQUEST.map(|text| {
            let (head, at) = text.rsplit_once(' ').expect("six fields");
            format!("{head} 100{at}")
        });
        let first = REQUEST[..3].iter().copied();
        let both: Vec<_> = first.chain(again.iter().map(String::as_str)).collect();
        let journey = journey(CALLER, &both, &[]);
        assert_eq!((journey.attempts, journey.request.len()), (2, 4));
    }

    #[test]
    fn an_attempt_that_was_held_back_on_its_way_shows_once() {
        let mut both = vec![REQUEST[0], REQUEST[1]];
        both.extend([
            "client out 1.0.0.1:40 2.0.0.2:80 64 1000",
            "node in 1.0.0.1:40 2.0.0.2:80 64 1001",
            "node out 2.0.0.2:99 3.0.0.3:8080 63 1002",
            "node out 2.0.0.2:99 3.0.0.3:8080 63 1003",
            "pod in 2.0.0.2:99 3.0.0.3:8080 63 1004",
            "pod in 2.0.0.2:99 3.0.0.3:8080 63 1005",
        ]);
        let journey = journey(CALLER, &both, &[]);
        assert_eq!((journey.attempts, journey.request.len()), (2, 4));
        assert_eq!(journey.hosts(), ["client", "node", "pod"]);
    }

    #[test]
    fn a_hairpin_comes_back_to_its_own_host_in_one_attempt() {
        let from = ["pod", "3.0.0.3:40", "9.0.0.9:80"];
        let request = [
            "pod out 3.0.0.3:40 9.0.0.9:80 64 0",
            "node in 3.0.0.3:40 9.0.0.9:80 64 1",
            "node out 2.0.0.2:50 3.0.0.3:8080 63 2",
            "pod in 2.0.0.2:50 3.0.0.3:8080 63 3",
        ];
        let reply = [
            "pod out 3.0.0.3:8080 2.0.0.2:50 64 4",
            "node in 3.0.0.3:8080 2.0.0.2:50 64 5",
            "node out 9.0.0.9:80 3.0.0.3:40 63 6",
            "pod in 9.0.0.9:80 3.0.0.3:40 63 7",
        ];
        let journey = journey(from, &request, &reply);
        assert_eq!((journey.attempts, journey.reply.len()), (1, 4));
        assert_eq!(journey.not_undone(), []);
        assert_eq!(journey.answers_from(), [address("9.0.0.9:80")].into());
        assert_eq!(journey.hosts(), ["pod", "node", "pod"]);
    }

    #[test]
    fn a_nodes_own_call_is_rewritten_before_it_is_first_seen() {
        let from = ["node", "2.0.0.2:40", "9.0.0.9:80"];
        let request = [
            "node out 2.0.0.2:50 3.0.0.3:8080 64 0",
            "pod in 2.0.0.2:50 3.0.0.3:8080 64 1",
        ];
        let reply = [
            "pod out 3.0.0.3:8080 2.0.0.2:50 64 2",
            "node in 3.0.0.3:8080 2.0.0.2:50 64 3",
        ];
        let answered = journey(from, &request, &reply);
        assert_eq!(answered.not_undone(), []);
        assert_eq!(answered.answers_from(), [address("9.0.0.9:80")].into());

        let stranger = [
            "pod out 4.0.0.4:8080 2.0.0.2:50 64 2",
            "node in 4.0.0.4:8080 2.0.0.2:50 64 3",
        ];
        let answered = journey(from, &request, &stranger);
        assert_eq!(not_undone(&answered), ["node", "node"]);
        assert_eq!(answered.answers_from(), [address("4.0.0.4:8080")].into());
    }

    /// What a verdict reads to prove a drop: how far the call came, and who answered.
    fn proof(journey: &Journey) -> (&str, Option<&str>) {
        let furthest = journey.request.last().map(|s| &*s.host);
        let answered_by = journey.reply.first().map(|s| &*s.host);
        (furthest.expect("it was sent"), answered_by)
    }

    /// The sightings, so many seconds later.
    fn later(texts: &[&str], seconds: u32) -> Vec<String> {
        let at = |text: &&str| {
            let (head, at) = text.rsplit_once(' ').expect("six fields");
            let at: u32 = at.parse().expect("a number");
            format!("{head} {}", at + seconds * 1_000_000)
        };
        texts.iter().map(at).collect()
    }

    fn all<'a>(parts: &[&'a [String]]) -> Vec<&'a str> {
        let parts = parts.iter().flat_map(|part| part.iter());
        parts.map(String::as_str).collect()
    }

    #[test]
    fn a_dropped_call_was_answered_by_nobody_and_came_as_far_as_who_dropped_it() {
        let dropped = journey(CALLER, &REQUEST[..2], &[]);
        assert_eq!(proof(&dropped), ("node", None));
        assert!(!dropped.came_back());
    }

    #[test]
    fn a_half_open_call_was_answered_by_the_pod_though_nothing_came_back() {
        let half_open = journey(CALLER, &REQUEST, &REPLY[..2]);
        assert_eq!(proof(&half_open), ("pod", Some("pod")));
        assert!(!half_open.came_back());
        // Also after the caller and the pod have each sent theirs again.
        let requests = [later(&REQUEST, 0), later(&REQUEST, 1)];
        let replies = [later(&REPLY[..2], 0), later(&REPLY[..1], 1)];
        let again = journey(
            CALLER,
            &all(&[&requests[0], &requests[1]]),
            &all(&[&replies[0], &replies[1]]),
        );
        assert_eq!(proof(&again), ("pod", Some("pod")));
        assert_eq!((again.attempts, again.reply.len()), (2, 1));
    }

    #[test]
    fn an_answer_to_an_earlier_attempt_alone_is_an_answer() {
        let requests = [later(&REQUEST, 0), later(&REQUEST[..2], 1)];
        let reply = later(&REPLY[..2], 0);
        let journey = journey(CALLER, &all(&[&requests[0], &requests[1]]), &all(&[&reply]));
        assert_eq!(proof(&journey), ("pod", Some("pod")));
        assert_eq!((journey.attempts, journey.request.len()), (2, 4));
    }

    #[test]
    fn an_answer_that_was_under_way_when_the_call_was_sent_again_is_the_first_attempts() {
        let requests = [later(&REQUEST, 0), later(&REQUEST[..2], 1)];
        let (sent, arrived) = (later(&REPLY[..2], 0), later(&REPLY[2..], 1));
        let journey = journey(
            CALLER,
            &all(&[&requests[0], &requests[1]]),
            &all(&[&sent, &arrived]),
        );
        assert_eq!(proof(&journey), ("pod", Some("pod")));
        assert_eq!((journey.attempts, journey.reply.len()), (2, 4));
        assert!(journey.came_back());
    }

    #[test]
    fn a_leaked_answer_was_sent_by_the_pod_whatever_address_it_came_back_with() {
        let reply = [
            "pod out 3.0.0.3:8080 1.0.0.1:40 64 4",
            "client in 3.0.0.3:8080 1.0.0.1:40 64 5",
        ];
        let leaked = journey(CALLER, &REQUEST, &reply);
        assert_eq!(proof(&leaked), ("pod", Some("pod")));
        assert!(leaked.came_back());
        assert_ne!(leaked.answers_from(), [address("2.0.0.2:80")].into());
    }

    #[test]
    fn a_refused_call_was_answered_by_who_refused_it_where_it_was_last_seen() {
        let from = IpAddr::from([2, 0, 0, 2]);
        let (type_, code) = (3, 3);
        for kind in [Kind::Rst, Kind::Icmp { type_, code, from }] {
            let request = REQUEST[..2].iter().map(|text| seen(Kind::Syn, text));
            let reply = [
                "node out 2.0.0.2:80 1.0.0.1:40 64 6",
                "client in 2.0.0.2:80 1.0.0.1:40 64 7",
            ];
            let reply = reply.iter().map(|text| seen(kind, text));
            let call = Call::new(CALLER[0], address(CALLER[1]), address(CALLER[2]));
            let refused = Journey::assemble(call, request.chain(reply).collect()).expect("seen");
            assert_eq!(proof(&refused), ("node", Some("node")));
            assert!(refused.came_back());
        }
    }

    #[test]
    fn a_datagram_has_a_journey_like_a_connection() {
        let called =
            |kind, texts: &[&str]| -> Vec<_> { texts.iter().map(|t| seen(kind, t)).collect() };
        let call = || Call::new(CALLER[0], address(CALLER[1]), address(CALLER[2]));
        let mut sightings = called(Kind::Answer, &REPLY);
        sightings.extend(called(Kind::Datagram, &REQUEST));
        let answered = Journey::assemble(call(), sightings).expect("seen");
        assert_eq!(answered.hosts(), ["client", "node", "pod"]);
        assert_eq!(
            (answered.not_undone(), answered.came_back()),
            (vec![], true)
        );
        let silent = Journey::assemble(call(), called(Kind::Datagram, &REQUEST[..2]));
        assert_eq!(proof(&silent.expect("seen")), ("node", None));
    }

    #[test]
    fn what_follows_an_accepting_answer_does_not_take_it_back() {
        let from = IpAddr::from([2, 0, 0, 2]);
        let (type_, code) = (3, 1);
        for kind in [Kind::Rst, Kind::Icmp { type_, code, from }] {
            let mut sightings: Vec<_> = REQUEST.map(|text| seen(Kind::Syn, text)).into();
            sightings.extend(REPLY[..2].iter().map(|text| seen(Kind::SynAck, text)));
            sightings.push(seen(kind, "node out 2.0.0.2:80 1.0.0.1:40 64 900"));
            sightings.push(seen(kind, "client in 2.0.0.2:80 1.0.0.1:40 64 901"));
            let call = Call::new(CALLER[0], address(CALLER[1]), address(CALLER[2]));
            let journey = Journey::assemble(call, sightings).expect("seen");
            assert_eq!(proof(&journey), ("pod", Some("pod")));
            assert!(journey.reply.iter().all(|s| s.kind == Kind::SynAck));
        }
    }

    #[test]
    fn a_call_whose_beginning_is_missing_has_no_journey() {
        let from = ["pod", "3.0.0.3:40", "9.0.0.9:80"];
        let rest = [
            "node out 2.0.0.2:50 3.0.0.3:8080 63 2",
            "pod in 2.0.0.2:50 3.0.0.3:8080 63 3",
        ];
        let sightings = rest.map(|text| seen(Kind::Syn, text)).into();
        let call = Call::new(from[0], address(from[1]), address(from[2]));
        assert_eq!(Journey::assemble(call, sightings), None);
    }

    #[test]
    fn a_reset_of_the_open_connection_is_no_part_of_the_answer() {
        let mut sightings: Vec<_> = REQUEST.map(|text| seen(Kind::Syn, text)).into();
        sightings.extend(REPLY.map(|text| seen(Kind::SynAck, text)));
        sightings.push(seen(Kind::Rst, "pod out 3.0.0.3:8080 2.0.0.2:99 64 900"));
        let call = Call::new(CALLER[0], address(CALLER[1]), address(CALLER[2]));
        let journey = Journey::assemble(call, sightings).expect("seen");
        assert_eq!(journey.reply.len(), 4);
        assert!(journey.came_back());
    }

    #[test]
    fn an_answer_lost_on_its_way_was_last_seen_there() {
        let journey = journey(CALLER, &REQUEST, &REPLY[..2]);
        let last = journey.last_seen().expect("it did not come back");
        assert_eq!((&*last.host, last.direction), ("node", Direction::In));
    }
}
