//! A small OpenAPI v3: what kubectl needs to see that the server validates fields, and no schemas.

use serde_json::{Map, Value, json};

use crate::resource::{GROUP_VERSIONS, RESOURCES, Resource, Served};

pub(super) fn index() -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let url = format!(
            "/openapi/v3/{path}?hash=onehop-{}",
            env!("CARGO_PKG_VERSION")
        );
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".into());
    for (group, versions) in GROUP_VERSIONS {
        for version in *versions {
            add(format!("apis/{group}/{version}"));
        }
    }
    json!({"paths": paths})
}

pub(super) fn document(group: &str, version: &str) -> Value {
    let root = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in &RESOURCES {
        let Some(served) = resource
            .served
            .iter()
            .find(|served| served.group == group && served.version == version)
        else {
            continue;
        };
        let scope = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let kind = group_version_kind(resource, served);
        paths.insert(
            format!("{root}/{scope}{}/{{name}}", resource.plural),
            json!({"patch": {
                "operationId": format!("patch{}", resource.kind_name),
                "parameters": query_parameters(),
                "requestBody": {"content": {
                    "application/json-patch+json": {"schema": {"type": "object"}},
                    "application/merge-patch+json": {"schema": {"type": "object"}},
                    "application/apply-patch+yaml": {"schema": {"type": "object"}},
                }},
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": kind,
            }}),
        );
        let name = format!(
            "{}.{version}.{}",
            if group.is_empty() { "core" } else { group },
            resource.kind_name
        );
        schemas.insert(
            name,
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-group-version-kind": [kind]}),
        );
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes (embedded by onehop)", "version": super::discovery::VERSION.2},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn group_version_kind(resource: &Resource, served: &Served) -> Value {
    json!({"group": served.group, "version": served.version, "kind": resource.kind_name})
}

fn query_parameters() -> Value {
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    json!(parameters)
}
