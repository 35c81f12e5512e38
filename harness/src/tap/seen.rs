//! What taps have seen of some calls, and what they may have missed meanwhile. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capture::TapError;
use super::journey::{Call, Journey};
use super::packet::{Direction, Sighting};

/// Packets that one tap lost, and the time in which it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The host of the tap.
    pub host: String,
    /// Its interface.
    pub interface: String,
    /// When it had lost none of these yet, as [`Taps::now`](super::Taps::now).
    pub from: Duration,
    /// When it had lost them all.
    pub to: Duration,
    /// How many.
    pub packets: u64,
}

/// Whose clocks have stamped what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    /// One machine's: stamps tell the order.
    #[default]
    One,
    /// Those of several machines, which differ by more than a packet takes: between hosts, hops tell
    /// the order.
    Several,
}

/// How far the clocks of two machines may be apart. A sender waits twice as long before it sends again.
const APART: Duration = Duration::from_millis(500);

/// What taps have seen of calls by their sequence numbers. A journey may cross the hosts of several
/// [`Taps`](super::Taps): what each has seen is [put together](Self::and) before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Of each number that was asked for, in that order.
    pub(super) sightings: Vec<Vec<Sighting>>,
    pub(super) losses: Vec<Loss>,
    /// The time of the youngest sighting that has been forgotten: of later ones, all are here.
    pub(super) forgotten_until: Option<Duration>,
}

impl Seen {
    /// Adds what other taps have seen of the same calls.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        if self.sightings.is_empty() {
            self.sightings = other.sightings;
        } else {
            let pairs = self.sightings.iter_mut().zip(other.sightings);
            pairs.for_each(|(own, others)| own.extend(others));
        }
        self.losses.extend(other.losses);
        self.forgotten_until = self.forgotten_until.max(other.forgotten_until);
        self
    }

    /// The journeys of these calls, in the order in which their numbers were asked for. One that no
    /// tap saw has none: a host can refuse or drop a call of its own before it reaches any
    /// interface.
    ///
    /// `since` is [`Taps::now`](super::Taps::now) of before the first of them was made. What the
    /// taps lost before that is no concern of these.
    ///
    /// # Errors
    /// When packets were lost at the time, or sightings of it are forgotten.
    pub fn journeys(
        self,
        since: Duration,
        calls: impl IntoIterator<Item = Call>,
        clocks: Clocks,
    ) -> Result<Vec<Option<Journey>>, TapError> {
        let Self {
            sightings,
            losses,
            forgotten_until,
        } = self;
        let calls = calls.into_iter().zip(sightings);
        calls
            .map(|(call, sightings)| {
                let sightings = of_its_time(&call, since, sightings, clocks);
                let sightings = match clocks {
                    Clocks::One => sightings,
                    Clocks::Several => stamped_by_hops(&call, sightings),
                };
                let journey = Journey::assemble(call, sightings);
                // A call that no tap saw may be among what was lost or forgotten since it can have
                // been made.
                let began = journey.as_ref().map_or(since, |j| j.request[0].at);
                let lost = match &journey {
                    Some(journey) => lost_during(&losses, journey),
                    None => lost_since(&losses, since),
                };
                if let Some(loss) = lost {
                    return Err(TapError::Lost(loss.clone()));
                }
                if forgotten_until.is_some_and(|at| began <= at) {
                    return Err(TapError::Forgotten);
                }
                Ok(journey)
            })
            .collect()
    }
}

/// The sightings that can be this call's: from when it was made until its answer was there.
///
/// Others may bear its number by chance: a cluster's own connections have numbers that their kernels draw. Some 10^5 calls of
/// a run against as many of those would meet once in a while, in a memory of many seconds; in the milliseconds of a
/// call they do not.
fn of_its_time(
    call: &Call,
    since: Duration,
    mut sightings: Vec<Sighting>,
    clocks: Clocks,
) -> Vec<Sighting> {
    let apart = match clocks {
        Clocks::One => Duration::ZERO,
        Clocks::Several => APART,
    };
    sightings.retain(|s| s.at + apart >= since);
    let at_caller = |calls: bool, direction: Direction| {
        let of = move |s: &&Sighting| s.kind.is_call() == calls && s.direction == direction;
        sightings.iter().filter(|s| s.host == call.from).filter(of)
    };
    // A caller may be a node, which passes others on: those have fewer hops left.
    let left = at_caller(true, Direction::Out);
    let most = left.clone().map(|s| s.ttl).max();
    let own: Vec<_> = left.filter(|s| Some(s.ttl) == most).collect();
    let answers = |s: &&Sighting| {
        let matches = |own: &&Sighting| {
            (own.source, own.destination) == (s.destination, s.source) && own.at <= s.at
        };
        own.iter().any(matches)
    };
    let ended = at_caller(false, Direction::In).filter(answers);
    if let Some(ended) = ended.map(|s| s.at).max() {
        sightings.retain(|s| s.at <= ended + apart);
    }
    sightings
}

