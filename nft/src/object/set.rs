//! Sets and maps, and the types of their keys and values.

use std::time::Duration;

/// The type of a key or value, or of one field of a concatenation. The kernel knows lengths alone;
/// types are for `nft list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// `ipv4_addr`.
    Ipv4Addr,
    /// `ipv6_addr`.
    Ipv6Addr,
    /// `inet_proto`: a transport protocol.
    InetProto,
    /// `inet_service`: a port.
    InetService,
    /// `mark`: any 32-bit number in the kernel's byte order. Also for what `numgen` gives: its own type
    /// (`integer`) has no length, and nft 1.0.6 aborts when it lists a concatenation with it.
    Mark,
    /// `ifname`: the name of an interface.
    IfName,
    /// `nf_proto`: a family.
    NfProto,
    /// `fib_addrtype`: the type of an address.
    FibAddrType,
    /// `ct_state`.
    CtState,
    /// `ct_dir`.
    CtDirection,
    /// Any other, read from the kernel.
    Other {
        /// nft's number of it.
        id: u32,
        /// In bytes; 0 if it is not known, in a concatenation.
        length: u32,
    },
}

impl Type {
    /// Every type that has a name here.
    pub const ALL: [Self; 10] = [
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetProto,
        Self::InetService,
        Self::Mark,
        Self::IfName,
        Self::NfProto,
        Self::FibAddrType,
        Self::CtState,
        Self::CtDirection,
    ];

    /// nft's number of it (`enum datatypes` in its `include/datatype.h`).
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::NfProto => 2,
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Mark => 19,
            Self::CtState => 26,
            Self::CtDirection => 27,
            Self::FibAddrType => 38,
            Self::IfName => 41,
            Self::Other { id, .. } => id,
        }
    }

    /// How many bytes a value has, outside a concatenation.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::NfProto | Self::InetProto | Self::CtDirection => 1,
            Self::InetService => 2,
            Self::Ipv4Addr | Self::Mark | Self::FibAddrType | Self::CtState => 4,
            Self::Ipv6Addr | Self::IfName => 16,
            Self::Other { length, .. } => length,
        }
    }

    /// Whether a value is in the kernel's own byte order.
    #[must_use]
    pub const fn host_order(self) -> bool {
        matches!(
            self,
            Self::Mark
                | Self::IfName
                | Self::NfProto
                | Self::FibAddrType
                | Self::CtState
                | Self::CtDirection
        )
    }
}

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapData {
    /// A verdict (`vmap`).
    Verdict,
    /// A value of this type, or of a concatenation of these.
    Value(Vec<Type>),
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name, unique in the table among sets and maps. At most 255 bytes.
    pub name: String,
    /// The type of its keys, or of the fields of their concatenation: one to five.
    pub key: Vec<Type>,
    /// What it gives for a key; `None` for a set.
    pub data: Option<MapData>,
    /// Whether keys are intervals. With a concatenation, each field of a key may be one.
    pub interval: bool,
    /// Whether packets may add elements (`flags dynamic`).
    pub dynamic: bool,
    /// Whether elements may expire.
    pub expiring: bool,
    /// When elements expire that say nothing else. Whole milliseconds.
    pub timeout: Option<Duration>,
    /// How many elements it can have at most.
    pub size: Option<u32>,
    /// A comment, which `nft list` shows. At most 128 bytes.
    pub comment: Option<String>,
}

impl Set {
    /// A set.
    #[must_use]
    pub fn new(name: impl Into<String>, key: &[Type]) -> Self {
        Self {
            name: name.into(),
            key: key.to_vec(),
            data: None,
            interval: false,
            dynamic: false,
            expiring: false,
            timeout: None,
            size: None,
            comment: None,
        }
    }

    /// A map to values.
    #[must_use]
    pub fn map(name: impl Into<String>, key: &[Type], data: &[Type]) -> Self {
        Self {
            data: Some(MapData::Value(data.to_vec())),
            ..Self::new(name, key)
        }
    }

    /// A map to verdicts.
    #[must_use]
    pub fn verdict_map(name: impl Into<String>, key: &[Type]) -> Self {
        Self {
            data: Some(MapData::Verdict),
            ..Self::new(name, key)
        }
    }

    /// The same set, of intervals.
    #[must_use]
    pub fn interval(mut self) -> Self {
        self.interval = true;
        self
    }

    /// The same set, to which packets may add elements.
    #[must_use]
    pub fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    /// The same set, whose elements may each have a timeout (`flags timeout`).
    #[must_use]
    pub fn expiring(mut self) -> Self {
        self.expiring = true;
        self
    }

    /// The same set, whose elements expire after this long unless they say otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.expiring()
    }

    /// The same set, of at most so many elements.
    #[must_use]
    pub fn size(mut self, size: u32) -> Self {
        self.size = Some(size);
        self
    }

    /// The same set with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}
