//! The last sightings of all taps, in a bounded store that finds those of one connection fast.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::packet::{Direction, Kind, Packet};

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

/// A record, and its links to older ones: chains in the ring itself cost no allocation each.
#[derive(Debug)]
struct Entry {
    record: Record,
    same_sequence: Option<u64>,
    same_caller: Option<u64>,
}

/// A ring of the last records. Entries are numbered from 0 on, for ever; a link to a number that
/// has left the ring ends a chain.
#[derive(Debug)]
pub(super) struct Store {
    limit: usize,
    entries: VecDeque<Entry>,
    /// The number of the oldest entry, which is how many have been forgotten.
    first: u64,
    by_sequence: HashMap<u32, u64>,
    /// The last SYN sent from a source address, by any host.
    by_caller: HashMap<SocketAddr, u64>,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            entries: VecDeque::new(),
            first: 0,
            by_sequence: HashMap::new(),
            by_caller: HashMap::new(),
        }
    }

    pub(super) fn push(&mut self, record: Record) {
        if self.entries.len() == self.limit {
            self.forget_oldest();
        }
        let number = self.first + self.entries.len() as u64;
        let Packet {
            sequence, source, ..
        } = record.packet;
        let same_sequence = self.by_sequence.insert(sequence, number);
        let same_caller = (record.packet.kind == Kind::Syn && record.direction == Direction::Out)
            .then(|| self.by_caller.insert(source, number))
            .flatten();
        self.entries.push_back(Entry {
            record,
            same_sequence,
            same_caller,
        });
    }

    fn forget_oldest(&mut self) {
        let Some(Entry { record, .. }) = self.entries.pop_front() else {
            return;
        };
        // An index entry that points at the forgotten record has no younger one to point at.
        let Packet {
            sequence, source, ..
        } = record.packet;
        if self.by_sequence.get(&sequence) == Some(&self.first) {
            self.by_sequence.remove(&sequence);
        }
        if self.by_caller.get(&source) == Some(&self.first) {
            self.by_caller.remove(&source);
        }
        self.first += 1;
    }

    /// All records of one initial sequence number, youngest first.
    pub(super) fn of_sequence(&self, sequence: u32) -> impl Iterator<Item = &Record> {
        let newest = self.by_sequence.get(&sequence).copied();
        self.chain(newest, |entry| entry.same_sequence)
    }

    /// All SYNs that any host sent from this source address, youngest first.
    pub(super) fn of_caller(&self, source: SocketAddr) -> impl Iterator<Item = &Record> {
        let newest = self.by_caller.get(&source).copied();
        self.chain(newest, |entry| entry.same_caller)
    }

    fn chain(
        &self,
        newest: Option<u64>,
        older: impl Fn(&Entry) -> Option<u64>,
    ) -> impl Iterator<Item = &Record> {
        let entry = move |number: u64| {
            let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
            self.entries.get(position)
        };
        std::iter::successors(newest.and_then(entry), move |e| older(e).and_then(entry))
            .map(|entry| &entry.record)
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

    fn syn(sequence: u32, port: u16, place: Place) -> Record {
        Record {
            place,
            direction: Direction::Out,
            packet: Packet {
                source: ([10, 0, 0, 1], port).into(),
                destination: ([10, 0, 0, 2], 80).into(),
                ttl: 64,
                kind: Kind::Syn,
                sequence,
            },
            at: Duration::ZERO,
        }
    }

    fn places<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Place> {
        records.map(|record| record.place).collect()
    }

    #[test]
    fn records_are_found_by_sequence_and_by_caller_youngest_first() {
        let mut store = Store::new(10);
        store.push(syn(7, 1_000, 0));
        store.push(syn(8, 1_000, 1));
        store.push(syn(7, 2_000, 2));
        assert_eq!(places(store.of_sequence(7)), [2, 0]);
        assert_eq!(
            places(store.of_caller(([10, 0, 0, 1], 1_000).into())),
            [1, 0]
        );
        assert!(places(store.of_sequence(9)).is_empty());
    }

    #[test]
    fn a_full_store_forgets_the_oldest_and_its_index_does_not_grow() {
        let mut store = Store::new(2);
        for (place, sequence) in (0..).zip([7, 7, 7, 8, 9]) {
            store.push(syn(sequence, 1_000, place));
        }
        assert!(places(store.of_sequence(7)).is_empty());
        assert_eq!(
            places(store.of_caller(([10, 0, 0, 1], 1_000).into())),
            [4, 3]
        );
        assert_eq!((store.len(), store.forgotten()), (2, 3));
        assert_eq!((store.by_sequence.len(), store.by_caller.len()), (2, 1));
    }
}
