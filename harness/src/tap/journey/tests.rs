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
    let called = |kind, texts: &[&str]| -> Vec<_> { texts.iter().map(|t| seen(kind, t)).collect() };
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
