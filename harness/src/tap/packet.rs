//! From the octets of a packet to what a tap tells about it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::datagram::{DatagramHeader, Purpose};

/// Which way a packet crossed an interface, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// When, since the taps started.
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
const ICMP6: u8 = 58;

/// The length of a UDP header.
const UDP_HEADER: usize = 8;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Reads a packet that begins with its IP header. `None` for one that is no part of a journey:
/// the reset of a connection that was open, a datagram of nobody's probe, an error about something
/// other than a call.
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
        (false, true, true) => (Kind::Rst, word(ip.payload, 8)?.wrapping_sub(1)),
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

/// The fields of an IP header that matter here, of either family.
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
            4 => Some(Self {
                source: Ipv4Addr::from(array::<4>(data, 12)?).into(),
                destination: Ipv4Addr::from(array::<4>(data, 16)?).into(),
                ttl: *data.get(8)?,
                protocol: *data.get(9)?,
                payload: data.get(usize::from(first & 0x0f) * 4..)?,
            }),
            6 => Some(Self {
                source: Ipv6Addr::from(array::<16>(data, 8)?).into(),
                destination: Ipv6Addr::from(array::<16>(data, 24)?).into(),
                ttl: *data.get(7)?,
                protocol: *data.get(6)?,
                payload: data.get(40..)?,
            }),
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
mod tests {
    use super::*;

