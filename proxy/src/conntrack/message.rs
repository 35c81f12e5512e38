//! The bytes of ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`): requests out, entries in. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Flow;
use crate::model::{Family, Protocol};

#[cfg(test)]
mod tests;

/// `NFNL_SUBSYS_CTNETLINK`, as the upper byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET`.
const GET: u16 = 1;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 2;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// In answers: entries came and went meanwhile, so that some may be missing.
const NLM_F_DUMP_INTR: u16 = 0x10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Netlink's header, and nfnetlink's after it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// The filter compares the protocol (`net/netfilter/nf_internals.h`).
const FILTER_PROTOCOL: u32 = 1 << 3;

const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE: u16 = 0x3fff;

/// A flow with what names its entry to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) flow: Flow,
    /// The attributes that a deletion repeats: the tuple with its zone, and the identity, so that an
    /// entry that took its place meanwhile stays.
    handle: Vec<u8>,
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// An entry, to be read by [`entry`].
    Entry(&'a [u8]),
    /// The end of a dump, or the answer to a deletion: 0, or an error number.
    Done(i32),
}

/// A message of an answer, with its sequence number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) sequence: u32,
    /// Whether the dump is inconsistent.
    pub(super) interrupted: bool,
    pub(super) answer: Answer<'a>,
}

/// A request for all UDP entries of a family. A kernel before 5.8 ignores the filter, and sends all.
pub(super) fn dump_request(family: Family, sequence: u32) -> Vec<u8> {
    let mut out = Vec::new();
    message(
        &mut out,
        GET,
        NLM_F_REQUEST | NLM_F_DUMP,
        family,
        sequence,
        |out| {
            attribute(out, CTA_TUPLE_ORIG | NLA_F_NESTED, |out| {
                attribute(out, CTA_TUPLE_PROTO | NLA_F_NESTED, |out| {
                    attribute(out, CTA_PROTO_NUM, |out| out.push(Protocol::Udp.number()));
                });
            });
            attribute(out, CTA_FILTER | NLA_F_NESTED, |out| {
                let flags = |out: &mut Vec<u8>, flags: u32| out.extend(flags.to_ne_bytes());
                attribute(out, CTA_FILTER_ORIG_FLAGS, |out| {
                    flags(out, FILTER_PROTOCOL)
                });
                attribute(out, CTA_FILTER_REPLY_FLAGS, |out| flags(out, 0));
            });
        },
    );
    out
}

/// Appends a request to delete an entry.
pub(super) fn delete_request(out: &mut Vec<u8>, entry: &Entry, sequence: u32) {
    let family = Family::of(entry.flow.destination.ip());
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    message(out, DELETE, flags, family, sequence, |out| {
        out.extend(&entry.handle)
    });
}

/// The messages of one datagram. Ends at the first that is cut short.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER)?;
        let length = u32_at(header, 0)? as usize;
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(align(length)..).unwrap_or_default();
        let answer = match u16_at(header, 4)? {
            // Both begin with an error number, negated.
            NLMSG_ERROR | NLMSG_DONE => Answer::Done(-i32::from_ne_bytes(array(body, 0)?)),
            _ => Answer::Entry(body),
        };
        Some(Message {
            sequence: u32_at(header, 8)?,
            interrupted: u16_at(header, 6)? & NLM_F_DUMP_INTR != 0,
            answer,
        })
    })
}

/// Reads an entry; `None` if it is no UDP flow, or not one that makes sense.
pub(super) fn entry(body: &[u8]) -> Option<Entry> {
    let attributes = body.get(FAMILY_HEADER..)?;
    let (source, destination) = tuple(find(attributes, CTA_TUPLE_ORIG)?)?;
    let (answers_from, _) = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    let repeated = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID];
    let handle = all(attributes)
        .filter(|(kind, _)| repeated.contains(&(kind & NLA_TYPE)))
        .fold(Vec::new(), |mut handle, (kind, payload)| {
            attribute(&mut handle, kind, |out| out.extend(payload));
            handle
        });
    let flow = Flow {
        source,
        destination,
        answers_from,
    };
    Some(Entry { flow, handle })
}

/// Source and destination of a tuple, if it is UDP's.
fn tuple(attributes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let protocol = find(attributes, CTA_TUPLE_PROTO)?;
    if find(protocol, CTA_PROTO_NUM)? != [Protocol::Udp.number()] {
        return None;
    }
    let port = |kind| Some(u16::from_be_bytes(array(find(protocol, kind)?, 0)?));
    let ip = find(attributes, CTA_TUPLE_IP)?;
    let address = |v4, v6| -> Option<IpAddr> {
        match find(ip, v4) {
            Some(bytes) => Some(Ipv4Addr::from(array::<4>(bytes, 0)?).into()),
            None => Some(Ipv6Addr::from(array::<16>(find(ip, v6)?, 0)?).into()),
        }
    };
    Some((
        SocketAddr::new(
            address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
            port(CTA_PROTO_SRC_PORT)?,
        ),
        SocketAddr::new(
            address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
            port(CTA_PROTO_DST_PORT)?,
        ),
    ))
}

fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    all(attributes).find_map(|(kind, payload)| (kind & NLA_TYPE == wanted).then_some(payload))
}

/// Attributes, with their types as they came. Ends at the first that is cut short.
fn all(mut attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(attributes, 0)?);
        let kind = u16_at(attributes, 2)?;
        let payload = attributes.get(4..length)?;
        attributes = attributes.get(align(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: Family,
    sequence: u32,
    attributes: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend(0_u32.to_ne_bytes());
    out.extend((SUBSYSTEM | kind).to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    out.extend([u8::try_from(family).expect("a small number"), 0, 0, 0]);
    attributes(out);
    let length = u32::try_from(out.len() - start).expect("a short message");
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(out: &mut Vec<u8>, kind: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 2]);
    out.extend(kind.to_ne_bytes());
    payload(out);
    let length = u16::try_from(out.len() - start).expect("a short attribute");
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    out.resize(start + align(usize::from(length)), 0);
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(array(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(array(bytes, at)?))
}