/// The same sightings with stamps that follow from their hops: every router takes one from what a packet
/// has left to live, and on a host itself its own stamps tell.
///
/// Each belongs to the last transmission that the caller's own stamps say was sent before it.
fn stamped_by_hops(call: &Call, mut sightings: Vec<Sighting>) -> Vec<Sighting> {
    sightings.sort_by_key(|s| s.at);
    let sent: Vec<Duration> = sightings
        .iter()
        .filter(|s| s.host == call.from && s.direction == Direction::Out && s.kind.is_call())
        .map(|s| s.at)
        .collect();
    let most = |calls: bool| {
        let ttls = sightings.iter().filter(|s| s.kind.is_call() == calls);
        ttls.map(|s| s.ttl).max().unwrap_or_default()
    };
    let (called_with, answered_with) = (most(true), most(false));
    let step = Duration::from_micros(2);
    for sighting in &mut sightings {
        let before = sent.iter().rev().find(|at| **at <= sighting.at + APART);
        let began = before.or(sent.first()).copied().unwrap_or(sighting.at);
        let (lead, most) = if sighting.kind.is_call() {
            (Duration::ZERO, called_with)
        } else {
            (APART / 2, answered_with)
        };
        let hops = u32::from(most.saturating_sub(sighting.ttl));
        let arrived = u32::from(sighting.direction == Direction::In);
        sighting.at = began + lead + step * hops + step / 2 * arrived;
    }
    sightings
}

/// A loss while the journey was under way. One that came back was under way until then; one that
/// did not may have lost its end at any time since.
fn lost_during<'a>(losses: &'a [Loss], journey: &Journey) -> Option<&'a Loss> {
    let all = || journey.request.iter().chain(&journey.reply);
    let (began, ended) = (
        all().map(|s| s.at).min().unwrap_or_default(),
        all().map(|s| s.at).max().unwrap_or_default(),
    );
    let open = !journey.came_back();
    let overlaps = |loss: &&Loss| loss.to >= began && (open || loss.from <= ended);
    losses.iter().find(overlaps)
}

