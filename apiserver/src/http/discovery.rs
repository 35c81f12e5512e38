//! `/version`, `/api`, `/apis` and the lists of resources, unaggregated.

use serde_json::{Value, json};

use crate::resource::{GROUP_VERSIONS, Kind, RESOURCES};

/// The API version whose behaviour is reproduced.
pub(crate) const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.3");

pub(super) fn version() -> Value {
    let (major, minor, git) = VERSION;
    json!({
        "major": major, "minor": minor, "gitVersion": format!("{git}+onehop"), "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

pub(super) fn api() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

pub(super) fn groups() -> Value {
    let groups: Vec<Value> = GROUP_VERSIONS
        .iter()
        .map(|(group, versions)| group_value(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(super) fn group(name: &str) -> Value {
    let versions = GROUP_VERSIONS
        .iter()
        .find(|(group, _)| *group == name)
        .map_or(&[][..], |(_, versions)| versions);
    let mut value = group_value(name, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    value
}

pub(super) fn resources(group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in &RESOURCES {
        if !resource
            .served
            .iter()
            .any(|served| served.group == group && served.version == version)
        {
            continue;
        }
        let mut verbs = vec![
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ];
        if resource.kind == Kind::Namespace {
            verbs.retain(|verb| *verb != "deletecollection");
        }
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind_name, "verbs": verbs,
        });
        for (key, values) in [
            ("shortNames", resource.short_names),
            ("categories", resource.categories),
        ] {
            if !values.is_empty() {
                entry[key] = json!(values);
            }
        }
        list.push(entry);
        if resource.has_status {
            list.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind_name, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version = if group.is_empty() {
        version.to_string()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}
