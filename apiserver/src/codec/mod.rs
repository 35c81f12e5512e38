//! Bodies in, objects out: JSON and YAML, duplicate and unknown fields, and the form in which an object is kept.

pub(crate) mod protobuf;

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::resource::{Kind, Resource, Served};
use crate::status::Status;

/// A decoded body and the fields that it holds twice.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
}

/// Parses JSON and notes duplicate fields; the last one wins, as in Go.
///
/// # Errors
/// What the JSON parser says.
pub(crate) fn parse_json(text: &[u8]) -> Result<Body, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict {
        path: &mut Path::default(),
        duplicates: &mut duplicates,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Body { value, duplicates })
}

/// Parses YAML, of which JSON is a part.
///
/// # Errors
/// The parser's message.
pub(crate) fn parse_yaml(text: &[u8]) -> Result<Body, String> {
    if let Ok(body) = parse_json(text) {
        return Ok(body);
    }
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(Body {
        value,
        duplicates: Vec::new(),
    })
}

/// How many duplicate or unknown fields are noted: as many strict errors as upstream's decoder keeps.
pub(crate) const COMPLAINTS: usize = 100;
/// How much of a path is kept. It is part of a sentence for people, and keys may be as long as a body.
const PATH_LIMIT: usize = 4096;

/// The path of the field that is being read, in one buffer: a text of its own for each field would make long keys costly.
#[derive(Debug, Default)]
struct Path(String);

impl Path {
    /// Enters a field; the returned length is for [`Path::leave`].
    fn enter(&mut self, key: &str) -> usize {
        let length = self.0.len();
        if length > 0 {
            self.0.push('.');
        }
        self.0.push_str(key);
        length
    }

    fn enter_element(&mut self, index: usize) -> usize {
        let length = self.0.len();
        self.0.push_str(&format!("[{index}]"));
        length
    }

    fn leave(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Adds the path to the complaints, if there is room for one more.
    fn note(&self, complaints: &mut Vec<String>) {
        if complaints.len() < COMPLAINTS {
            let end = self.0.floor_char_boundary(PATH_LIMIT);
            complaints.push(self.0[..end].to_string());
        }
    }
}

struct Strict<'a> {
    path: &'a mut Path,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let outer = self.path.enter_element(list.len());
            let element = elements.next_element_seed(Strict {
                path: &mut *self.path,
                duplicates: &mut *self.duplicates,
            })?;
            self.path.leave(outer);
            match element {
                Some(element) => list.push(element),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut repeated = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let outer = self.path.enter(&key);
            if map.contains_key(&key) && repeated.insert(key.clone()) {
                self.path.note(self.duplicates);
            }
            let value = entries.next_value_seed(Strict {
                path: &mut *self.path,
                duplicates: &mut *self.duplicates,
            })?;
            self.path.leave(outer);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// An object in stored form and the fields of its source that the type does not have.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) unknown: Vec<String>,
}

/// Brings an object of a served version into stored form: typed, without unknown fields, without empty ones.
///
/// # Errors
/// 400 when a field has the wrong type, or the body is of another kind.
pub(crate) fn decode(
    resource: &Resource,
    served: &Served,
    mut value: Value,
) -> Result<Decoded, Status> {
    let Some(object) = value.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: not an object",
            resource.kind_name
        )));
    };
    match object.get("kind").and_then(Value::as_str) {
        None | Some("") => {}
        Some(kind) if kind == resource.kind_name => {}
        Some(kind) => {
            return Err(Status::bad_request(format!(
                "{kind} in version \"{}\" cannot be handled as a {}: converting ({}.{kind}) to (core.{}): unknown conversion",
                served.version, resource.kind_name, served.version, resource.kind_name
            )));
        }
    }
    match object.get("apiVersion").and_then(Value::as_str) {
        None | Some("") => {}
        Some(version) if version == served.api_version() => {}
        Some(version) => {
            let version = version.rsplit('/').next().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\"",
                kind = resource.kind_name
            )));
        }
    }
    for (name, stored) in served.renamed {
        object.remove(*stored);
        if let Some(field) = object.remove(*name) {
            object.insert((*stored).into(), field);
        }
    }
    object.insert("apiVersion".into(), resource.stored().api_version().into());
    object.insert("kind".into(), resource.kind_name.into());
    if !object.get("metadata").is_some_and(Value::is_object) {
        object.insert("metadata".into(), Value::Object(Map::new()));
    }
    tolerate_missing_fields(resource.kind, object);
    let mut typed = (resource.round_trip)(value.clone()).map_err(|error| {
        Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal: {error}",
            resource.kind_name, served.version, resource.kind_name
        ))
    })?;
    let mut unknown = Vec::new();
    collect_unknown(&value, &typed, &mut Path::default(), &mut unknown);
    drop_empty(resource.kind, &mut typed);
    Ok(Decoded {
        value: typed,
        unknown,
    })
}