/// A loss that may have been at this time or later.
fn lost_since(losses: &[Loss], since: Duration) -> Option<&Loss> {
    losses.iter().find(|loss| loss.to >= since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Kind;

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

    /// What taps have seen of one call, with one loss of three packets.
    fn seen(sightings: Vec<Sighting>, from: Duration, to: Duration) -> Seen {
        let loss = Loss {
            host: "a".to_owned(),
            interface: "lo".to_owned(),
            from,
            to,
            packets: 3,
        };
        Seen {
            sightings: vec![sightings],
            losses: vec![loss],
            forgotten_until: None,
        }
    }

    /// Whether a journey from 10 ms on, answered at 12 ms or not at all, is spoilt by one loss.
    fn is_lost(answered: bool, from: Duration, to: Duration) -> bool {
        let mut sightings = vec![sighting("a", Direction::Out, Kind::Syn, 10 * MS)];
        if answered {
            sightings.push(sighting("a", Direction::In, Kind::SynAck, 12 * MS));
        }
        let journeys = seen(sightings, from, to).journeys(Duration::ZERO, [call()], Clocks::One);
        matches!(journeys, Err(TapError::Lost(_)))
    }

    #[test]
    fn a_loss_spoils_the_journeys_of_its_time_and_no_others() {
        assert!(!is_lost(true, 2 * MS, 9 * MS));
        assert!(is_lost(true, 2 * MS, 11 * MS));
        assert!(is_lost(true, 11 * MS, 90 * MS));
        assert!(!is_lost(true, 13 * MS, 90 * MS));
        assert!(is_lost(false, 13 * MS, 90 * MS));
    }

    #[test]
    fn a_call_that_no_tap_saw_may_be_lost_with_a_loss_since_it_was_made_and_no_other() {
        let seen = seen(Vec::new(), 20 * MS, 30 * MS);
        let unseen = |since: Duration| {
            let journeys = seen.clone().journeys(since, [call()], Clocks::One);
            journeys.map(|journeys| journeys[0].is_some())
        };
        assert!(matches!(unseen(10 * MS), Err(TapError::Lost(_))));
        assert!(matches!(unseen(30 * MS), Err(TapError::Lost(_))));
        assert!(matches!(unseen(31 * MS), Ok(false)));
    }

    #[test]
    fn a_call_that_no_tap_saw_may_be_forgotten_with_what_was_seen_since_it_was_made() {
        let seen = Seen {
            sightings: vec![Vec::new()],
            losses: Vec::new(),
            forgotten_until: Some(10 * MS),
        };
        let unseen = |since: Duration| seen.clone().journeys(since, [call()], Clocks::One);
        assert!(matches!(unseen(10 * MS), Err(TapError::Forgotten)));
        assert!(unseen(11 * MS).is_ok());
    }

    #[test]
    fn another_connection_with_the_same_number_does_not_show_in_a_journey() {
        use Direction::{In, Out};
        let between = |host: &str, direction, kind, ends: [u8; 2], at| Sighting {
            source: ([10, 0, 0, ends[0]], 40).into(),
            destination: ([10, 0, 0, ends[1]], 80).into(),
            ..sighting(host, direction, kind, at)
        };
        // The caller is a node, and passes the other one on, before or after.
        let other = |began: Duration| {
            let out = between("x", Out, Kind::Syn, [9, 3], began);
            let on = |direction, ttl, at| Sighting {
                ttl,
                ..between("a", direction, Kind::Syn, [9, 3], at)
            };
            [out, on(In, 64, began + MS), on(Out, 63, began + 2 * MS)]
        };
        let mut own = vec![
            between("a", Out, Kind::Syn, [1, 2], 100 * MS),
            between("b", In, Kind::Syn, [1, 2], 101 * MS),
        ];
        let answer = |host: &str, direction, at| Sighting {
            source: ([10, 0, 0, 2], 80).into(),
            destination: ([10, 0, 0, 1], 40).into(),
            ..sighting(host, direction, Kind::SynAck, at)
        };
        own.extend([answer("b", Out, 102 * MS), answer("a", In, 103 * MS)]);
        for began in [10 * MS, 150 * MS] {
            let seen = Seen {
                sightings: vec![own.iter().cloned().chain(other(began)).collect()],
                ..Seen::default()
            };
            let journeys = seen.journeys(90 * MS, [call()], Clocks::One);
            let journey = journeys.expect("none lost")[0].clone();
            let journey = journey.expect("the call was seen");
            assert_eq!(journey.hosts(), ["a", "b"], "{began:?}");
            assert!(journey.came_back(), "{began:?}");
        }
    }

    #[test]
    fn a_journey_is_put_together_of_what_several_taps_have_seen() {
        let part = |sighting| Seen {
            sightings: vec![vec![sighting]],
            ..Seen::default()
        };
        let answer = part(sighting("b", Direction::Out, Kind::SynAck, 12 * MS));
        let called = part(sighting("a", Direction::Out, Kind::Syn, 10 * MS));
        let arrived = part(sighting("b", Direction::In, Kind::Syn, 11 * MS));
        let all = Seen::default().and(answer).and(called).and(arrived);
        let journeys = all
            .journeys(Duration::ZERO, [call()], Clocks::One)
            .expect("none lost");
        let journey = journeys[0].as_ref().expect("the call was seen");
        assert_eq!(journey.hosts(), ["a", "b"]);
        assert_eq!(journey.reply.len(), 1);
    }

    /// A call from a by b to c, and the answer, with the hosts' clocks apart by this many
    /// milliseconds, of which 100 are none.
    fn apart(clocks: [u64; 3]) -> Vec<Sighting> {
        use Direction::{In, Out};
        let steps = [
            ("a", Out, Kind::Syn, 64),
            ("b", In, Kind::Syn, 64),
            ("b", Out, Kind::Syn, 63),
            ("c", In, Kind::Syn, 63),
            ("c", Out, Kind::SynAck, 64),
            ("b", In, Kind::SynAck, 64),
            ("b", Out, Kind::SynAck, 63),
            ("a", In, Kind::SynAck, 63),
        ];
        let stamped = (0..)
            .zip(steps)
            .map(|(step, (host, direction, kind, ttl))| {
                let clock = match host {
                    "a" => clocks[0],
                    "b" => clocks[1],
                    _ => clocks[2],
                };
                let at = Duration::from_millis(clock) + Duration::from_micros(20 * step);
                Sighting {
                    ttl,
                    ..sighting(host, direction, kind, at)
                }
            });
        stamped.collect()
    }

    #[test]
    fn clocks_of_several_machines_do_not_change_a_journey() {
        for clocks in [
            [100, 100, 100],
            [100, 50, 150],
            [150, 100, 50],
            [100, 5, 190],
        ] {
            let seen = Seen {
                sightings: vec![apart(clocks)],
                ..Seen::default()
            };
            let journeys = seen.journeys(Duration::ZERO, [call()], Clocks::Several);
            let journey = journeys.expect("none lost")[0]
                .clone()
                .expect("it was seen");
            assert_eq!(journey.hosts(), ["a", "b", "c"], "{clocks:?}");
            assert_eq!(journey.reply.len(), 4, "{clocks:?}");
            assert!(journey.came_back(), "{clocks:?}");
        }
    }
}
