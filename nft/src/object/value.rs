//! The bytes of keys and values, as the kernel holds them in its registers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most bytes that a key or value may have: all 16 registers.
const CAPACITY: usize = 64;

/// A key, a value or one side of a comparison.
///
/// Built field by field: `Value::new().ip(address).proto(6).port(80)`. One field alone has just its
/// own bytes; in a concatenation every field fills whole 32-bit registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    // Bytes beyond `length` are zero, so that the derived comparisons are those of the slices.
    bytes: [u8; CAPACITY],
    length: u8,
}

impl Value {
    /// No field yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            length: 0,
        }
    }

    /// Raw bytes, taken as they are; `None` if there are more than 64.
    #[must_use]
    pub fn raw(bytes: &[u8]) -> Option<Self> {
        let mut value = Self::new();
        value.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        value.length = u8::try_from(bytes.len()).ok()?;
        Some(value)
    }

    /// With one more field, in the byte order that the kernel uses for it.
    ///
    /// # Panics
    ///
    /// If the value is then longer than 64 bytes.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        let start = usize::from(self.length).next_multiple_of(4);
        let mut end = start + bytes.len();
        assert!(end <= CAPACITY, "a value of more than {CAPACITY} bytes");
        self.bytes[start..end].copy_from_slice(bytes);
        if start > 0 {
            end = end.next_multiple_of(4);
        }
        self.length = u8::try_from(end).expect("at most 64");
        self
    }

    /// With an address of either family.
    #[must_use]
    pub fn ip(self, address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(address) => self.field(&address.octets()),
            IpAddr::V6(address) => self.field(&address.octets()),
        }
    }

    /// With the number of a transport protocol (TCP is 6, UDP 17, SCTP 132).
    #[must_use]
    pub fn proto(self, number: u8) -> Self {
        self.field(&[number])
    }

    /// With a port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field(&port.to_be_bytes())
    }

    /// With a number in the kernel's own byte order: a mark, the result of `numgen`, a state of
    /// connection tracking, an address type, the index of an interface.
    #[must_use]
    pub fn number(self, number: u32) -> Self {
        self.field(&number.to_ne_bytes())
    }

    /// With one byte: a family (`meta nfproto`), a direction (`ct direction`).
    #[must_use]
    pub fn byte(self, byte: u8) -> Self {
        self.field(&[byte])
    }

    /// With the whole name of an interface.
    ///
    /// # Panics
    ///
    /// If the name has 16 bytes or more: the kernel has no such interface.
    #[must_use]
    pub fn interface(self, name: &str) -> Self {
        let mut bytes = [0; 16];
        assert!(name.len() < bytes.len(), "no interface's name is {name:?}");
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        self.field(&bytes)
    }

    /// The beginning of an interface's name, for a comparison of just so many bytes (`iifname "eth*"`).
    ///
    /// # Panics
    ///
    /// If the beginning has 16 bytes or more: the kernel has no such interface.
    #[must_use]
    pub fn interface_prefix(prefix: &str) -> Self {
        assert!(prefix.len() < 16, "no interface's name begins {prefix:?}");
        Self::new().field(prefix.as_bytes())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whether it has no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The next value of the same length, as a big-endian number; `None` after the last.
    #[must_use]
    pub(crate) fn successor(mut self) -> Option<Self> {
        let length = self.len();
        for byte in self.bytes[..length].iter_mut().rev() {
            let (next, carries) = byte.overflowing_add(1);
            *byte = next;
            if !carries {
                return Some(self);
            }
        }
        None
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.as_slice()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::new().ip(address)
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        Self::new().ip(address)
    }
}

impl From<Ipv6Addr> for Value {
    fn from(address: Ipv6Addr) -> Self {
        Self::new().ip(address)
    }
}