/// Go decodes a missing field to its zero value and lets validation speak; the typed crate insists on some.
fn tolerate_missing_fields(kind: Kind, object: &mut Map<String, Value>) {
    let empty = |object: &mut Map<String, Value>, key: &str, value: Value| {
        if object.get(key).is_none_or(Value::is_null) {
            object.insert(key.into(), value);
        }
    };
    if kind == Kind::EndpointSlice {
        empty(object, "addressType", "".into());
        empty(object, "endpoints", Value::Array(Vec::new()));
        for endpoint in object
            .get_mut("endpoints")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(endpoint) = endpoint.as_object_mut() {
                empty(endpoint, "addresses", Value::Array(Vec::new()));
            }
        }
    }
    if kind == Kind::Event {
        empty(object, "involvedObject", Value::Object(Map::new()));
    }
    if kind == Kind::Service {
        let ports = object
            .get_mut("spec")
            .and_then(|spec| spec.get_mut("ports"))
            .and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                empty(port, "port", 0.into());
            }
        }
    }
}

/// The object as a served version shows it.
pub(crate) fn encode(resource: &Resource, served: &Served, stored: &Value) -> Value {
    if std::ptr::eq(served, resource.stored()) {
        return stored.clone();
    }
    let mut value = stored.clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), served.api_version().into());
        for (name, stored) in served.renamed {
            if let Some(field) = object.remove(*stored) {
                object.insert((*name).into(), field);
            }
        }
        if !served.renamed.is_empty() {
            // What the stored version always shows, the other one leaves out when it is empty.
            object.retain(|_, field| *field != "");
        }
    }
    value
}

fn collect_unknown(source: &Value, typed: &Value, path: &mut Path, unknown: &mut Vec<String>) {
    match (source, typed) {
        (Value::Object(source), Value::Object(typed)) => {
            for (key, value) in source {
                let outer = path.enter(key);
                match typed.get(key) {
                    Some(typed) => collect_unknown(value, typed, path, unknown),
                    None if value.is_null() => {}
                    None => path.note(unknown),
                }
                path.leave(outer);
            }
        }
        (Value::Array(source), Value::Array(typed)) => {
            for (index, (source, typed)) in source.iter().zip(typed).enumerate() {
                let outer = path.enter_element(index);
                collect_unknown(source, typed, path, unknown);
                path.leave(outer);
            }
        }
        _ => {}
    }
}

/// Maps of strings: their values stay, even empty ones, and only the empty map itself is left out.
const STRING_MAPS: &[&str] = &[
    "labels",
    "annotations",
    "selector",
    "nodeSelector",
    "matchLabels",
    "data",
    "binaryData",
    "capacity",
    "allocatable",
    "limits",
    "requests",
    "deprecatedTopology",
];

/// Strings that Go keeps when empty, because they are pointers or lack `omitempty`.
fn keeps_empty_string(kind: Kind, key: &str) -> bool {
    match kind {
        Kind::EndpointSlice => {
            matches!(
                key,
                "name" | "appProtocol" | "hostname" | "nodeName" | "zone" | "addressType"
            )
        }
        Kind::Service => matches!(
            key,
            "loadBalancerClass"
                | "appProtocol"
                | "ipFamilyPolicy"
                | "internalTrafficPolicy"
                | "trafficDistribution"
                | "message"
                | "reason"
        ),
        Kind::Lease => key == "holderIdentity",
        Kind::Pod => matches!(key, "name" | "mountPath" | "image" | "imageID"),
        Kind::Node => matches!(
            key,
            "address"
                | "architecture"
                | "bootID"
                | "containerRuntimeVersion"
                | "kernelVersion"
                | "kubeProxyVersion"
                | "kubeletVersion"
                | "machineID"
                | "operatingSystem"
                | "osImage"
                | "systemUUID"
                | "type"
                | "effect"
                | "key"
                | "status"
        ),
        _ => false,
    }
}

