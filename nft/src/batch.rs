//! A transaction: messages that the kernel takes all together or not at all.

use crate::encode;
use crate::netlink::{ATTRIBUTE_LIMIT, Builder, flags, kind};
use crate::object::{Chain, Element, Rule, Set, Table};

/// The subsystem of nftables in netfilter (`NFNL_SUBSYS_NFTABLES`).
pub(crate) const NFTABLES: u8 = 10;

/// The sequence number of the message that begins a transaction; the others follow.
pub(crate) const FIRST_SEQUENCE: u32 = 1;

/// Where the number of the generation is in the first message.
const GENERATION_AT: usize = 24;

/// Operations (`NFT_MSG_…`).
pub(crate) mod operation {
    pub(crate) const NEW_TABLE: u8 = 0;
    pub(crate) const GET_TABLE: u8 = 1;
    pub(crate) const DELETE_TABLE: u8 = 2;
    pub(crate) const NEW_CHAIN: u8 = 3;
    pub(crate) const GET_CHAIN: u8 = 4;
    pub(crate) const DELETE_CHAIN: u8 = 5;
    pub(crate) const NEW_RULE: u8 = 6;
    pub(crate) const GET_RULE: u8 = 7;
    pub(crate) const DELETE_RULE: u8 = 8;
    pub(crate) const NEW_SET: u8 = 9;
    pub(crate) const GET_SET: u8 = 10;
    pub(crate) const DELETE_SET: u8 = 11;
    pub(crate) const NEW_ELEMENT: u8 = 12;
    pub(crate) const GET_ELEMENT: u8 = 13;
    pub(crate) const DELETE_ELEMENT: u8 = 14;
    pub(crate) const NEW_GENERATION: u8 = 15;
    pub(crate) const GET_GENERATION: u8 = 16;
    pub(crate) const TRACE: u8 = 17;
}

