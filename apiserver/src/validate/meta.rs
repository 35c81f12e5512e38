//! `metadata`: what every object shares (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::names::{self, Problems};
use crate::field::FieldError;
use crate::resource::{Kind, Resource};

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// The names that a kind may have.
fn name_rule(kind: Kind) -> fn(&str) -> Problems {
    match kind {
        // Since 1.36 a Service may be named like any DNS label.
        Kind::Service => names::dns_1123_label,
        Kind::Namespace => names::namespace,
        _ => names::dns_1123_subdomain,
    }
}

/// Checks name, labels, annotations and finalizers of an object that is to be stored.
pub(crate) fn validate(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let empty = Map::new();
    let metadata = value["metadata"].as_object().unwrap_or(&empty);
    let mut errors = Vec::new();
    let rule = name_rule(resource.kind);
    if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) {
        // A generated name ends in more characters, so the prefix may end in a dash.
        let tested = prefix
            .strip_suffix('-')
            .map_or_else(|| prefix.to_string(), |start| format!("{start}a"));
        errors.extend(names::at("metadata.generateName", prefix, rule(&tested)));
    }
    match metadata
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "" => errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        )),
        name => errors.extend(names::at("metadata.name", name, rule(name))),
    }
    if let Some(labels) = metadata.get("labels").and_then(Value::as_object) {
        errors.extend(validate_labels("metadata.labels", labels));
    }
    if let Some(annotations) = metadata.get("annotations").and_then(Value::as_object) {
        let mut size = 0;
        for (key, value) in annotations {
            size += key.len() + value.as_str().map_or(0, str::len);
            errors.extend(names::at(
                "metadata.annotations",
                key,
                names::qualified_name(&key.to_lowercase()),
            ));
        }
        if size > ANNOTATIONS_LIMIT {
            errors.push(FieldError::too_long(
                "metadata.annotations",
                ANNOTATIONS_LIMIT,
            ));
        }
    }
    errors.extend(validate_owners(&value["metadata"]["ownerReferences"]));
    let finalizers = metadata.get("finalizers").and_then(Value::as_array);
    for (index, finalizer) in finalizers.into_iter().flatten().enumerate() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        errors.extend(names::at(
            "metadata.finalizers",
            finalizer,
            names::qualified_name(finalizer),
        ));
        if !finalizer.contains('/')
            && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion")
        {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

/// What an update may not do to metadata.
pub(crate) fn validate_update(value: &Value, old: &Value) -> Vec<FieldError> {
    if !old["metadata"]["deletionTimestamp"].is_string() {
        return Vec::new();
    }
    let list = |value: &Value| -> BTreeSet<String> {
        let finalizers = value["metadata"]["finalizers"].as_array();
        let texts = finalizers.into_iter().flatten().filter_map(Value::as_str);
        texts.map(ToString::to_string).collect()
    };
    let (new, old) = (list(value), list(old));
    let added: Vec<String> = new
        .difference(&old)
        .map(|name| format!("\"{name}\""))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    let error = FieldError::forbidden(
        "metadata.finalizers",
        format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        ),
    );
    // Upstream checks this for all kinds and again for each.
    vec![error.clone(), error]
}

/// `ValidateOwnerReferences`.
fn validate_owners(owners: &Value) -> Vec<FieldError> {
    const PATH: &str = "metadata.ownerReferences";
    let list = owners.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for owner in list {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let version = text("apiVersion");
        if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
            let path = format!("{PATH}.apiVersion");
            errors.push(FieldError::invalid(
                path,
                version,
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                let path = format!("{PATH}.{field}");
                errors.push(FieldError::invalid(path, "", "must not be empty"));
            }
        }
        if version == "v1" && text("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid_text(PATH, owner_text(owner), why));
        }
        if owner["controller"] != true {
            continue;
        }
        let name = format!("{}/{}", text("kind"), text("name"));
        match &controller {
            None => controller = Some(name),
            Some(first) => {
                let all: Vec<String> = list.iter().map(owner_text).collect();
                errors.push(FieldError::invalid_text(PATH, format!("[{}]", all.join(",")), format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                )));
            }
        }
    }
    errors
}

/// An owner reference with its fields in upstream's order.
fn owner_text(owner: &Value) -> String {
    let mut fields = Vec::new();
    for field in ["apiVersion", "kind", "name", "uid"] {
        let value = Value::from(owner[field].as_str().unwrap_or_default());
        fields.push(format!("\"{field}\":{value}"));
    }
    for field in ["controller", "blockOwnerDeletion"] {
        if let Some(value) = owner.get(field) {
            fields.push(format!("\"{field}\":{value}"));
        }
    }
    format!("{{{}}}", fields.join(","))
}

/// Keys and values of labels, or of a selector.
pub(crate) fn validate_labels(path: &str, labels: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels {
        errors.extend(names::at(path, key, names::qualified_name(key)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(
            names::at(&format!("{path}.{key}"), value, names::label_value(value))
                .into_iter()
                .map(|mut error| {
                    // Upstream names the whole map, not the key.
                    error.path = path.to_string();
                    error
                }),
        );
    }
    errors
}
