//! What rules can look at: parts of a packet, of its connection, of the machine's state. The
//! constants are named as nft's expressions are, so that a rule reads like its text.

use std::sync::Arc;

use super::expression::{
    CtKey, Direction, Expression, FibResult, LookupTo, MetaKey, NumgenKind, PayloadBase, Register,
    fib_flags,
};
use super::table::Family;
use super::value::Value;

/// A source of a value for registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// Bytes of a packet.
    Payload {
        /// From where the offset counts.
        base: PayloadBase,
        /// In bytes.
        offset: u32,
        /// In bytes.
        length: u32,
    },
    /// A fact about a packet.
    Meta(MetaKey),
    /// A fact about a packet's connection; some are of one direction.
    Ct(CtKey, Option<Direction>),
    /// What routing says about a packet.
    Fib {
        /// What is looked up ([`fib_flags`]).
        flags: u32,
        /// What is asked.
        result: FibResult,
    },
    /// A number from `offset` on, below `offset + modulus`.
    Numgen {
        /// How it is drawn.
        kind: NumgenKind,
        /// How many numbers there are.
        modulus: u32,
        /// The least.
        offset: u32,
    },
    /// A constant.
    Constant(Value),
    /// `(LOAD & mask) ^ xor`.
    Bitwise {
        /// The operand.
        load: Box<Load>,
        /// Of the operand's length.
        mask: Value,
        /// Of the operand's length.
        xor: Value,
    },
    /// `LOAD . LOAD map @map`; a key that is not in the map ends the rule.
    Map {
        /// The key.
        key: Vec<Load>,
        /// The map's name.
        map: Arc<str>,
        /// The length of what the map gives, in bytes: in a concatenation each field counts in
        /// whole 4 bytes.
        length: u32,
    },
}

/// `ip saddr`.
pub const IP_SADDR: Load = network(12, 4);
/// `ip daddr`.
pub const IP_DADDR: Load = network(16, 4);
/// `ip6 saddr`.
pub const IP6_SADDR: Load = network(8, 16);
/// `ip6 daddr`.
pub const IP6_DADDR: Load = network(24, 16);
/// `th sport`.
pub const TH_SPORT: Load = transport(0, 2);
/// `th dport`.
pub const TH_DPORT: Load = transport(2, 2);
/// `icmp type`.
pub const ICMP_TYPE: Load = transport(0, 1);
/// `icmpv6 type`.
pub const ICMPV6_TYPE: Load = transport(0, 1);
/// `meta l4proto`.
pub const L4PROTO: Load = Load::Meta(MetaKey::L4Proto);
/// `meta nfproto`.
pub const NFPROTO: Load = Load::Meta(MetaKey::NfProto);
/// `meta mark`.
pub const MARK: Load = Load::Meta(MetaKey::Mark);
/// `iifname`.
pub const IIFNAME: Load = Load::Meta(MetaKey::IifName);
/// `oifname`.
pub const OIFNAME: Load = Load::Meta(MetaKey::OifName);
/// `ct state`: bits of [`ct_state`](super::ct_state).
pub const CT_STATE: Load = Load::Ct(CtKey::State, None);
/// `ct status`: bits of [`ct_status`](super::ct_status).
pub const CT_STATUS: Load = Load::Ct(CtKey::Status, None);
/// `ct direction`: one byte, 0 for the original direction, 1 for replies.
pub const CT_DIRECTION: Load = Load::Ct(CtKey::Direction, None);
/// `ct mark`.
pub const CT_MARK: Load = Load::Ct(CtKey::Mark, None);
/// `ct original ip saddr`.
pub const CT_ORIGINAL_IP_SADDR: Load = original(CtKey::SrcIp);
/// `ct original ip daddr`.
pub const CT_ORIGINAL_IP_DADDR: Load = original(CtKey::DstIp);
/// `ct original ip6 saddr`.
pub const CT_ORIGINAL_IP6_SADDR: Load = original(CtKey::SrcIp6);
/// `ct original ip6 daddr`.
pub const CT_ORIGINAL_IP6_DADDR: Load = original(CtKey::DstIp6);
/// `ct original proto-src`.
pub const CT_ORIGINAL_PROTO_SRC: Load = original(CtKey::ProtoSrc);
/// `ct original proto-dst`.
pub const CT_ORIGINAL_PROTO_DST: Load = original(CtKey::ProtoDst);
/// `fib saddr type`: a number of the kernel's (local is 2).
pub const FIB_SADDR_TYPE: Load = fib(fib_flags::SADDR, FibResult::AddrType);
/// `fib daddr type`: a number of the kernel's (local is 2).
pub const FIB_DADDR_TYPE: Load = fib(fib_flags::DADDR, FibResult::AddrType);

const fn network(offset: u32, length: u32) -> Load {
    Load::Payload {
        base: PayloadBase::Network,
        offset,
        length,
    }
}

const fn transport(offset: u32, length: u32) -> Load {
    Load::Payload {
        base: PayloadBase::Transport,
        offset,
        length,
    }
}

const fn original(key: CtKey) -> Load {
    Load::Ct(key, Some(Direction::Original))
}

/// `ip saddr` or `ip6 saddr`. Every family but `ip6` is taken for `ip`.
#[must_use]
pub const fn saddr(family: Family) -> Load {
    match family {
        Family::Ip6 => IP6_SADDR,
        Family::Ip | Family::Inet => IP_SADDR,
    }
}

