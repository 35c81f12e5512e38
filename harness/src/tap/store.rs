//! The last sightings of all taps, in a bounded store that finds those of one connection fast.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::packet::{Direction, Packet};

/// A tapped interface: its number in [`super::Taps`].
pub(super) type Place = u16;

/// One packet at one interface, without the names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) place: Place,
    pub(super) direction: Direction,
    pub(super) packet: Packet,
    pub(super) at: Duration,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many records are kept at least, however old.
    pub(super) enough: usize,
    /// Beyond these, a record is kept until one comes that is younger by this.
    pub(super) age: Duration,
    /// No more than these are kept, however young.
    pub(super) most: usize,
}

/// A record, and its link to an older one: a chain in the ring itself costs no allocation each.
#[derive(Debug)]
struct Entry {
    record: Record,
    same_sequence: Option<u64>,
}

/// A ring of the last records. Entries are numbered from 0 on, for ever; a link to a number that
/// has left the ring ends a chain.
#[derive(Debug)]
pub(super) struct Store {
    limits: Limits,
    entries: VecDeque<Entry>,
    /// The number of the oldest entry, which is how many have been forgotten.
    first: u64,
    /// The time of the youngest record that has been forgotten.
    forgotten_until: Option<Duration>,
    by_sequence: HashMap<u32, u64>,
}

impl Store {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            first: 0,
            forgotten_until: None,
            by_sequence: HashMap::new(),
        }
    }

    pub(super) fn push(&mut self, record: Record) {
        // Two at most: to forget all that a pause has made old would keep the rings waiting.
        for _ in 0..2 {
            if self.is_full(record.at) {
                self.forget_oldest();
            }
        }
        let number = self.first + self.entries.len() as u64;
        let same_sequence = self.by_sequence.insert(record.packet.sequence, number);
        self.entries.push_back(Entry {
            record,
            same_sequence,
        });
    }

    /// Whether the oldest record has to go before one of this time comes.
    fn is_full(&self, now: Duration) -> bool {
        let Some(oldest) = self.entries.front() else {
            return false;
        };
        let old = now.saturating_sub(oldest.record.at) >= self.limits.age;
        let limit = if old {
            self.limits.enough
        } else {
            self.limits.most
        };
        self.entries.len() >= limit
    }

    fn forget_oldest(&mut self) {
        let Some(Entry { record, .. }) = self.entries.pop_front() else {
            return;
        };
        // An index entry that points at the forgotten record has no younger one to point at.
        let sequence = record.packet.sequence;
        if self.by_sequence.get(&sequence) == Some(&self.first) {
            self.by_sequence.remove(&sequence);
        }
        self.first += 1;
        // Records come in the order in which the taps are read, which is not quite that of time.
        self.forgotten_until = self.forgotten_until.max(Some(record.at));
    }

    /// All records of one initial sequence number, youngest first.
    pub(super) fn of_sequence(&self, sequence: u32) -> impl Iterator<Item = &Record> {
        let entry = move |number: u64| {
            let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
            self.entries.get(position)
        };
        let newest = self.by_sequence.get(&sequence).copied();
        let older = move |newer: &&Entry| newer.same_sequence.and_then(entry);
        std::iter::successors(newest.and_then(entry), older).map(|entry| &entry.record)
    }

    /// The time of the youngest record that has been forgotten: of later ones, all are here.
    pub(super) fn forgotten_until(&self) -> Option<Duration> {
        self.forgotten_until
    }

    /// How many records have been pushed out by younger ones.
    pub(super) fn forgotten(&self) -> u64 {
        self.first
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Kind;

    fn syn(sequence: u32, place: Place, at: u64) -> Record {
        Record {
            place,
            direction: Direction::Out,
            packet: Packet {
                source: ([10, 0, 0, 1], 1_000).into(),
                destination: ([10, 0, 0, 2], 80).into(),
                ttl: 64,
                kind: Kind::Syn,
                sequence,
            },
            at: Duration::from_secs(at),
        }
    }

    fn store() -> Store {
        Store::new(Limits {
            enough: 2,
            age: Duration::from_secs(10),
            most: 4,
        })
    }

    fn places(store: &Store, sequence: u32) -> Vec<Place> {
        let records = store.of_sequence(sequence);
        records.map(|record| record.place).collect()
    }

    #[test]
    fn records_are_found_by_sequence_youngest_first() {
        let mut store = store();
        store.push(syn(7, 0, 0));
        store.push(syn(8, 1, 0));
        store.push(syn(7, 2, 0));
        assert_eq!(places(&store, 7), [2, 0]);
        assert_eq!(places(&store, 8), [1]);
        assert!(places(&store, 9).is_empty());
    }

    #[test]
    fn enough_records_are_kept_however_old_and_more_while_they_are_young() {
        let mut store = store();
        for (place, at) in (0..).zip([1, 2, 11]) {
            store.push(syn(7, place, at));
        }
        // The first has left: it was ten seconds old, and two were enough.
        assert_eq!(places(&store, 7), [2, 1]);
        assert_eq!(store.forgotten_until(), Some(Duration::from_secs(1)));
        store.push(syn(7, 3, 11));
        assert_eq!(places(&store, 7), [3, 2, 1]);
        store.push(syn(7, 4, 30));
        assert_eq!(places(&store, 7), [4, 3]);
    }

    #[test]
    fn a_full_store_forgets_the_oldest_and_its_index_does_not_grow() {
        let mut store = store();
        for (place, sequence) in (0..).zip([7, 7, 8, 9, 10, 10]) {
            store.push(syn(sequence, place, 0));
        }
        assert!(places(&store, 7).is_empty());
        assert_eq!(places(&store, 10), [5, 4]);
        assert_eq!((store.len(), store.forgotten()), (4, 2));
        assert_eq!(store.by_sequence.len(), 3);
    }
}
