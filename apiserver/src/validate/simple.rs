//! Kinds with few rules: namespaces, leases, config maps, service ranges, events.

use serde_json::{Map, Value, json};

use super::{immutable, names};
use crate::field::FieldError;

pub(super) fn default_namespace(value: &mut Value) {
    let name = value["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let status = object.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        status.entry("phase").or_insert_with(|| "Active".into());
    }
    if name.is_empty() {
        return;
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = metadata
            .entry("labels")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
}

/// Fields that Go always shows; the times are null until they are set.
pub(super) fn default_event(value: &mut Value) {
    if let Some(event) = value.as_object_mut() {
        event.entry("source").or_insert_with(|| json!({}));
        for time in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            event.entry(time).or_insert(Value::Null);
        }
        for text in ["reportingComponent", "reportingInstance"] {
            event.entry(text).or_insert_with(|| "".into());
        }
    }
}

/// The specification is shown even when it is empty.
pub(super) fn default_lease(value: &mut Value) {
    if let Some(lease) = value.as_object_mut() {
        lease.entry("spec").or_insert_with(|| json!({}));
    }
}

/// `pkg/apis/coordination/validation/validation.go`.
pub(super) fn validate_lease(value: &Value) -> Vec<FieldError> {
    let spec = &value["spec"];
    let mut errors = Vec::new();
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64()
        && seconds <= 0
    {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        ));
    }
    if let Some(transitions) = spec["leaseTransitions"].as_i64()
        && transitions < 0
    {
        errors.push(FieldError::invalid(
            "spec.leaseTransitions",
            transitions,
            "must be greater than or equal to 0",
        ));
    }
    errors
}

/// Bytes of all values of a config map (`MaxSecretSize`).
const CONFIG_MAP_LIMIT: usize = 1 << 20;

/// What the values add up to; binary ones count as what their base64 stands for.
fn config_map_size(value: &Value) -> usize {
    let texts = |list: &str| {
        let values = value[list].as_object().into_iter().flat_map(Map::values);
        values.filter_map(Value::as_str)
    };
    let binary = |text: &str| text.trim_end_matches('=').len() * 3 / 4;
    let data: usize = texts("data").map(str::len).sum();
    data + texts("binaryData").map(binary).sum::<usize>()
}

/// `ValidateConfigMap`, `ValidateConfigMapUpdate`.
pub(super) fn validate_config_map(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["data", "binaryData"] {
        for key in value[list].as_object().into_iter().flat_map(Map::keys) {
            let path = format!("{list}[{key}]");
            let shape =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if key.is_empty() || !key.bytes().all(shape) {
                errors.push(FieldError::invalid(&path, key.as_str(), "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"));
            } else if key == "." {
                errors.push(FieldError::invalid(&path, key.as_str(), "must not be '.'"));
            } else if key.starts_with("..") {
                errors.push(FieldError::invalid(
                    &path,
                    key.as_str(),
                    if key == ".." {
                        "must not be '..'"
                    } else {
                        "must not start with '..'"
                    },
                ));
            }
            if list == "binaryData" && value["data"].get(key).is_some() {
                errors.push(FieldError::invalid(
                    format!("data[{key}]"),
                    key.as_str(),
                    format!("duplicate of key present in {list}"),
                ));
            }
        }
    }
    if config_map_size(value) > CONFIG_MAP_LIMIT {
        errors.push(FieldError::too_long("[]", CONFIG_MAP_LIMIT));
    }
    if let Some(old) = old
        && old["immutable"] == true
    {
        if value["immutable"] != true {
            errors.push(FieldError::forbidden(
                "immutable",
                "field is immutable when `immutable` is set",
            ));
        }
        for list in ["data", "binaryData"] {
            if value[list] != old[list] {
                errors.push(FieldError::forbidden(
                    list,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
    errors
}

/// `pkg/apis/networking/validation/validation.go`.
pub(super) fn validate_service_cidr(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let cidrs = value["spec"]["cidrs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut errors = Vec::new();
    if cidrs.is_empty() {
        errors.push(FieldError::required(
            "spec.cidrs",
            "at least one CIDR required",
        ));
    }
    if cidrs.len() > 2 {
        errors.push(FieldError::invalid(
            "spec",
            value["spec"].clone(),
            "may only hold up to 2 values",
        ));
    }
    let mut parsed = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        match names::cidr(
            &format!("spec.cidrs[{index}]"),
            cidr.as_str().unwrap_or_default(),
        ) {
            Ok(cidr) => parsed.push(cidr),
            Err(error) => errors.push(error),
        }
    }
    if let [first, second] = parsed.as_slice()
        && first.addr().is_ipv4() == second.addr().is_ipv4()
    {
        errors.push(FieldError::invalid(
            "spec.cidrs",
            value["spec"]["cidrs"].clone(),
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96",
        ));
    }
    if let Some(old) = old {
        errors.extend(immutable(
            "spec.cidrs",
            &value["spec"]["cidrs"],
            &old["spec"]["cidrs"],
        ));
    }
    errors
}

/// An event belongs to the namespace of what it is about.
pub(super) fn validate_event(value: &Value) -> Vec<FieldError> {
    let about = value["involvedObject"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if about != namespace && !(about.is_empty() && namespace == "default") {
        return vec![FieldError::invalid(
            "involvedObject.namespace",
            about,
            "does not match event.namespace",
        )];
    }
    Vec::new()
}
