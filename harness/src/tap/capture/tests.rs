use super::*;
use crate::tap::Kind;
use crate::tap::packet::Packet;

const MS: Duration = Duration::from_millis(1);

fn sighting(host: &str, direction: Direction, kind: Kind, at: Duration) -> Sighting {
    Sighting {
        host: host.to_owned(),
        interface: "eth0".to_owned(),
        direction,
        source: ([10, 0, 0, 1], 40).into(),
        destination: ([10, 0, 0, 2], 80).into(),
        ttl: 64,
        kind,
        sequence: 7,
        at,
    }
}

fn call() -> Call {
    Call::new("a", ([10, 0, 0, 1], 40).into(), ([10, 0, 0, 2], 80).into())
}

/// Taps that remember two sightings, with one loss of three packets.
fn taps(from: Duration, to: Duration) -> Shared {
    let limits = Limits {
        enough: 2,
        age: Duration::ZERO,
        most: 2,
    };
    let mut shared = Shared::new(Vec::new(), Duration::ZERO, limits);
    let packets = 3;
    shared.losses.push(Loss { from, to, packets });
    shared
}

/// A journey from 10 ms on, answered at 12 ms or not at all, read by taps with one loss.
fn lost(answered: bool, from: Duration, to: Duration) -> u64 {
    let mut sightings = vec![sighting("a", Direction::Out, Kind::Syn, 10 * MS)];
    if answered {
        sightings.push(sighting("a", Direction::In, Kind::SynAck, 12 * MS));
    }
    let journey = Journey::assemble(call(), sightings).expect("the call was seen");
    taps(from, to).lost_during(&journey)
}

#[test]
fn a_loss_spoils_the_journeys_of_its_time_and_no_others() {
    assert_eq!(lost(true, 2 * MS, 9 * MS), 0);
    assert_eq!(lost(true, 2 * MS, 11 * MS), 3);
    assert_eq!(lost(true, 11 * MS, 90 * MS), 3);
    assert_eq!(lost(true, 13 * MS, 90 * MS), 0);
    assert_eq!(lost(false, 13 * MS, 90 * MS), 3);
}

#[test]
fn a_call_that_no_tap_saw_may_be_lost_with_a_loss_since_it_was_made_and_no_other() {
    let taps = taps(20 * MS, 30 * MS);
    let unseen = |since: Duration| taps.journey(since, call(), 7);
    assert!(matches!(unseen(10 * MS), Err(TapError::Lost(3))));
    assert!(matches!(unseen(30 * MS), Err(TapError::Lost(3))));
    assert!(matches!(unseen(31 * MS), Ok(None)));
}

#[test]
fn a_call_that_no_tap_saw_may_be_forgotten_with_what_was_seen_since_it_was_made() {
    let mut taps = taps(Duration::ZERO, Duration::ZERO);
    for at in [10, 20, 30] {
        let Sighting {
            source,
            destination,
            ttl,
            kind,
            ..
        } = sighting("a", Direction::Out, Kind::Syn, at * MS);
        let packet = Packet {
            source,
            destination,
            ttl,
            kind,
            sequence: 8,
        };
        taps.store.push(Record {
            place: 0,
            direction: Direction::Out,
            packet,
            at: at * MS,
        });
    }
    let unseen = |since: Duration| taps.journey(since, call(), 7);
    assert!(matches!(unseen(10 * MS), Err(TapError::Forgotten)));
    assert!(matches!(unseen(11 * MS), Ok(None)));
}