    /// A packet by etherparse, which shares no code with the parser under test.
    fn tcp(v6: bool, set: impl FnOnce(&mut etherparse::TcpHeader)) -> Vec<u8> {
        let builder = if v6 {
            let (mut a, mut b) = ([0; 16], [0; 16]);
            (a[15], b[15]) = (1, 2);
            etherparse::PacketBuilder::ipv6(a, b, 61)
        } else {
            etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 61)
        };
        let mut header = etherparse::TcpHeader::new(40_000, 80, 7_000, 1_024);
        set(&mut header);
        let builder = builder.tcp_header(header);
        let mut octets = Vec::new();
        builder.write(&mut octets, &[]).expect("written to memory");
        octets
    }

    fn answer(header: &mut etherparse::TcpHeader) {
        header.ack = true;
        header.acknowledgment_number = 0;
    }

    #[test]
    fn a_call_is_known_by_its_sequence_number_and_an_answer_by_what_it_acknowledges() {
        for v6 in [false, true] {
            let call = parse(&tcp(v6, |h| h.syn = true)).expect("a SYN");
            assert_eq!((call.kind, call.sequence, call.ttl), (Kind::Syn, 7_000, 61));
            assert_eq!((call.source.port(), call.destination.port()), (40_000, 80));

            let accepted = parse(&tcp(v6, |h| {
                answer(h);
                h.syn = true;
            }));
            let accepted = accepted.expect("a SYN-ACK");
            assert_eq!(
                (accepted.kind, accepted.sequence),
                (Kind::SynAck, u32::MAX),
                "the number before 0 wraps around"
            );
            let refused = parse(&tcp(v6, |h| {
                answer(h);
                h.rst = true;
            }));
            assert_eq!(refused.expect("a RST").kind, Kind::Rst);
            assert_eq!(parse(&tcp(v6, |h| h.ack = true)), None);
            assert_eq!(parse(&tcp(v6, |h| h.rst = true)), None);
        }
    }

    #[test]
    fn an_icmp_error_reads_like_the_answer_in_whose_place_it_came() {
        let quoted = tcp(false, |h| h.syn = true);
        let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 60);
        let builder = builder.icmpv4_raw(3, 3, [0; 4]);
        let mut octets = Vec::new();
        builder
            .write(&mut octets, &quoted)
            .expect("written to memory");
        // The least that a host must quote: the IP header and eight octets.
        for length in [octets.len(), 20 + 8 + 20 + 8] {
            let error = parse(&octets[..length]).expect("an error about a SYN");
            assert_eq!(error.source, "10.0.0.2:80".parse().expect("an address"));
            assert_eq!(
                error.destination,
                "10.0.0.1:40000".parse().expect("an address")
            );
            assert_eq!((error.sequence, error.ttl), (7_000, 60));
            let from = IpAddr::from([10, 0, 0, 9]);
            let (type_, code) = (3, 3);
            assert_eq!(error.kind, Kind::Icmp { type_, code, from });
        }
    }

    #[test]
    fn an_icmp_error_about_an_open_connection_is_nobodys_answer() {
        let quoted = tcp(true, |h| h.ack = true);
        let builder = etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 60);
        let builder = builder.icmpv6_raw(1, 4, [0; 4]);
        let mut octets = Vec::new();
        builder
            .write(&mut octets, &quoted)
            .expect("written to memory");
        assert_eq!(parse(&octets), None);
    }

    /// A datagram of a probe, from port 40000 to port 80.
    fn udp(v6: bool, payload: &[u8]) -> Vec<u8> {
        let builder = if v6 {
            etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 61)
        } else {
            etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 61)
        };
        let mut octets = Vec::new();
        let written = builder.udp(40_000, 80).write(&mut octets, payload);
        written.expect("written to memory");
        octets
    }

    fn header(purpose: Purpose) -> [u8; DatagramHeader::LENGTH] {
        let nonce = 7_000;
        DatagramHeader { purpose, nonce }.to_bytes()
    }

    #[test]
    fn datagrams_are_known_by_the_nonce_of_their_payload() {
        for v6 in [false, true] {
            let ask = parse(&udp(v6, &header(Purpose::Ask))).expect("a probe's");
            assert_eq!((ask.kind, ask.sequence), (Kind::Datagram, 7_000));
            assert_eq!((ask.source.port(), ask.destination.port()), (40_000, 80));
            assert_eq!(ask.ttl, 61);
            let said = [&header(Purpose::Answer)[..], b"{}"].concat();
            let answer = parse(&udp(v6, &said)).expect("a probe's");
            assert_eq!((answer.kind, answer.sequence), (Kind::Answer, 7_000));
            assert_eq!(parse(&udp(v6, b"somebody else's")), None);
        }
    }

    #[test]
    fn an_icmp_error_about_a_datagram_is_the_answer_in_whose_place_it_came() {
        for v6 in [false, true] {
            let about = |payload: &[u8]| {
                let mut octets = Vec::new();
                let quoted = udp(v6, payload);
                let written = if v6 {
                    let builder = etherparse::PacketBuilder::ipv6([9; 16], [1; 16], 60);
                    builder.icmpv6_raw(1, 4, [0; 4]).write(&mut octets, &quoted)
                } else {
                    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 60);
                    builder.icmpv4_raw(3, 3, [0; 4]).write(&mut octets, &quoted)
                };
                written.expect("written to memory");
                octets
            };
            let error = parse(&about(&header(Purpose::Ask))).expect("an error about a probe");
            let (type_, code) = if v6 { (1, 4) } else { (3, 3) };
            let is_right = |kind| matches!(kind, Kind::Icmp { type_: t, code: c, .. } if (t, c) == (type_, code));
            assert!(is_right(error.kind), "{}", error.kind);
            assert_eq!((error.sequence, error.ttl), (7_000, 60));
            assert_eq!(
                (error.source.port(), error.destination.port()),
                (80, 40_000)
            );
            // What is quoted is no call, or cannot be told from one.
            assert_eq!(parse(&about(&header(Purpose::Answer))), None);
            let whole = about(&header(Purpose::Ask));
            assert_eq!(parse(&whole[..whole.len() - 1]), None);
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_read_or_passed_over() {
        for whole in [
            tcp(true, |h| h.syn = true),
            udp(true, &header(Purpose::Ask)),
        ] {
            for length in 0..whole.len() {
                let _ = parse(&whole[..length]);
            }
        }
    }
}
