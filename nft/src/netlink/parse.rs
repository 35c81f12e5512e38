//! Reading messages and attributes. Pure: any bytes give values or [`Malformed`], never a panic.

use std::ffi::CStr;

use super::kind;

/// Bytes that are no message or attribute of the form that they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink data: {0}")]
pub struct Malformed(pub &'static str);

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number: of the request that it answers.
    pub sequence: u32,
    /// The port of the socket that sent it or, in an event, of the one that made the change.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The address family and the attributes of a message of netfilter.
    ///
    /// # Errors
    ///
    /// If it is shorter than its second header.
    pub fn body(&self) -> Result<(u8, Attributes<'a>), Malformed> {
        let (header, rest) = self
            .payload
            .split_first_chunk::<{ super::NETFILTER_HEADER }>()
            .ok_or(Malformed("a message without its second header"))?;
        Ok((header[0], attributes(rest)))
    }

    /// The number within its subsystem, if it is of this subsystem.
    #[must_use]
    pub fn of_subsystem(&self, subsystem: u8) -> Option<u8> {
        let [high, low] = self.kind.to_be_bytes();
        (high == subsystem).then_some(low)
    }
}

/// The messages in what one reception gave.
#[must_use]
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

/// See [`messages`]. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.split();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

impl<'a> Messages<'a> {
    fn split(&mut self) -> Result<Message<'a>, Malformed> {
        let all = self.rest;
        let header = all
            .first_chunk::<{ super::HEADER }>()
            .ok_or(Malformed("a truncated header"))?;
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = usize::try_from(word(0)).map_err(|_| Malformed("a message's length"))?;
        let payload = all
            .get(super::HEADER..length)
            .ok_or(Malformed("a message's length"))?;
        self.rest = all.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Ok(Message {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
            port: word(12),
            payload,
        })
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without the flags for nesting and byte order.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes that it holds.
    #[must_use]
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.value)
    }

    /// A byte.
    ///
    /// # Errors
    ///
    /// If it has another length.
    pub fn u8(&self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// A big-endian number.
    ///
    /// # Errors
    ///
    /// If it has another length.
    pub fn be16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian number.
    ///
    /// # Errors
    ///
    /// If it has another length.
    pub fn be32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian number.
    ///
    /// # Errors
    ///
    /// If it has another length.
    pub fn be64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text, up to its first zero byte.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        let bytes = CStr::from_bytes_until_nul(self.value).map_or(self.value, CStr::to_bytes);
        std::str::from_utf8(bytes).map_err(|_| Malformed("a text that is not UTF-8"))
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value
            .try_into()
            .map_err(|_| Malformed("a number of another length"))
    }
}

/// The attributes in these bytes.
#[must_use]
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// See [`attributes`]. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = self.split();
        if attribute.is_err() {
            self.rest = &[];
        }
        Some(attribute)
    }
}

impl<'a> Attributes<'a> {
    fn split(&mut self) -> Result<Attribute<'a>, Malformed> {
        let all = self.rest;
        let header = all
            .first_chunk::<4>()
            .ok_or(Malformed("a truncated attribute"))?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = all
            .get(4..length)
            .ok_or(Malformed("an attribute's length"))?;
        self.rest = all.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Ok(Attribute {
            kind: u16::from_ne_bytes([header[2], header[3]]) & 0x3fff,
            value,
        })
    }
}

/// What the kernel says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The sequence number of the request.
    pub sequence: u32,
    /// The error's number, positive; 0 for success.
    pub errno: i32,
    /// The kernel's own words about an error, if it has any.
    pub text: Option<String>,
    /// Where in the request the attribute is that caused an error, from the message's begin.
    pub offset: Option<usize>,
}

/// Reads an acknowledgement or error; `None` if the message is something else.
///
/// # Errors
///
/// If it is malformed.
pub fn acknowledgement(message: &Message<'_>) -> Result<Option<Acknowledgement>, Malformed> {
    if message.kind != kind::ERROR && message.kind != kind::DONE {
        return Ok(None);
    }
    let Some((number, rest)) = message.payload.split_first_chunk::<4>() else {
        return if message.kind == kind::DONE {
            Ok(None)
        } else {
            Err(Malformed("an acknowledgement without its number"))
        };
    };
    let errno = i32::from_ne_bytes(*number)
        .checked_neg()
        .unwrap_or(i32::MAX);
    if message.kind == kind::DONE {
        // The end of a dump has the number alone, and attributes right after it.
        return Ok((errno != 0).then(|| explained(message.sequence, errno, attributes(rest))));
    }
    let original = messages_header(rest)?;
    let attributes_at = if message.flags & CAPPED != 0 {
        super::HEADER
    } else {
        original.next_multiple_of(4)
    };
    let extra = match rest.get(attributes_at..) {
        Some(extra) if message.flags & HAS_ATTRIBUTES != 0 => extra,
        _ => &[],
    };
    Ok(Some(explained(message.sequence, errno, attributes(extra))))
}

/// The request in an acknowledgement was cut to its header.
const CAPPED: u16 = 0x100;
/// Attributes follow the request in an acknowledgement.
const HAS_ATTRIBUTES: u16 = 0x200;

/// The length of the request whose header is at the start of these bytes.
fn messages_header(bytes: &[u8]) -> Result<usize, Malformed> {
    let header = bytes
        .first_chunk::<4>()
        .ok_or(Malformed("an acknowledgement without its request"))?;
    usize::try_from(u32::from_ne_bytes(*header)).map_err(|_| Malformed("a request's length"))
}

/// An acknowledgement with its explanation. What is malformed there is left out: the number counts.
fn explained(sequence: u32, errno: i32, extra: Attributes<'_>) -> Acknowledgement {
    let mut answer = Acknowledgement {
        sequence,
        errno,
        text: None,
        offset: None,
    };
    for attribute in extra.flatten() {
        match attribute.kind {
            1 => answer.text = attribute.text().ok().map(ToOwned::to_owned),
            2 => {
                answer.offset = <[u8; 4]>::try_from(attribute.value)
                    .ok()
                    .and_then(|bytes| usize::try_from(u32::from_ne_bytes(bytes)).ok());
            }
            _ => {}
        }
    }
    answer
}
