//! The kernel's expressions, of which rules are made.

use std::sync::Arc;
use std::time::Duration;

use super::element::Verdict;
use super::table::Family;
use super::value::Value;

/// One of the kernel's 16 registers of 32 bits. Longer values fill several, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(u8);

impl Register {
    /// The first (`NFT_REG32_00`).
    pub const FIRST: Self = Self(0);

    /// The register of a number from 0 to 15; `None` for others.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < 16 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number, 0 to 15. One more stands for none: the first after the last.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The register so many after this one. Beyond the last there is none, and the kernel refuses
    /// the rule that names it.
    #[must_use]
    pub const fn after(self, count: u8) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// An expression. Those that load write `to`, those that use read `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact about a packet.
    Meta {
        /// Which.
        key: MetaKey,
        /// The register.
        to: Register,
    },
    /// Changes a fact about a packet.
    MetaSet {
        /// Which.
        key: MetaKey,
        /// The new value.
        from: Register,
    },
    /// Loads bytes of a packet.
    Payload {
        /// From where the offset counts.
        base: PayloadBase,
        /// In bytes.
        offset: u32,
        /// In bytes.
        length: u32,
        /// The register.
        to: Register,
    },
    /// Ends the rule unless a comparison of bytes holds.
    Cmp {
        /// The left side.
        from: Register,
        /// The comparison.
        op: CmpOp,
        /// The right side; its length is the comparison's.
        value: Value,
    },
    /// Ends the rule unless a value is in a range, or unless it is outside.
    Range {
        /// The value.
        from: Register,
        /// Whether it has to be outside.
        outside: bool,
        /// The first of the range.
        first: Value,
        /// The last of the range.
        last: Value,
    },
    /// `(from & mask) ^ xor`.
    Bitwise {
        /// The operand.
        from: Register,
        /// The register.
        to: Register,
        /// Its length is the operation's.
        mask: Value,
        /// Of the mask's length.
        xor: Value,
    },
    /// Turns the byte order.
    Byteorder {
        /// The operand.
        from: Register,
        /// The register.
        to: Register,
        /// From which to which.
        op: ByteorderOp,
        /// All of the operand, in bytes.
        length: u32,
        /// Of each number in it, in bytes.
        size: u32,
    },
    /// Loads a constant.
    Immediate {
        /// The constant.
        value: Value,
        /// The register.
        to: Register,
    },
    /// Gives a verdict.
    Verdict(Verdict),
    /// Looks a key up in a set or map of the same table.
    Lookup {
        /// Its name.
        set: Arc<str>,
        /// The key.
        from: Register,
        /// What follows.
        to: LookupTo,
    },
    /// Adds, updates or deletes an element of a set or map.
    Dynset {
        /// Its name.
        set: Arc<str>,
        /// What is done.
        op: DynsetOp,
        /// The key.
        key: Register,
        /// The value of a map.
        data: Option<Register>,
        /// The element's timeout; `None`: the set's. Whole milliseconds.
        timeout: Option<Duration>,
    },
    /// Draws a number from `offset` on, below `offset + modulus`.
    Numgen {
        /// How.
        kind: NumgenKind,
        /// How many numbers there are.
        modulus: u32,
        /// The least.
        offset: u32,
        /// The register.
        to: Register,
    },
    /// Rewrites an address, a port or both. Only in chains of kind `nat`.
    Nat {
        /// Of the source or of the destination.
        kind: NatKind,
        /// The address's family.
        family: Family,
        /// The new address.
        address: Option<Register>,
        /// The new port.
        port: Option<Register>,
        /// Of [`nat_flags`].
        flags: u32,
    },
    /// Rewrites the source to the outgoing interface's address.
    Masquerade {
        /// Of [`nat_flags`].
        flags: u32,
    },
    /// Loads a fact about a packet's connection.
    Ct {
        /// Which.
        key: CtKey,
        /// Of which direction, for facts that have one.
        direction: Option<Direction>,
        /// The register.
        to: Register,
    },
    /// Changes a fact about a packet's connection.
    CtSet {
        /// Which.
        key: CtKey,
        /// The new value.
        from: Register,
    },
    /// Asks routing about a packet.
    Fib {
        /// Of [`fib_flags`].
        flags: u32,
        /// What is asked.
        result: FibResult,
        /// The register.
        to: Register,
    },
    /// Drops a packet and answers its sender.
    Reject(Reject),
    /// Counts packets and bytes.
    Counter {
        /// Where the count begins; read back, where it is.
        packets: u64,
        /// Where the count begins; read back, where it is.
        bytes: u64,
    },
    /// Any other, read from the kernel: its name and the bytes of its attributes.
    Other {
        /// The kernel's name.
        name: String,
        /// Its attributes, encoded.
        data: Vec<u8>,
    },
}