/// A transaction that is being written, for [`Netfilter::commit`](crate::Netfilter::commit).
///
/// Objects have to be added before what refers to them: a table, then its chains and sets, then
/// rules and elements. Deleting goes the other way round.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    builder: Builder,
    /// Where each message begins; the first is the transaction's begin.
    starts: Vec<usize>,
    next_set: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        let mut batch = Self {
            builder: Builder::new(),
            starts: Vec::new(),
            next_set: 0,
        };
        batch.clear();
        batch
    }

    /// Makes it empty, and keeps its memory for the next transaction.
    pub fn clear(&mut self) {
        self.builder.clear();
        self.starts.clear();
        self.next_set = 0;
        self.starts.push(0);
        let begin = |b: &mut Builder| b.be32(encode::BATCH_GENERATION, 0);
        self.builder.message(
            kind::BATCH_BEGIN,
            0,
            FIRST_SEQUENCE,
            (0, u16::from(NFTABLES)),
            begin,
        );
    }

    /// Whether it has nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.len() == 1
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.builder.len()
    }

    /// The kernel refuses it ([`Error::GenerationChanged`](crate::Error::GenerationChanged)) unless
    /// this is still the generation, so that what was read before is still true. 0 stands for any.
    pub fn require_generation(&mut self, generation: u32) {
        self.builder
            .overwrite(GENERATION_AT, &generation.to_be_bytes());
    }

    /// Adds a table, unless there is one of its name.
    pub fn add_table(&mut self, table: &Table) {
        self.message(operation::NEW_TABLE, flags::CREATE, table, |b| {
            encode::table(b, table);
        });
    }

    /// Adds a table that must not be there yet.
    pub fn create_table(&mut self, table: &Table) {
        let how = flags::CREATE | flags::EXCLUSIVE;
        self.message(operation::NEW_TABLE, how, table, |b| {
            encode::table(b, table);
        });
    }

    /// Deletes a table and all that is in it. It must be there.
    pub fn delete_table(&mut self, table: &Table) {
        self.message(operation::DELETE_TABLE, 0, table, |b| {
            encode::table_name(b, table);
        });
    }

    /// Deletes a table if it is there.
    pub fn destroy_table(&mut self, table: &Table) {
        // The kernel's own operation for this is only in Linux 6.3 and later.
        self.add_table(table);
        self.delete_table(table);
    }

    /// Adds a chain, unless there is one of its name; one that is there gets this policy.
    pub fn add_chain(&mut self, table: &Table, chain: &Chain) {
        self.message(operation::NEW_CHAIN, flags::CREATE, table, |b| {
            encode::chain(b, table, chain);
        });
    }

    /// Deletes a chain, which nothing may refer to, and its rules.
    pub fn delete_chain(&mut self, table: &Table, chain: &str) {
        self.message(operation::DELETE_CHAIN, 0, table, |b| {
            encode::chain_name(b, table, chain);
        });
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: &str) {
        self.message(operation::DELETE_RULE, 0, table, |b| {
            encode::rule_place(b, table, chain, None);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        let how = flags::CREATE | flags::APPEND;
        self.message(operation::NEW_RULE, how, table, |b| {
            encode::rule(b, table, chain, None, rule);
        });
    }

    /// Adds a rule at the begin of a chain.
    pub fn insert_rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        self.message(operation::NEW_RULE, flags::CREATE, table, |b| {
            encode::rule(b, table, chain, None, rule);
        });
    }

    /// Puts a rule in the place of one, by its handle.
    pub fn replace_rule(&mut self, table: &Table, chain: &str, handle: u64, rule: &Rule) {
        self.message(operation::NEW_RULE, flags::REPLACE, table, |b| {
            encode::rule(b, table, chain, Some(handle), rule);
        });
    }

    /// Deletes a rule, by its handle.
    pub fn delete_rule(&mut self, table: &Table, chain: &str, handle: u64) {
        self.message(operation::DELETE_RULE, 0, table, |b| {
            encode::rule_place(b, table, chain, Some(handle));
        });
    }

    /// Adds a set or map, unless there is one of its name and type.
    pub fn add_set(&mut self, table: &Table, set: &Set) {
        self.next_set += 1;
        let number = self.next_set;
        self.message(operation::NEW_SET, flags::CREATE, table, |b| {
            encode::set(b, table, set, number);
        });
    }

    /// Deletes a set or map, which no rule may refer to.
    pub fn delete_set(&mut self, table: &Table, set: &str) {
        self.message(operation::DELETE_SET, 0, table, |b| {
            encode::set_name(b, table, set);
        });
    }

    /// Adds elements. One that is there already has to have the same value.
    pub fn add_elements<'a>(
        &mut self,
        table: &Table,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(operation::NEW_ELEMENT, flags::CREATE, table, set, elements);
    }

    /// Adds elements that must not be there yet.
    pub fn create_elements<'a>(
        &mut self,
        table: &Table,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let how = flags::CREATE | flags::EXCLUSIVE;
        self.elements(operation::NEW_ELEMENT, how, table, set, elements);
    }

    /// Deletes elements, which must be there. Their values need not be given.
    pub fn delete_elements<'a>(
        &mut self,
        table: &Table,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(operation::DELETE_ELEMENT, 0, table, set, elements);
    }

    /// Deletes all elements of a set.
    pub fn flush_set(&mut self, table: &Table, set: &str) {
        self.message(operation::DELETE_ELEMENT, 0, table, |b| {
            encode::elements_place(b, table, set);
        });
    }

    /// Writes as many messages as the elements need: all elements of a message are in one attribute.
    fn elements<'a>(
        &mut self,
        operation: u8,
        how: u16,
        table: &Table,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            self.message(operation, how, table, |b| {
                encode::elements_place(b, table, set);
                b.nest(encode::ELEMENTS, |b| {
                    let start = b.len();
                    while let Some(element) = elements.peek() {
                        let before = b.len();
                        encode::element(b, element);
                        if b.len() - start > ATTRIBUTE_LIMIT {
                            b.truncate(before);
                            break;
                        }
                        elements.next();
                    }
                });
            });
        }
    }

    fn message(&mut self, operation: u8, how: u16, table: &Table, body: impl FnOnce(&mut Builder)) {
        let sequence = self.next_sequence();
        self.starts.push(self.builder.len());
        self.builder.message(
            kind::of(NFTABLES, operation),
            how,
            sequence,
            (table.family.number(), 0),
            body,
        );
    }

    fn next_sequence(&self) -> u32 {
        FIRST_SEQUENCE + u32::try_from(self.starts.len()).expect("fewer messages than numbers")
    }

    /// The sequence number of the last message.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.next_sequence() - 1
    }

    /// Gives the whole transaction to `send`. Its last message asks for an acknowledgement; the
    /// kernel reports those that fail unasked.
    pub(crate) fn with_bytes<T>(&mut self, send: impl FnOnce(&[u8]) -> T) -> T {
        let end = self.builder.len();
        if let [_, .., last] = self.starts[..] {
            self.builder.add_flags(last, flags::ACK);
        }
        let sequence = self.next_sequence();
        let resource = (0, u16::from(NFTABLES));
        self.builder
            .message(kind::BATCH_END, 0, sequence, resource, |_| {});
        let result = send(self.builder.as_bytes());
        self.builder.truncate(end);
        result
    }

    /// The bytes of the message of a sequence number, for saying what failed. `None` for the begin
    /// of the transaction.
    pub(crate) fn message_of(&self, sequence: u32) -> Option<&[u8]> {
        let index = usize::try_from(sequence.checked_sub(FIRST_SEQUENCE)?).ok()?;
        if index == 0 {
            return None;
        }
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied();
        self.builder
            .as_bytes()
            .get(start..end.unwrap_or(self.builder.len()))
    }
}
