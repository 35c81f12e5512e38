//! From the octets of a packet to what a tap tells about it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::datagram::{DatagramHeader, Purpose};

/// Which way a packet crossed an interface, seen from the host.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Sent by the host. Sorts first: a packet leaves one host before it reaches the next.
    Out,
    /// Received by the host.
    In,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// What kind of packet a tap saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The call, by TCP.
    Syn,
    /// The answer of a listener.
    SynAck,
    /// The call, by UDP: a datagram that asks.
    Datagram,
    /// The datagram that answers one.
    Answer,
    /// The refusal of a host with no listener, or of a rule.
    Rst,
    /// An ICMP or ICMPv6 error that answers the call.
    Icmp {
        /// The ICMP type: 3 or 11 with IPv4, 1 or 3 with IPv6.
        #[serde(rename = "type")]
        type_: u8,
        /// The ICMP code.
        code: u8,
        /// The host that reports the error.
        from: IpAddr,
    },
}

impl Kind {
    /// Whether it is a call, and no answer to one.
    pub fn is_call(self) -> bool {
        matches!(self, Self::Syn | Self::Datagram)
    }

    /// Whether this is the same kind of packet, whatever its details.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syn => f.write_str("SYN"),
            Self::SynAck => f.write_str("SYN-ACK"),
            Self::Datagram => f.write_str("datagram"),
            Self::Answer => f.write_str("datagram"),
            Self::Rst => f.write_str("RST"),
            Self::Icmp { type_, code, from } => {
                let family = if from.is_ipv4() { "ICMP" } else { "ICMPv6" };
                write!(f, "{family} type {type_} code {code} from {from}")
            }
        }
    }
}

/// One packet at one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// The host that was tapped.
    pub host: String,
    /// Its interface.
    pub interface: String,
    /// Which way the packet went.
    pub direction: Direction,
    /// Where it came from, as its headers said here. Of an ICMP error: the address that the
    /// quoted call was sent to, so that it reads like the answer in whose place it came.
    pub source: SocketAddr,
    /// Where it went to, as its headers said here. Of an ICMP error: the quoted call's source.
    pub destination: SocketAddr,
    /// The IPv4 time to live, or the IPv6 hop limit.
    pub ttl: u8,
    /// What it was.
    pub kind: Kind,
    /// The number of the call that it is, or answers: the initial sequence number of a connection,
    /// the nonce of a datagram.
    pub sequence: u32,
    /// When, since the epoch of the taps.
    #[serde(with = "crate::timing::seconds")]
    #[schemars(with = "f64")]
    pub at: Duration,
}

/// What a packet's own octets tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) ttl: u8,
    pub(super) kind: Kind,
    pub(super) sequence: u32,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMP6: u8 = 58;

/// The length of a UDP header.
const UDP_HEADER: usize = 8;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Reads a packet that begins with its IP header. `None` for one that is no part of a journey:
/// the reset of a connection that was open, a datagram of nobody's probe, a fragment that is not the first of one, an
/// error about something other than a call.
pub(super) fn parse(data: &[u8]) -> Option<Packet> {
    let ip = Ip::parse(data)?;
    match ip.protocol {
        TCP => parse_tcp(&ip),
        UDP => parse_udp(&ip),
        ICMP | ICMP6 => parse_error(&ip),
        _ => None,
    }
}

fn parse_tcp(ip: &Ip<'_>) -> Option<Packet> {
    let flags = *ip.payload.get(13)?;
    let (kind, sequence) = match (flags & SYN != 0, flags & RST != 0, flags & ACK != 0) {
        (true, false, false) => (Kind::Syn, word(ip.payload, 4)?),
        // An answer acknowledges the call: its sequence number, and one for the SYN itself.
        (true, false, true) => (Kind::SynAck, word(ip.payload, 8)?.wrapping_sub(1)),
        // A RST that answers a SYN has no sequence number of its own (RFC 9293, 3.10.7.1). Others end
        // connections that were open, as callers do with each of theirs.
        (false, true, true) if word(ip.payload, 4)? == 0 => {
            (Kind::Rst, word(ip.payload, 8)?.wrapping_sub(1))
        }
        _ => return None,
    };
    Some(Packet {
        source: SocketAddr::new(ip.source, half(ip.payload, 0)?),
        destination: SocketAddr::new(ip.destination, half(ip.payload, 2)?),
        ttl: ip.ttl,
        kind,
        sequence,
    })
}