/// Facts about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// Its mark, 32 bits in the kernel's byte order.
    Mark,
    /// The index of the interface by which it came, 32 bits in the kernel's byte order.
    Iif,
    /// The index of the interface by which it leaves, 32 bits in the kernel's byte order.
    Oif,
    /// The name of the interface by which it came.
    IifName,
    /// The name of the interface by which it leaves.
    OifName,
    /// The kind of device by which it came (`ARPHRD_…`, 16 bits in the kernel's byte order).
    IifType,
    /// The kind of device by which it leaves (`ARPHRD_…`, 16 bits in the kernel's byte order).
    OifType,
    /// Whether each rule that it meets is reported, one byte: see [`Traces`](crate::Traces). It can be set and not read.
    NfTrace,
    /// Its family, one byte: [`Family::number`].
    NfProto,
    /// Its transport protocol, one byte.
    L4Proto,
    /// Whether it was sent to the host, to many or to others, one byte.
    PktType,
}

impl MetaKey {
    /// Every key.
    pub const ALL: [Self; 11] = [
        Self::Mark,
        Self::Iif,
        Self::Oif,
        Self::IifName,
        Self::OifName,
        Self::IifType,
        Self::OifType,
        Self::NfTrace,
        Self::NfProto,
        Self::L4Proto,
        Self::PktType,
    ];

    /// Its number in the kernel (`NFT_META_…`).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::Iif => 4,
            Self::Oif => 5,
            Self::IifName => 6,
            Self::OifName => 7,
            Self::IifType => 8,
            Self::OifType => 9,
            Self::NfTrace => 12,
            Self::NfProto => 15,
            Self::L4Proto => 16,
            Self::PktType => 19,
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Mark | Self::Iif | Self::Oif => 4,
            Self::IifName | Self::OifName => 16,
            Self::IifType | Self::OifType => 2,
            Self::NfTrace | Self::NfProto | Self::L4Proto | Self::PktType => 1,
        }
    }
}

/// From where an offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadBase {
    /// The link's header.
    Link,
    /// The IP header.
    Network,
    /// The header of TCP, UDP, SCTP, ICMP.
    Transport,
}

/// Comparisons of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// Changes of byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteorderOp {
    /// From big-endian to the kernel's.
    NetworkToHost,
    /// From the kernel's to big-endian.
    HostToNetwork,
}

/// What follows a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupTo {
    /// The rule ends unless the key is there.
    Match,
    /// The rule ends if the key is there.
    NoMatch,
    /// The map's value is loaded; the rule ends if the key is not there.
    Register(Register),
    /// The map's verdict is given; the rule ends if the key is not there.
    Verdict,
}

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynsetOp {
    /// It is added, if it is not there.
    Add,
    /// It is added; if it is there, its timeout begins anew.
    Update,
    /// It is deleted.
    Delete,
}

/// How numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumgenKind {
    /// In turn.
    Incremental,
    /// By chance.
    Random,
}

/// What is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Snat,
    /// The destination.
    Dnat,
}

/// Flags of rewriting (`NF_NAT_RANGE_…`).
pub mod nat_flags {
    /// Ports are drawn by chance (`random`).
    pub const RANDOM: u32 = 1 << 2;
    /// A client gets the same address each time (`persistent`).
    pub const PERSISTENT: u32 = 1 << 3;
    /// Ports are drawn wholly by chance (`fully-random`).
    pub const FULLY_RANDOM: u32 = 1 << 4;
}

