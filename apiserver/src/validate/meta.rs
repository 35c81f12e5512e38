//! `metadata`: what every object shares (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go`).

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