fn parse_udp(ip: &Ip<'_>) -> Option<Packet> {
    let header = DatagramHeader::parse(ip.payload.get(UDP_HEADER..)?)?;
    Some(Packet {
        source: SocketAddr::new(ip.source, half(ip.payload, 0)?),
        destination: SocketAddr::new(ip.destination, half(ip.payload, 2)?),
        ttl: ip.ttl,
        kind: match header.purpose {
            Purpose::Ask => Kind::Datagram,
            Purpose::Answer => Kind::Answer,
        },
        sequence: header.nonce,
    })
}

/// An ICMP error quotes the packet that it is about: at least its IP header, and the eight octets
/// of its TCP header that hold the ports and the sequence number. Of a datagram, a host that quotes
/// no more leaves the nonce out, and the error is passed over; every Linux quotes more (RFC 1812,
/// 4.3.2.3).
fn parse_error(ip: &Ip<'_>) -> Option<Packet> {
    let quoted = Ip::parse(ip.payload.get(8..)?)?;
    let sequence = match quoted.protocol {
        TCP => quoted_call(&quoted)?,
        UDP => {
            let header = DatagramHeader::parse(quoted.payload.get(UDP_HEADER..)?)?;
            (header.purpose == Purpose::Ask).then_some(header.nonce)?
        }
        _ => return None,
    };
    Some(Packet {
        source: SocketAddr::new(quoted.destination, half(quoted.payload, 2)?),
        destination: SocketAddr::new(quoted.source, half(quoted.payload, 0)?),
        ttl: ip.ttl,
        kind: Kind::Icmp {
            type_: *ip.payload.first()?,
            code: *ip.payload.get(1)?,
            from: ip.source,
        },
        sequence,
    })
}

/// The initial sequence number of a quoted SYN.
fn quoted_call(quoted: &Ip<'_>) -> Option<u32> {
    // A short quote leaves the flags out; then it is taken for a call's, and belongs to none if
    // it was not.
    let is_call = |flags: &u8| flags & (SYN | ACK | RST) == SYN;
    if !quoted.payload.get(13).is_none_or(is_call) {
        return None;
    }
    word(quoted.payload, 4)
}

/// The fields of an IP header that matter here, of either family. A later fragment has none: it does not say what it is
/// a part of.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Ip<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let first = *data.first()?;
        match first >> 4 {
            4 if half(data, 6)? & 0x1fff != 0 => None,
            4 => Some(Self {
                source: Ipv4Addr::from(array::<4>(data, 12)?).into(),
                destination: Ipv4Addr::from(array::<4>(data, 16)?).into(),
                ttl: *data.get(8)?,
                protocol: *data.get(9)?,
                payload: data.get(usize::from(first & 0x0f) * 4..)?,
            }),
            6 => {
                let (protocol, behind) = match *data.get(6)? {
                    FRAGMENT if half(data, 40 + 2)? & 0xfff8 != 0 => return None,
                    FRAGMENT => (*data.get(40)?, 40 + 8),
                    other => (other, 40),
                };
                Some(Self {
                    source: Ipv6Addr::from(array::<16>(data, 8)?).into(),
                    destination: Ipv6Addr::from(array::<16>(data, 24)?).into(),
                    ttl: *data.get(7)?,
                    protocol,
                    payload: data.get(behind..)?,
                })
            }
            _ => None,
        }
    }
}

fn array<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset + N)?.try_into().ok()
}

fn half(data: &[u8], offset: usize) -> Option<u16> {
    array(data, offset).map(u16::from_be_bytes)
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    array(data, offset).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
