//! Tables for `kubectl get`: upstream's columns (`pkg/printers/internalversion/printers.go`).

mod cells;

use serde_json::{Value, json};

use super::path::ResourceTarget;
use super::render::partial;

/// A Table of objects. Rows carry the metadata, which is what kubectl asks for.
pub(super) fn table<'a>(
    target: &ResourceTarget,
    objects: impl Iterator<Item = &'a Value>,
    metadata: &Value,
) -> Value {
    let columns: Vec<Value> = cells::columns(target.resource.kind)
        .iter()
        .map(|(name, wide)| {
            json!({
                "name": name, "type": "string", "format": if *name == "Name" { "name" } else { "" },
                "description": "", "priority": i32::from(*wide),
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .map(|object| json!({"cells": cells::cells(target.resource.kind, object), "object": partial(object)}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}
