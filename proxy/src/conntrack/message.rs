//! The attributes of ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`): requests out, entries in. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use onehop_nft::netlink::{Attributes, Builder, Malformed, Message, kind, messages};

use super::Flow;
use crate::model::Protocol;

#[cfg(test)]
mod tests;

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u8 = 1;
/// The type of a request for entries.
pub(super) const GET: u16 = kind::of(SUBSYSTEM, 1);
/// The type of a request to delete one.
pub(super) const DELETE: u16 = kind::of(SUBSYSTEM, 2);
/// The type of a request for the number of entries.
pub(super) const COUNT: u16 = kind::of(SUBSYSTEM, 5);

const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
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

/// A flow with what names its entry to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) flow: Flow,
    /// The zone of the entry, and of its original direction alone.
    zone: Option<u16>,
    original_zone: Option<u16>,
    /// Its identity, so that a deletion leaves an entry that took its place meanwhile.
    id: Option<u32>,
}

/// Asks for UDP entries only. A kernel before 5.8 ignores it, and sends all.
pub(super) fn only_udp(out: &mut Builder) {
    out.nest(CTA_TUPLE_ORIG, |out| {
        out.nest(CTA_TUPLE_PROTO, |out| {
            out.u8(CTA_PROTO_NUM, Protocol::Udp.number());
        });
    });
    out.nest(CTA_FILTER, |out| {
        // These two are in the machine's own order.
        out.bytes(CTA_FILTER_ORIG_FLAGS, &FILTER_PROTOCOL.to_ne_bytes());
        out.bytes(CTA_FILTER_REPLY_FLAGS, &0_u32.to_ne_bytes());
    });
}

/// Reads the number of entries, if it is given.
///
/// # Errors
/// When it is malformed.
pub(super) fn count(message: &Message<'_>) -> Result<Option<u32>, Malformed> {
    let mut attributes = message.body()?.1.flatten();
    let count = attributes.find(|attribute| attribute.kind == CTA_STATS_GLOBAL_ENTRIES);
    count.map(|count| count.be32()).transpose()
}

/// Names an entry.
pub(super) fn put_entry(out: &mut Builder, entry: &Entry) {
    let Flow {
        source,
        destination,
        ..
    } = entry.flow;
    out.nest(CTA_TUPLE_ORIG, |out| {
        put_tuple(out, source, destination);
        if let Some(zone) = entry.original_zone {
            out.be16(CTA_TUPLE_ZONE, zone);
        }
    });
    if let Some(zone) = entry.zone {
        out.be16(CTA_ZONE, zone);
    }
    if let Some(id) = entry.id {
        out.be32(CTA_ID, id);
    }
}

fn put_tuple(out: &mut Builder, source: SocketAddr, destination: SocketAddr) {
    out.nest(CTA_TUPLE_IP, |out| {
        for (address, v4, v6) in [
            (source.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC),
            (destination.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST),
        ] {
            match address {
                IpAddr::V4(address) => out.bytes(v4, &address.octets()),
                IpAddr::V6(address) => out.bytes(v6, &address.octets()),
            }
        }
    });
    out.nest(CTA_TUPLE_PROTO, |out| {
        out.u8(CTA_PROTO_NUM, Protocol::Udp.number());
        out.be16(CTA_PROTO_SRC_PORT, source.port());
        out.be16(CTA_PROTO_DST_PORT, destination.port());
    });
}

/// Reads an entry; `None` if it is no UDP flow.
///
/// # Errors
/// When it is malformed.
pub(super) fn entry(message: &Message<'_>) -> Result<Option<Entry>, Malformed> {
    let (mut original, mut reply, mut original_zone) = (None, None, None);
    let (mut zone, mut id) = (None, None);
    for attribute in message.body()?.1 {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => {
                original = tuple(attribute.nested())?;
                let mut parts = attribute.nested().flatten();
                let zone = parts.find(|part| part.kind == CTA_TUPLE_ZONE);
                original_zone = zone.map(|zone| zone.be16()).transpose()?;
            }
            CTA_TUPLE_REPLY => reply = tuple(attribute.nested())?,
            CTA_ZONE => zone = Some(attribute.be16()?),
            CTA_ID => id = Some(attribute.be32()?),
            _ => {}
        }
    }
    let (Some((source, destination)), Some((answers_from, _))) = (original, reply) else {
        return Ok(None);
    };
    let flow = Flow {
        source,
        destination,
        answers_from,
    };
    Ok(Some(Entry {
        flow,
        zone,
        original_zone,
        id,
    }))
}

/// Reads messages as the kernel's socket gives them, and names their entries to it again; how many there are.
/// For fuzzing.
pub(crate) fn read(bytes: &[u8]) -> usize {
    let entries = messages(bytes)
        .flatten()
        .filter_map(|message| entry(&message).ok()?);
    let named = entries.inspect(|entry| put_entry(&mut Builder::default(), entry));
    named.count()
}

/// Source and destination of a tuple; `None` if it is not UDP's.
fn tuple(tuple: Attributes<'_>) -> Result<Option<(SocketAddr, SocketAddr)>, Malformed> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (None, None, None);
    for part in tuple {
        let part = part?;
        // The zone is a part that holds a number, and is read by whoever wants it.
        if part.kind == CTA_TUPLE_ZONE {
            continue;
        }
        for attribute in part.nested() {
            let attribute = attribute?;
            match (part.kind, attribute.kind) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => {
                    source = Some(address(attribute.value)?);
                }
                (CTA_TUPLE_IP, CTA_IP_V4_DST | CTA_IP_V6_DST) => {
                    destination = Some(address(attribute.value)?);
                }
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => protocol = Some(attribute.u8()?),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => source_port = Some(attribute.be16()?),
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => {
                    destination_port = Some(attribute.be16()?);
                }
                _ => {}
            }
        }
    }
    if protocol != Some(Protocol::Udp.number()) {
        return Ok(None);
    }
    let socket = |address: Option<IpAddr>, port: Option<u16>| {
        let incomplete = Malformed("a UDP tuple without an address or a port");
        Ok(SocketAddr::new(
            address.ok_or(incomplete)?,
            port.ok_or(incomplete)?,
        ))
    };
    Ok(Some((
        socket(source, source_port)?,
        socket(destination, destination_port)?,
    )))
}

fn address(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    match bytes.len() {
        4 => Ok(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("its length")).into()),
        16 => Ok(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("its length")).into()),
        _ => Err(Malformed("an address of another length")),
    }
}
