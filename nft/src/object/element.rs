//! Elements of sets and maps, and verdicts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::value::Value;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passes this base chain.
    Accept,
    /// It is dropped, without an answer.
    Drop,
    /// The next rule looks at it.
    Continue,
    /// The chain that jumped here goes on.
    Return,
    /// Another chain looks at it, then this one goes on.
    Jump(Arc<str>),
    /// Another chain looks at it in place of this one.
    Goto(Arc<str>),
}

impl Verdict {
    /// `jump chain`.
    #[must_use]
    pub fn jump(chain: impl Into<Arc<str>>) -> Self {
        Self::Jump(chain.into())
    }

    /// `goto chain`.
    #[must_use]
    pub fn goto(chain: impl Into<Arc<str>>) -> Self {
        Self::Goto(chain.into())
    }
}

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// A value for a register.
    Value(Value),
    /// A verdict.
    Verdict(Verdict),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Its key, or the first of its range.
    pub key: Value,
    /// The last key of its range, in sets of concatenations of intervals alone.
    pub key_end: Option<Value>,
    /// What a map gives for it.
    pub data: Option<Data>,
    /// Whether the key is the first that is *not* in the interval before, in sets of plain intervals.
    pub interval_end: bool,
    /// After how long the kernel removes it; `None`: the set's own timeout. Whole milliseconds.
    pub timeout: Option<Duration>,
    /// How long it still has. The kernel says so; not sent.
    pub expires: Option<Duration>,
    /// A comment, which `nft list` shows. At most 128 bytes.
    pub comment: Option<Box<str>>,
}

impl Element {
    /// An element of a set.
    #[must_use]
    pub fn new(key: Value) -> Self {
        Self {
            key,
            key_end: None,
            data: None,
            interval_end: false,
            timeout: None,
            expires: None,
            comment: None,
        }
    }

    /// `key : value`.
    #[must_use]
    pub fn value(key: Value, value: Value) -> Self {
        Self {
            data: Some(Data::Value(value)),
            ..Self::new(key)
        }
    }

    /// `key : verdict`.
    #[must_use]
    pub fn verdict(key: Value, verdict: Verdict) -> Self {
        Self {
            data: Some(Data::Verdict(verdict)),
            ..Self::new(key)
        }
    }

    /// The same element up to another key, inclusive, in each of its fields: for sets of
    /// concatenations with intervals.
    #[must_use]
    pub fn to(mut self, last: Value) -> Self {
        self.key_end = Some(last);
        self
    }

    /// The same element with a timeout of its own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same element with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<Box<str>>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// The elements that stand for all keys from this element's to another, inclusive, in a set of
    /// plain intervals: the first key, and the first one after the last if there is any. Intervals
    /// of one set must not overlap.
    #[must_use]
    pub fn interval_to(self, last: Value) -> Vec<Self> {
        let end = last.successor().map(|after| Self {
            interval_end: true,
            ..Self::new(after)
        });
        std::iter::once(self).chain(end).collect()
    }

    /// The elements that stand for a network in a set of plain intervals. Bits of the address
    /// beyond the prefix are ignored.
    #[must_use]
    pub fn network(address: IpAddr, prefix: u8) -> Vec<Self> {
        let (first, last) = network_bounds(address, prefix);
        Self::new(first.into()).interval_to(last.into())
    }
}

/// The first and last address of a network.
fn network_bounds(address: IpAddr, prefix: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let bits = u32::from(address);
            (
                IpAddr::V4((bits & !host).into()),
                IpAddr::V4((bits | host).into()),
            )
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let bits = u128::from(address);
            (
                IpAddr::V6((bits & !host).into()),
                IpAddr::V6((bits | host).into()),
            )
        }
    }
}
