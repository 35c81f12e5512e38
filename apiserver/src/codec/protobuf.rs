//! Protobuf bodies of the few kinds that typed Go clients send: kube-proxy's events, and what `kubectl create` makes.
//!
//! The tables follow `generated.proto` of `k8s.io/api` and `k8s.io/apimachinery`. Fields that are not in them are
//! skipped, as protobuf demands; none that matters to the kinds here is missing. Answers are always JSON, because
//! client-go decodes by the Content-Type of the answer.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use crate::resource::{Kind, Served};

/// What marks a body (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";
/// Deeper nesting than any table has.
const MAX_DEPTH: usize = 16;

enum Type {
    Text,
    Number,
    Flag,
    /// Whole seconds.
    Time,
    /// Microseconds.
    MicroTime,
    TextMap,
    BytesMap,
    IntOrString,
    Message(Message),
    Texts,
    Messages(Message),
}

/// (number, name in JSON, type).
type Message = &'static [(u64, &'static str, Type)];

const OWNER_REFERENCE: Message = &[
    (1, "kind", Type::Text),
    (3, "name", Type::Text),
    (4, "uid", Type::Text),
    (5, "apiVersion", Type::Text),
    (6, "controller", Type::Flag),
    (7, "blockOwnerDeletion", Type::Flag),
];
const METADATA: Message = &[
    (1, "name", Type::Text),
    (2, "generateName", Type::Text),
    (3, "namespace", Type::Text),
    (5, "uid", Type::Text),
    (6, "resourceVersion", Type::Text),
    (8, "creationTimestamp", Type::Time),
    (11, "labels", Type::TextMap),
    (12, "annotations", Type::TextMap),
    (13, "ownerReferences", Type::Messages(OWNER_REFERENCE)),
    (14, "finalizers", Type::Texts),
];
const OBJECT_REFERENCE: Message = &[
    (1, "kind", Type::Text),
    (2, "namespace", Type::Text),
    (3, "name", Type::Text),
    (4, "uid", Type::Text),
    (5, "apiVersion", Type::Text),
    (6, "resourceVersion", Type::Text),
    (7, "fieldPath", Type::Text),
];
const EVENT_SOURCE: Message = &[(1, "component", Type::Text), (2, "host", Type::Text)];
const EVENT_SERIES: Message = &[
    (1, "count", Type::Number),
    (2, "lastObservedTime", Type::MicroTime),
];
const CORE_EVENT: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "involvedObject", Type::Message(OBJECT_REFERENCE)),
    (3, "reason", Type::Text),
    (4, "message", Type::Text),
    (5, "source", Type::Message(EVENT_SOURCE)),
    (6, "firstTimestamp", Type::Time),
    (7, "lastTimestamp", Type::Time),
    (8, "count", Type::Number),
    (9, "type", Type::Text),
    (10, "eventTime", Type::MicroTime),
    (11, "series", Type::Message(EVENT_SERIES)),
    (12, "action", Type::Text),
    (13, "related", Type::Message(OBJECT_REFERENCE)),
    (14, "reportingComponent", Type::Text),
    (15, "reportingInstance", Type::Text),
];
const EVENT: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "eventTime", Type::MicroTime),
    (3, "series", Type::Message(EVENT_SERIES)),
    (4, "reportingController", Type::Text),
    (5, "reportingInstance", Type::Text),
    (6, "action", Type::Text),
    (7, "reason", Type::Text),
    (8, "regarding", Type::Message(OBJECT_REFERENCE)),
    (9, "related", Type::Message(OBJECT_REFERENCE)),
    (10, "note", Type::Text),
    (11, "type", Type::Text),
    (12, "deprecatedSource", Type::Message(EVENT_SOURCE)),
    (13, "deprecatedFirstTimestamp", Type::Time),
    (14, "deprecatedLastTimestamp", Type::Time),
    (15, "deprecatedCount", Type::Number),
];
const CONFIG_MAP: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "data", Type::TextMap),
    (3, "binaryData", Type::BytesMap),
    (4, "immutable", Type::Flag),
];
const NAMESPACE_SPEC: Message = &[(1, "finalizers", Type::Texts)];
const NAMESPACE_CONDITION: Message = &[
    (1, "type", Type::Text),
    (2, "status", Type::Text),
    (4, "lastTransitionTime", Type::Time),
    (5, "reason", Type::Text),
    (6, "message", Type::Text),
];
const NAMESPACE_STATUS: Message = &[
    (1, "phase", Type::Text),
    (2, "conditions", Type::Messages(NAMESPACE_CONDITION)),
];
const NAMESPACE: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "spec", Type::Message(NAMESPACE_SPEC)),
    (3, "status", Type::Message(NAMESPACE_STATUS)),
];
const LEASE_SPEC: Message = &[
    (1, "holderIdentity", Type::Text),
    (2, "leaseDurationSeconds", Type::Number),
    (3, "acquireTime", Type::MicroTime),
    (4, "renewTime", Type::MicroTime),
    (5, "leaseTransitions", Type::Number),
    (6, "strategy", Type::Text),
    (7, "preferredHolder", Type::Text),
];
const LEASE: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "spec", Type::Message(LEASE_SPEC)),
];
const SERVICE_PORT: Message = &[
    (1, "name", Type::Text),
    (2, "protocol", Type::Text),
    (3, "port", Type::Number),
    (4, "targetPort", Type::IntOrString),
    (5, "nodePort", Type::Number),
    (6, "appProtocol", Type::Text),
];
const CLIENT_IP: Message = &[(1, "timeoutSeconds", Type::Number)];
const AFFINITY: Message = &[(1, "clientIP", Type::Message(CLIENT_IP))];
const SERVICE_SPEC: Message = &[
    (1, "ports", Type::Messages(SERVICE_PORT)),
    (2, "selector", Type::TextMap),
    (3, "clusterIP", Type::Text),
    (4, "type", Type::Text),
    (5, "externalIPs", Type::Texts),
    (7, "sessionAffinity", Type::Text),
    (8, "loadBalancerIP", Type::Text),
    (9, "loadBalancerSourceRanges", Type::Texts),
    (10, "externalName", Type::Text),
    (11, "externalTrafficPolicy", Type::Text),
    (12, "healthCheckNodePort", Type::Number),
    (13, "publishNotReadyAddresses", Type::Flag),
    (14, "sessionAffinityConfig", Type::Message(AFFINITY)),
    (17, "ipFamilyPolicy", Type::Text),
    (18, "clusterIPs", Type::Texts),
    (19, "ipFamilies", Type::Texts),
    (20, "allocateLoadBalancerNodePorts", Type::Flag),
    (21, "loadBalancerClass", Type::Text),
    (22, "internalTrafficPolicy", Type::Text),
    (23, "trafficDistribution", Type::Text),
];
const PORT_STATUS: Message = &[
    (1, "port", Type::Number),
    (2, "protocol", Type::Text),
    (3, "error", Type::Text),
];
const INGRESS: Message = &[
    (1, "ip", Type::Text),
    (2, "hostname", Type::Text),
    (3, "ipMode", Type::Text),
    (4, "ports", Type::Messages(PORT_STATUS)),
];
const BALANCER: Message = &[(1, "ingress", Type::Messages(INGRESS))];
const CONDITION: Message = &[
    (1, "type", Type::Text),
    (2, "status", Type::Text),
    (3, "observedGeneration", Type::Number),
    (4, "lastTransitionTime", Type::Time),
    (5, "reason", Type::Text),
    (6, "message", Type::Text),
];
const SERVICE_STATUS: Message = &[
    (1, "loadBalancer", Type::Message(BALANCER)),
    (2, "conditions", Type::Messages(CONDITION)),
];
const SERVICE: Message = &[
    (1, "metadata", Type::Message(METADATA)),
    (2, "spec", Type::Message(SERVICE_SPEC)),
    (3, "status", Type::Message(SERVICE_STATUS)),
];
const PRECONDITIONS: Message = &[(1, "uid", Type::Text), (2, "resourceVersion", Type::Text)];
const DELETE_OPTIONS: Message = &[
    (1, "gracePeriodSeconds", Type::Number),
    (2, "preconditions", Type::Message(PRECONDITIONS)),
    (4, "propagationPolicy", Type::Text),
    (5, "dryRun", Type::Texts),
];

