//! Elements as the kernel has them, and back.

use std::net::IpAddr;

use onehop_nft::{Data, Element, Value as Bytes, Verdict};

use super::classes::Refusal;
use super::element::{FrontKey, Key, Value};
use super::layout;
use crate::model::{Family, Protocol};

/// The name of the set or map that an element is in.
pub(super) fn set_of(key: &Key) -> &'static str {
    match key {
        Key::Service(_) => layout::SERVICES,
        Key::ServiceId(_) => layout::SERVICE_IDS,
        Key::SourceChecked(_) => layout::SOURCE_CHECKED,
        Key::Endpoint { .. } => layout::ENDPOINTS,
        Key::Slot { .. } => layout::SLOTS,
        Key::Sources { .. } => layout::SOURCE_RANGES,
        Key::ClusterIp(_) => layout::CLUSTER_IPS,
        Key::Hairpin(_) => layout::HAIRPINS,
        Key::NodePortAddress(_) => layout::NODE_PORT_ADDRESSES,
        Key::Class(_) => layout::CLASSES,
        Key::Refusal(_) => layout::REFUSALS,
    }
}

/// An element without its value, which is enough to delete it.
pub(super) fn key(key: &Key) -> Element {
    let bytes = Bytes::new();
    match *key {
        Key::Service(front) | Key::ServiceId(front) | Key::SourceChecked(front) => Element::new(
            bytes
                .ip(front.address)
                .proto(front.protocol.number())
                .port(front.port),
        ),
        Key::Endpoint { id, number } | Key::Slot { id, number } => {
            Element::new(bytes.number(id).number(number))
        }
        Key::Sources { id, first, last } => {
            Element::new(bytes.number(id).ip(first)).to(bytes.number(id).ip(last))
        }
        Key::ClusterIp(address) | Key::NodePortAddress(address) => Element::new(bytes.ip(address)),
        Key::Hairpin(address) => Element::new(bytes.ip(address).ip(address)),
        Key::Class(number) | Key::Refusal(number) => Element::new(bytes.number(number)),
    }
}

/// An element.
pub(super) fn element(element_key: &Key, value: &Value) -> Element {
    let bytes = Bytes::new();
    let data = match value {
        Value::Member => None,
        Value::Number(number) => Some(Data::Value(bytes.number(*number))),
        Value::Endpoint(endpoint) => {
            Some(Data::Value(bytes.ip(endpoint.ip()).port(endpoint.port())))
        }
        Value::Chain(class) => Some(Data::Verdict(Verdict::goto(class.chain()))),
        Value::Refusal(Refusal::Drop) => Some(Data::Verdict(Verdict::Drop)),
        Value::Refusal(Refusal::Reject) => Some(Data::Verdict(Verdict::goto(layout::REJECT))),
    };
    Element {
        data,
        ..key(element_key)
    }
}

/// A front and its id, from an element of the map `service-ids`; `None` if it is none of ours.
pub(super) fn front_id(family: Family, element: &Element) -> Option<(FrontKey, u32)> {
    let (address, rest) = address(family, element.key.as_slice())?;
    let (protocol, port) = match rest {
        [protocol, 0, 0, 0, high, low, 0, 0] => (*protocol, u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let protocol = protocols.into_iter().find(|p| p.number() == protocol)?;
    let Some(Data::Value(value)) = &element.data else {
        return None;
    };
    let id = u32::from_ne_bytes(value.as_slice().try_into().ok()?);
    let front = FrontKey {
        address,
        protocol,
        port,
    };
    Some((front, id))
}

fn address(family: Family, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    Some(match family {
        Family::V4 => {
            let (address, rest) = bytes.split_first_chunk::<4>()?;
            ((*address).into(), rest)
        }
        Family::V6 => {
            let (address, rest) = bytes.split_first_chunk::<16>()?;
            ((*address).into(), rest)
        }
    })
}
