//! Numbers for Service ports, which are their keys in the kernel.

use std::collections::HashMap;

use super::element::FrontKey;

/// Where a Service port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The number of its Service.
    pub(super) service: u32,
    /// Its index among the Service's ports.
    pub(super) index: u32,
}

/// The numbers in use. A number is kept while its Service port lives, and given to another one after.
#[derive(Debug, Default)]
pub(super) struct Ids {
    slots: Vec<Option<Slot>>,
    /// Numbers that may be free: those that were, when they were put here.
    free: Vec<u32>,
    /// Numbers that an earlier process gave, by front, until all Services are known again: session affinity
    /// in the kernel goes by them.
    recovered: HashMap<FrontKey, u32>,
}

/// An earlier process gives numbers from 0 up; one beyond this was not given by it.
const MOST: u32 = 1 << 22;

impl Ids {
    /// Keeps the numbers that an earlier process gave for their Service ports.
    pub(super) fn recover(&mut self, recovered: HashMap<FrontKey, u32>) {
        let end = recovered.values().filter(|id| **id < MOST).max();
        let end = end.map_or(0, |id| *id as usize + 1);
        if self.slots.len() < end {
            self.slots.resize(end, None);
        }
        self.recovered = recovered;
    }

    /// The numbers of an earlier process that nobody claimed are free.
    pub(super) fn forget_recovered(&mut self) {
        if std::mem::take(&mut self.recovered).is_empty() {
            return;
        }
        let vacant = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_none());
        self.free = vacant.map(|(id, _)| id).collect();
    }

    /// A number for a Service port, by these fronts an earlier process's if it was known under one of them.
    pub(super) fn allocate(&mut self, slot: Slot, fronts: impl Iterator<Item = FrontKey>) -> u32 {
        let recovered = self.recovered_for(fronts);
        let id = recovered.or_else(|| self.pop_free()).unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer Service ports than 2^32")
        });
        self.slots[id as usize] = Some(slot);
        id
    }

    fn recovered_for(&self, mut fronts: impl Iterator<Item = FrontKey>) -> Option<u32> {
        if self.recovered.is_empty() {
            return None;
        }
        fronts.find_map(|front| {
            let id = *self.recovered.get(&front)?;
            matches!(self.slots.get(id as usize), Some(None)).then_some(id)
        })
    }

    fn pop_free(&mut self) -> Option<u32> {
        loop {
            let id = self.free.pop()?;
            if self.slots[id as usize].is_none() {
                return Some(id);
            }
        }
    }

    /// Where a Service port is now.
    pub(super) fn place(&mut self, id: u32, slot: Slot) {
        self.slots[id as usize] = Some(slot);
    }

    /// Where the Service port of a number is.
    pub(super) fn slot(&self, id: u32) -> Slot {
        self.slots[id as usize].expect("a number in use has a slot")
    }

    /// The number is free again.
    pub(super) fn release(&mut self, id: u32) {
        self.slots[id as usize] = None;
        self.free.push(id);
    }
}