fn message(kind: Kind, served: &Served) -> Option<Message> {
    match kind {
        Kind::ConfigMap => Some(CONFIG_MAP),
        Kind::Event if served.group.is_empty() => Some(CORE_EVENT),
        Kind::Event => Some(EVENT),
        Kind::Lease => Some(LEASE),
        Kind::Namespace => Some(NAMESPACE),
        Kind::Service => Some(SERVICE),
        _ => None,
    }
}

/// Decodes an object; None where the kind has no table or the bytes are not what they should be.
pub(crate) fn object(kind: Kind, served: &Served, body: &[u8]) -> Option<Value> {
    envelope(body, message(kind, served)?)
}

/// Decodes the options of a DELETE.
pub(crate) fn delete_options(body: &[u8]) -> Option<Value> {
    envelope(body, DELETE_OPTIONS)
}

fn envelope(body: &[u8], message: Message) -> Option<Value> {
    let mut rest = body.strip_prefix(MAGIC)?;
    let (mut type_meta, mut raw) = (Value::Null, None);
    while !rest.is_empty() {
        match (field(&mut rest)?, raw) {
            ((1, Wire::Bytes(bytes)), _) => {
                type_meta = decode(
                    bytes,
                    &[(1, "apiVersion", Type::Text), (2, "kind", Type::Text)],
                    0,
                )?;
            }
            ((2, Wire::Bytes(bytes)), _) => raw = Some(bytes),
            _ => {}
        }
    }
    let mut value = decode(raw?, message, 0)?;
    for key in ["apiVersion", "kind"] {
        if let Some(text) = type_meta.get_mut(key).map(Value::take) {
            value[key] = text;
        }
    }
    Some(value)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Skipped,
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let key = varint(rest)?;
    let mut take = |length: u64| {
        let (taken, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        *rest = tail;
        Some(taken)
    };
    let wire = match key & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => take(8).map(|_| Wire::Skipped)?,
        2 => {
            let length = varint(rest)?;
            let (taken, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = tail;
            Wire::Bytes(taken)
        }
        5 => take(4).map(|_| Wire::Skipped)?,
        _ => return None,
    };
    Some((key >> 3, wire))
}

fn decode(mut rest: &[u8], message: Message, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut object = Map::new();
    while !rest.is_empty() {
        let (number, wire) = field(&mut rest)?;
        let Some((_, name, kind)) = message.iter().find(|(known, _, _)| *known == number) else {
            continue;
        };
        let existing = object.remove(*name);
        let value = match (kind, wire) {
            (Type::Text, Wire::Bytes(bytes)) => text(bytes)?,
            // Negative numbers of 32 bits are sent as 64 bits, too.
            (Type::Number, Wire::Number(number)) => number.cast_signed().into(),
            (Type::Flag, Wire::Number(number)) => (number != 0).into(),
            (Type::Time, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ")?,
            (Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
            (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Type::Message(inner), Wire::Bytes(bytes)) => decode(bytes, inner, depth + 1)?,
            (Type::Messages(inner), Wire::Bytes(bytes)) => {
                pushed(existing, decode(bytes, inner, depth + 1)?)
            }
            (Type::Texts, Wire::Bytes(bytes)) => pushed(existing, text(bytes)?),
            (Type::TextMap, Wire::Bytes(bytes)) => with_entry(existing, bytes, text)?,
            (Type::BytesMap, Wire::Bytes(bytes)) => {
                with_entry(existing, bytes, |bytes| Some(base64(bytes).into()))?
            }
            _ => return None,
        };
        object.insert((*name).into(), value);
    }
    Some(Value::Object(object))
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

fn pushed(existing: Option<Value>, element: Value) -> Value {
    match existing {
        Some(Value::Array(mut list)) => {
            list.push(element);
            Value::Array(list)
        }
        _ => Value::Array(vec![element]),
    }
}

fn with_entry(
    existing: Option<Value>,
    mut entry: &[u8],
    value: impl Fn(&[u8]) -> Option<Value>,
) -> Option<Value> {
    let (mut key, mut found) = (String::new(), value(b"")?);
    while !entry.is_empty() {
        match field(&mut entry)? {
            (1, Wire::Bytes(bytes)) => key = std::str::from_utf8(bytes).ok()?.into(),
            (2, Wire::Bytes(bytes)) => found = value(bytes)?,
            _ => {}
        }
    }
    let mut map = match existing {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    map.insert(key, found);
    Some(Value::Object(map))
}

/// A zero time is an empty message.
fn time(mut bytes: &[u8], format: &str) -> Option<Value> {
    if bytes.is_empty() {
        return Some(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0i64, 0i32);
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Number(number)) => seconds = number.cast_signed(),
            (2, Wire::Number(number)) => nanoseconds = i32::try_from(number).ok()?,
            _ => {}
        }
    }
    Some(
        Timestamp::new(seconds, nanoseconds)
            .ok()?
            .strftime(format)
            .to_string()
            .into(),
    )
}

fn int_or_string(mut bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut name) = (false, 0i64, Value::from(""));
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => name = text(bytes)?,
            _ => {}
        }
    }
    Some(if is_text { name } else { number.into() })
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (index, byte)| {
            bits | u32::from(*byte) << (16 - 8 * index)
        });
        for position in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * position) & 63).unwrap_or_default();
            encoded.push(if position <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::by_kind;

    fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }

    #[test]
    fn a_service_is_read() {
        let port = [vec![3 << 3, 80], bytes_field(4, &[8, 1, 26, 1, b'h'])].concat();
        let selector = [bytes_field(1, b"app"), bytes_field(2, b"web")].concat();
        let spec = [
            bytes_field(1, &port),
            bytes_field(1, &[24, 81]),
            bytes_field(2, &selector),
        ]
        .concat();
        let ingress = [bytes_field(1, b"192.0.2.1"), bytes_field(3, b"VIP")].concat();
        let status = bytes_field(1, &bytes_field(1, &ingress));
        let raw = [
            bytes_field(1, &bytes_field(1, b"web")),
            bytes_field(2, &spec),
            bytes_field(3, &status),
        ]
        .concat();
        let meta = [bytes_field(1, b"v1"), bytes_field(2, b"Service")].concat();
        let body = [MAGIC, &bytes_field(1, &meta), &bytes_field(2, &raw)].concat();
        let expected = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec":
            {"ports": [{"port": 80, "targetPort": "h"}, {"port": 81}], "selector": {"app": "web"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}});
        let service = by_kind(Kind::Service);
        assert_eq!(
            object(Kind::Service, service.stored(), &body),
            Some(expected)
        );
        for length in 0..body.len() {
            // Whatever is cut off, nothing panics.
            let _ = object(Kind::Service, service.stored(), &body[..length]);
        }
    }

    #[test]
    fn bytes_become_base64() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