/// Facts about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtKey {
    /// Bits of [`ct_state`], 32 bits in the kernel's byte order.
    State,
    /// The packet's direction, one byte.
    Direction,
    /// Bits of [`ct_status`], 32 bits in the kernel's byte order.
    Status,
    /// Its mark, 32 bits in the kernel's byte order.
    Mark,
    /// The network protocol, one byte.
    L3Protocol,
    /// The transport protocol, one byte.
    Protocol,
    /// The source port, of one direction.
    ProtoSrc,
    /// The destination port, of one direction.
    ProtoDst,
    /// The IPv4 source, of one direction.
    SrcIp,
    /// The IPv4 destination, of one direction.
    DstIp,
    /// The IPv6 source, of one direction.
    SrcIp6,
    /// The IPv6 destination, of one direction.
    DstIp6,
}

impl CtKey {
    /// Every key.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Direction,
        Self::Status,
        Self::Mark,
        Self::L3Protocol,
        Self::Protocol,
        Self::ProtoSrc,
        Self::ProtoDst,
        Self::SrcIp,
        Self::DstIp,
        Self::SrcIp6,
        Self::DstIp6,
    ];

    /// Its number in the kernel (`NFT_CT_…`).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Direction => 1,
            Self::Status => 2,
            Self::Mark => 3,
            Self::L3Protocol => 7,
            Self::Protocol => 10,
            Self::ProtoSrc => 11,
            Self::ProtoDst => 12,
            Self::SrcIp => 19,
            Self::DstIp => 20,
            Self::SrcIp6 => 21,
            Self::DstIp6 => 22,
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Direction | Self::L3Protocol | Self::Protocol => 1,
            Self::ProtoSrc | Self::ProtoDst => 2,
            Self::State | Self::Status | Self::Mark | Self::SrcIp | Self::DstIp => 4,
            Self::SrcIp6 | Self::DstIp6 => 16,
        }
    }
}

/// The directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As its first packet.
    Original,
    /// As the answers.
    Reply,
}

/// Bits of `ct state`.
pub mod ct_state {
    /// Belongs to no connection and cannot begin one.
    pub const INVALID: u32 = 1;
    /// Belongs to a connection that was answered.
    pub const ESTABLISHED: u32 = 1 << 1;
    /// Begins a connection that another expects, or is an error about one.
    pub const RELATED: u32 = 1 << 2;
    /// Begins a connection.
    pub const NEW: u32 = 1 << 3;
    /// Was not tracked.
    pub const UNTRACKED: u32 = 1 << 6;
}

/// Bits of `ct status`.
pub mod ct_status {
    /// Packets went both ways.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// The source is rewritten.
    pub const SNAT: u32 = 1 << 4;
    /// The destination is rewritten.
    pub const DNAT: u32 = 1 << 5;
}

/// What routing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibResult {
    /// The index of the interface.
    Oif,
    /// The name of the interface.
    OifName,
    /// The type of the address, 32 bits in the kernel's byte order.
    AddrType,
}

impl FibResult {
    /// How many bytes it has.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Oif | Self::AddrType => 4,
            Self::OifName => 16,
        }
    }
}

/// What routing is asked about (`NFTA_FIB_F_…`).
pub mod fib_flags {
    /// The source address.
    pub const SADDR: u32 = 1;
    /// The destination address.
    pub const DADDR: u32 = 1 << 1;
    /// With the packet's mark.
    pub const MARK: u32 = 1 << 2;
    /// On the interface by which the packet came.
    pub const IIF: u32 = 1 << 3;
    /// On the interface by which the packet leaves.
    pub const OIF: u32 = 1 << 4;
    /// Only whether there is a route: one byte.
    pub const PRESENT: u32 = 1 << 5;
}

/// How a sender is told that its packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// By a TCP reset. The packet has to be TCP.
    TcpReset,
    /// By an ICMP or ICMPv6 destination unreachable of this code, as the table's family says.
    Icmp(u8),
    /// By ICMP or ICMPv6, as the packet says, in tables of family `inet`: a code of [`reject_code`].
    Icmpx(u8),
}

/// Codes of [`Reject`].
pub mod reject_code {
    /// `icmp port-unreachable`.
    pub const ICMP_PORT_UNREACHABLE: u8 = 3;
    /// `icmpv6 port-unreachable`.
    pub const ICMPV6_PORT_UNREACHABLE: u8 = 4;
    /// `icmpx port-unreachable`.
    pub const ICMPX_PORT_UNREACHABLE: u8 = 1;
    /// `icmpx admin-prohibited`.
    pub const ICMPX_ADMIN_PROHIBITED: u8 = 3;
}
