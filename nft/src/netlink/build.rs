//! Writing messages into one buffer, which is used again and again.

use super::HEADER;

/// Flags of messages (`NLM_F_…`). Those of new objects and those of dumps share bits.
pub mod flags {
    /// It asks for something. Every message that is sent has it.
    pub const REQUEST: u16 = 0x01;
    /// It asks for an acknowledgement, also of success.
    pub const ACK: u16 = 0x04;
    /// In an answer: the state changed while the dump ran.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// It asks for all objects.
    pub const DUMP: u16 = 0x300;
    /// What is there is replaced.
    pub const REPLACE: u16 = 0x100;
    /// It must not be there yet.
    pub const EXCLUSIVE: u16 = 0x200;
    /// It is made if it is not there.
    pub const CREATE: u16 = 0x400;
    /// It comes after the others.
    pub const APPEND: u16 = 0x800;
}

/// Types of messages that are not a subsystem's own.
pub mod kind {
    /// An acknowledgement or an error.
    pub const ERROR: u16 = 2;
    /// The end of a dump.
    pub const DONE: u16 = 3;
    /// The begin of a transaction.
    pub const BATCH_BEGIN: u16 = 0x10;
    /// The end of a transaction.
    pub const BATCH_END: u16 = 0x11;

    /// The type of a subsystem's message (`NFNL_SUBSYS_…` and the number in it).
    #[must_use]
    pub const fn of(subsystem: u8, number: u8) -> u16 {
        (subsystem as u16) << 8 | number as u16
    }
}

/// Set in the type of an attribute that holds attributes.
const NESTED: u16 = 1 << 15;

/// Writes messages, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// Nothing is written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes a whole message of netfilter. [`flags::REQUEST`] is added.
    ///
    /// `family` and `resource` are its second header's: an address family, and a number that only
    /// few messages use.
    pub fn message(
        &mut self,
        kind: u16,
        message_flags: u16,
        sequence: u32,
        (family, resource): (u8, u16),
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes
            .extend((message_flags | flags::REQUEST).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        debug_assert_eq!(
            self.bytes.len() - start,
            HEADER + super::NETFILTER_HEADER,
            "the headers have their lengths"
        );
        body(self);
        let length = u32::try_from(self.bytes.len() - start).expect("a message below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds flags to the message that begins at this position.
    pub(crate) fn add_flags(&mut self, start: usize, flags: u16) {
        let field = &mut self.bytes[start + 6..start + 8];
        let old = u16::from_ne_bytes([field[0], field[1]]);
        field.copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// Forgets what was written after this position.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Changes bytes that were written.
    pub(crate) fn overwrite(&mut self, start: usize, bytes: &[u8]) {
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes an attribute.
    ///
    /// # Panics
    ///
    /// If the value is longer than [`ATTRIBUTE_LIMIT`](super::ATTRIBUTE_LIMIT).
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// Writes a text, which ends with a zero byte.
    pub fn text(&mut self, kind: u16, text: &str) {
        let length = u16::try_from(text.len() + 5).expect("an attribute below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// Writes a byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// Writes a big-endian number, as almost all of netfilter's are.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Writes a big-endian number, as almost all of netfilter's are.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Writes a big-endian number, as almost all of netfilter's are.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Writes an attribute that holds attributes.
    ///
    /// # Panics
    ///
    /// If they are longer than [`ATTRIBUTE_LIMIT`](super::ATTRIBUTE_LIMIT).
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        body(self);
        let length = u16::try_from(self.bytes.len() - start).expect("an attribute below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        let aligned = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(aligned, 0);
    }
}