/// `ip daddr` or `ip6 daddr`. Every family but `ip6` is taken for `ip`.
#[must_use]
pub const fn daddr(family: Family) -> Load {
    match family {
        Family::Ip6 => IP6_DADDR,
        Family::Ip | Family::Inet => IP_DADDR,
    }
}

/// `ct original ip saddr` or `ct original ip6 saddr`. Every family but `ip6` is taken for `ip`.
#[must_use]
pub const fn ct_original_saddr(family: Family) -> Load {
    match family {
        Family::Ip6 => CT_ORIGINAL_IP6_SADDR,
        Family::Ip | Family::Inet => CT_ORIGINAL_IP_SADDR,
    }
}

/// `ct original ip daddr` or `ct original ip6 daddr`. Every family but `ip6` is taken for `ip`.
#[must_use]
pub const fn ct_original_daddr(family: Family) -> Load {
    match family {
        Family::Ip6 => CT_ORIGINAL_IP6_DADDR,
        Family::Ip | Family::Inet => CT_ORIGINAL_IP_DADDR,
    }
}

/// What routing says: `flags` of [`fib_flags`].
#[must_use]
pub const fn fib(flags: u32, result: FibResult) -> Load {
    Load::Fib { flags, result }
}

/// `numgen random mod N`: 0 to N-1, each with the same probability.
#[must_use]
pub const fn random(modulus: u32) -> Load {
    Load::Numgen {
        kind: NumgenKind::Random,
        modulus,
        offset: 0,
    }
}

/// `numgen inc mod N`: 0 to N-1 in turn.
#[must_use]
pub const fn incremental(modulus: u32) -> Load {
    Load::Numgen {
        kind: NumgenKind::Incremental,
        modulus,
        offset: 0,
    }
}

/// `LOAD . LOAD map @map`. `length` is that of what the map gives, in bytes: 4 for `ipv4_addr`, 8 for
/// `ipv4_addr . inet_service`, 20 for `ipv6_addr . inet_service`.
#[must_use]
pub fn map(key: impl Into<Vec<Load>>, map: impl Into<Arc<str>>, length: u32) -> Load {
    Load::Map {
        key: key.into(),
        map: map.into(),
        length,
    }
}

impl Load {
    /// A constant 32-bit number in the kernel's byte order: a mark.
    #[must_use]
    pub fn number(number: u32) -> Self {
        Self::Constant(Value::new().number(number))
    }

    /// `LOAD & bits`, of a 32-bit number in the kernel's byte order.
    #[must_use]
    pub fn and(self, bits: u32) -> Self {
        self.bitwise(Value::new().number(bits), Value::new().number(0))
    }

    /// `LOAD | bits`, of a 32-bit number in the kernel's byte order.
    #[must_use]
    pub fn or(self, bits: u32) -> Self {
        self.bitwise(Value::new().number(!bits), Value::new().number(bits))
    }

    /// `(LOAD & mask) ^ xor`, of any length.
    #[must_use]
    pub fn bitwise(self, mask: Value, xor: Value) -> Self {
        Self::Bitwise {
            load: Box::new(self),
            mask,
            xor,
        }
    }

    /// How many bytes it gives.
    #[must_use]
    pub fn length(&self) -> u32 {
        match self {
            Self::Payload { length, .. } | Self::Map { length, .. } => *length,
            Self::Meta(key) => key.length(),
            Self::Ct(key, _) => key.length(),
            Self::Fib { result, .. } => result.length(),
            Self::Numgen { .. } => 4,
            Self::Constant(value) => u32::try_from(value.len()).expect("at most 64"),
            Self::Bitwise { load, .. } => load.length(),
        }
    }
}

impl From<Load> for Vec<Load> {
    fn from(load: Load) -> Self {
        vec![load]
    }
}

/// How many 32-bit registers a load fills.
pub(super) fn words(load: &Load) -> u8 {
    u8::try_from(load.length().div_ceil(4)).unwrap_or(u8::MAX)
}

/// The expressions that put several loads into registers, one after the other.
pub(super) fn emit_all(into: &mut Vec<Expression>, loads: Vec<Load>, first: Register) {
    let mut register = first;
    for load in loads {
        let next = register.after(words(&load));
        emit(into, load, register);
        register = next;
    }
}

/// The expressions that put a load into registers from this one on.
pub(super) fn emit(into: &mut Vec<Expression>, load: Load, to: Register) {
    let expression = match load {
        Load::Payload {
            base,
            offset,
            length,
        } => Expression::Payload {
            base,
            offset,
            length,
            to,
        },
        Load::Meta(key) => Expression::Meta { key, to },
        Load::Ct(key, direction) => Expression::Ct { key, direction, to },
        Load::Fib { flags, result } => Expression::Fib { flags, result, to },
        Load::Numgen {
            kind,
            modulus,
            offset,
        } => Expression::Numgen {
            kind,
            modulus,
            offset,
            to,
        },
        Load::Constant(value) => Expression::Immediate { value, to },
        Load::Bitwise { load, mask, xor } => {
            emit(into, *load, to);
            Expression::Bitwise {
                from: to,
                to,
                mask,
                xor,
            }
        }
        Load::Map { key, map, .. } => {
            emit_all(into, key, to);
            Expression::Lookup {
                set: map,
                from: to,
                to: LookupTo::Register(to),
            }
        }
    };
    into.push(expression);
}