/// Booleans and numbers that Go leaves out when zero; the others are pointers or always shown.
const ZERO_IS_ABSENT: &[&str] = &[
    "publishNotReadyAddresses",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "unschedulable",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "nodePort",
    "healthCheckNodePort",
    "hostPort",
    "count",
    "generation",
];

/// Leaves out what Go's `omitempty` leaves out, so that objects compare and print as upstream's do.
pub(crate) fn drop_empty(kind: Kind, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                if STRING_MAPS.contains(&key.as_str()) {
                    return value.as_object().is_none_or(|map| !map.is_empty()) && !value.is_null();
                }
                drop_empty(kind, value);
                match value {
                    Value::Null => false,
                    Value::String(text) => !text.is_empty() || keeps_empty_string(kind, key),
                    Value::Array(list) => !list.is_empty(),
                    Value::Bool(false) => !ZERO_IS_ABSENT.contains(&key.as_str()),
                    Value::Number(number) => {
                        number.as_i64() != Some(0) || !ZERO_IS_ABSENT.contains(&key.as_str())
                    }
                    _ => true,
                }
            });
        }
        Value::Array(list) => list.iter_mut().for_each(|value| drop_empty(kind, value)),
        _ => {}
    }
}

/// Decodes a typed view of a stored value.
///
/// # Errors
/// 500: a stored value always fits its type.
pub(crate) fn typed<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, Status> {
    T::deserialize(value).map_err(Status::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource;

    #[test]
    fn duplicate_fields_are_named_by_path() {
        let body = parse_json(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":1}]}"#).expect("JSON");
        assert_eq!(body.duplicates, ["a.b", "c[0].d"]);
        assert_eq!(body.value["a"]["b"], 2);
        let many = format!("{{{}\"k\":0}}", "\"k\":0,".repeat(100_000));
        assert_eq!(parse_json(many.as_bytes()).expect("JSON").duplicates, ["k"]);
    }

    #[test]
    fn complaints_are_bounded() {
        let pairs: Vec<String> = (0..100_000)
            .map(|n| format!("\"k{n}\":0,\"k{n}\":0"))
            .collect();
        let body = parse_json(format!("{{{}}}", pairs.join(",")).as_bytes()).expect("JSON");
        assert_eq!(body.duplicates.len(), COMPLAINTS);
        let long = "é".repeat(1 << 20);
        let text = format!(
            "{{\"{long}\":[{}{{\"a\":1,\"a\":1}}]}}",
            "0,".repeat(100_000)
        );
        let body = parse_json(text.as_bytes()).expect("JSON");
        assert_eq!(
            body.duplicates.iter().map(String::len).collect::<Vec<_>>(),
            [PATH_LIMIT]
        );
    }

    #[test]
    fn unknown_fields_are_named_and_dropped() {
        let service = resource::by_kind(Kind::Service);
        let source = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1, "prot": "TCP"}], "typ": "x"}});
        let decoded = decode(service, service.stored(), source).expect("decodes");
        assert_eq!(decoded.unknown, ["spec.ports[0].prot", "spec.typ"]);
        assert_eq!(decoded.value["spec"], json!({"ports": [{"port": 1}]}));
    }

    #[test]
    fn wrong_types_are_a_bad_request() {
        let service = resource::by_kind(Kind::Service);
        let error = decode(
            service,
            service.stored(),
            json!({"spec": {"ports": [{"port": "http"}]}}),
        );
        assert_eq!(error.map(|_| ()).map_err(|status| status.code), Err(400));
    }

    #[test]
    fn an_event_is_the_same_object_in_both_groups() {
        let event = resource::by_kind(Kind::Event);
        let (_, served) = resource::find("events.k8s.io", "v1", "events").expect("served");
        let source = json!({"metadata": {"name": "a"}, "regarding": {"kind": "Node", "name": "n"}, "note": "hi"});
        let decoded = decode(event, served, source).expect("decodes");
        assert_eq!(decoded.value["message"], "hi");
        assert_eq!(
            encode(event, served, &decoded.value)["regarding"]["name"],
            "n"
        );
    }
}
