//! Transactions from what is desired. Nothing here talks to the kernel.

use std::collections::BTreeSet;

use ipnet::IpNet;
use onehop_nft::{Batch, Chain, Element, Rule, Table};

use super::classes::{Class, Pick};
use super::delta::Delta;
use super::element::{Key, Value};
use super::encode;
use super::layout::{self, Ruled};
use super::options::Options;
use super::picks::{class_rules, pick_rules};
use super::read::Found;
use super::state::State;
use crate::model::Family;

/// Elements that are encoded at a time: they are large while they are not.
const CHUNK: usize = 256;

/// The table of a family.
pub(super) fn table(family: Family) -> Table {
    Table::new(layout::table_family(family), layout::TABLE)
}

/// The picks that a class's rules go to.
fn picks(class: &Class) -> impl Iterator<Item = Pick> {
    class.cluster_pick().into_iter().chain(class.local_pick())
}

/// The names of the chains that a class needs.
pub(super) fn chains_of(class: &Class) -> impl Iterator<Item = String> {
    let own = class.translates().then(|| class.chain());
    picks(class).map(|pick| pick.chain()).chain(own)
}

/// The chains of a class with their rules, those that others go to first.
pub(super) fn ruled_chains_of(
    class: &Class,
    family: Family,
    options: &Options,
) -> impl Iterator<Item = Ruled> {
    let ruled = |name, rules| Ruled {
        chain: Chain::regular(name),
        rules,
    };
    let picks = picks(class).map(move |pick| ruled(pick.chain(), pick_rules(&pick, family)));
    let own = class.translates();
    let own = own.then(|| ruled(class.chain(), class_rules(class, family, options)));
    picks.chain(own)
}

/// Writes the parts of one family's table into a transaction.
pub(super) struct Writer<'a> {
    pub(super) batch: &'a mut Batch,
    pub(super) family: Family,
    table: Table,
}

impl<'a> Writer<'a> {
    pub(super) fn new(batch: &'a mut Batch, family: Family) -> Self {
        Self {
            batch,
            family,
            table: table(family),
        }
    }

    /// The changed elements, and the chains of new classes that `present` lacks. Returns those chains.
    pub(super) fn delta(
        &mut self,
        delta: &Delta,
        options: &Options,
        present: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let mut made = BTreeSet::new();
        for class in &delta.classes {
            for ruled in ruled_chains_of(class, self.family, options) {
                let name = &ruled.chain.name;
                if !present.contains(name) && made.insert(name.clone()) {
                    self.chain(&ruled);
                }
            }
        }
        self.delete(delta.removed());
        self.add(delta.added());
        made
    }

    /// All of the table, in place of what is there, but for what clients' affinity is. The names of the
    /// chains that classes need are returned.
    ///
    /// Base chains stay and get other rules: a packet then sees the old rules or the new. Of an old chain and
    /// a new one in its place it could see neither.
    pub(super) fn replace(
        &mut self,
        found: &Found,
        state: &State,
        options: &Options,
        service_cidrs: &[IpNet],
    ) -> BTreeSet<String> {
        self.batch.add_table(&self.table);
        for chain in &found.chains {
            self.batch.flush_chain(&self.table, chain);
        }
        for set in layout::sets(self.family) {
            self.batch.add_set(&self.table, &set);
            if set.name != layout::AFFINITY && found.sets.contains(&set.name) {
                self.batch.flush_set(&self.table, &set.name);
            }
        }
        for set in &found.strange_sets {
            self.batch.delete_set(&self.table, set);
        }
        self.fixed_chains(options);
        self.unallocated(service_cidrs);
        let mut made = BTreeSet::new();
        for class in state.classes(self.family) {
            for ruled in ruled_chains_of(&class, self.family, options) {
                if made.insert(ruled.chain.name.clone()) {
                    self.chain(&ruled);
                }
            }
        }
        self.add(state.elements(self.family));
        made
    }

    /// A table from nothing, whatever is there.
    pub(super) fn destroy(&mut self) {
        self.batch.destroy_table(&self.table);
    }

    fn fixed_chains(&mut self, options: &Options) {
        let chains = layout::chains(self.family, options);
        for ruled in &chains {
            self.batch.add_chain(&self.table, &ruled.chain);
        }
        for ruled in &chains {
            self.rules(&ruled.chain.name, &ruled.rules);
        }
    }

    /// What is dropped because no Service has its address.
    pub(super) fn unallocated(&mut self, service_cidrs: &[IpNet]) {
        self.batch.flush_chain(&self.table, layout::UNALLOCATED);
        let rules = layout::unallocated(self.family, service_cidrs);
        self.rules(layout::UNALLOCATED, &rules);
    }

    /// A chain that may be there, left over.
    fn chain(&mut self, ruled: &Ruled) {
        self.batch.add_chain(&self.table, &ruled.chain);
        self.batch.flush_chain(&self.table, &ruled.chain.name);
        self.rules(&ruled.chain.name, &ruled.rules);
    }

    fn rules(&mut self, chain: &str, rules: &[Rule]) {
        for rule in rules {
            self.batch.add_rule(&self.table, chain, rule);
        }
    }

    /// Chains that nothing goes to any more.
    pub(super) fn delete_chains<'b>(&mut self, chains: impl Iterator<Item = &'b String> + Clone) {
        for chain in chains.clone() {
            self.batch.flush_chain(&self.table, chain);
        }
        for chain in chains {
            self.batch.delete_chain(&self.table, chain);
        }
    }

    fn delete(&mut self, keys: impl Iterator<Item = Key>) {
        let mut chunks = Chunks::default();
        for key in keys {
            chunks.put(encode::set_of(&key), encode::key(&key), |set, elements| {
                self.batch.delete_elements(&self.table, set, elements);
            });
        }
        chunks.finish(|set, elements| self.batch.delete_elements(&self.table, set, elements));
    }

    fn add(&mut self, elements: impl Iterator<Item = (Key, Value)>) {
        let mut chunks = Chunks::default();
        for (key, value) in elements {
            let element = encode::element(&key, &value);
            chunks.put(encode::set_of(&key), element, |set, elements| {
                self.batch.create_elements(&self.table, set, elements);
            });
        }
        chunks.finish(|set, elements| self.batch.create_elements(&self.table, set, elements));
    }
}

/// Elements by set, given on as soon as they are many.
#[derive(Default)]
struct Chunks {
    sets: Vec<(&'static str, Vec<Element>)>,
}

impl Chunks {
    fn put(&mut self, set: &'static str, element: Element, write: impl FnOnce(&str, &[Element])) {
        let known = self.sets.iter().position(|(name, _)| *name == set);
        let position = known.unwrap_or_else(|| {
            self.sets.push((set, Vec::new()));
            self.sets.len() - 1
        });
        let elements = &mut self.sets[position].1;
        elements.push(element);
        if elements.len() == CHUNK {
            write(set, elements);
            elements.clear();
        }
    }

    fn finish(self, mut write: impl FnMut(&str, &[Element])) {
        for (set, elements) in self.sets {
            if !elements.is_empty() {
                write(set, &elements);
            }
        }
    }
}
