//! Nodes (`ValidateNode`, `ValidateNodeUpdate` in `pkg/apis/core/validation/validation.go`).

use serde_json::{Map, Value, json};

use super::names;
use crate::field::FieldError;

pub(super) fn default(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object
            .entry("spec")
            .or_insert_with(|| Value::Object(Map::new()));
        let status = object
            .entry("status")
            .or_insert_with(|| Value::Object(Map::new()));
        default_status(status);
        super::default_condition_times(status, ["lastHeartbeatTime", "lastTransitionTime"]);
    }
    default_pod_cidrs(&mut value["spec"]);
}

fn default_status(status: &mut Value) {
    if let Some(status) = status.as_object_mut() {
        status
            .entry("daemonEndpoints")
            .or_insert_with(|| json!({"kubeletEndpoint": {"Port": 0}}));
        status.entry("nodeInfo").or_insert_with(|| {
            let mut info = Map::new();
            for key in [
                "architecture",
                "bootID",
                "containerRuntimeVersion",
                "kernelVersion",
                "kubeProxyVersion",
                "kubeletVersion",
                "machineID",
                "operatingSystem",
                "osImage",
                "systemUUID",
            ] {
                info.insert(key.into(), "".into());
            }
            Value::Object(info)
        });
        // Allocatable is what pods may use, and all of the capacity where nobody says otherwise.
        if let Some(capacity) = status.get("capacity").cloned() {
            status.entry("allocatable").or_insert(capacity);
        }
    }
}

/// `podCIDR` and `podCIDRs[0]` are one field in two spellings.
fn default_pod_cidrs(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    match (
        spec.get("podCIDR").cloned(),
        spec.get("podCIDRs").and_then(|list| list.get(0)).cloned(),
    ) {
        (Some(one), None) => {
            spec.insert("podCIDRs".into(), json!([one]));
        }
        (None, Some(first)) => {
            spec.insert("podCIDR".into(), first);
        }
        _ => {}
    }
}

pub(super) fn validate(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(validate_taints(
        &value["spec"]["taints"],
        if old.is_some() {
            "spec.taints"
        } else {
            "metadata.taints"
        },
    ));
    errors.extend(validate_pod_cidrs(&value["spec"]["podCIDRs"]));
    errors.extend(validate_addresses(&value["status"]["addresses"]));
    if let Some(old) = old {
        let before = old["spec"]["podCIDRs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let after = value["spec"]["podCIDRs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if !before.is_empty() && before != after {
            errors.push(FieldError::forbidden(
                "spec.podCIDRs",
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        let before = old["spec"]["providerID"].as_str().unwrap_or_default();
        if !before.is_empty() && value["spec"]["providerID"].as_str().unwrap_or_default() != before
        {
            errors.push(FieldError::forbidden(
                "spec.providerID",
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
    }
    errors
}

fn validate_taints(taints: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (index, taint) in taints.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        let key = taint["key"].as_str().unwrap_or_default();
        let effect = taint["effect"].as_str().unwrap_or_default();
        errors.extend(names::at(
            &format!("{path}.key"),
            key,
            names::qualified_name(key),
        ));
        let value = taint["value"].as_str().unwrap_or_default();
        errors.extend(names::at(
            &format!("{path}.value"),
            value,
            names::label_value(value),
        ));
        match effect {
            "" => errors.push(FieldError::required(format!("{path}.effect"), "")),
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            other => errors.push(FieldError::not_supported(
                format!("{path}.effect"),
                other,
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            )),
        }
        if seen.contains(&(key, effect)) {
            errors.push(FieldError::duplicate(&path, taint.clone()));
        }
        seen.push((key, effect));
    }
    errors
}

fn validate_pod_cidrs(cidrs: &Value) -> Vec<FieldError> {
    let list = cidrs.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = Vec::new();
    let mut parsed = Vec::new();
    for (index, cidr) in list.iter().enumerate() {
        match names::cidr(
            &format!("spec.podCIDRs[{index}]"),
            cidr.as_str().unwrap_or_default(),
        ) {
            Ok(cidr) => parsed.push(cidr),
            Err(error) => errors.push(error),
        }
    }
    let one_of_each = match parsed.as_slice() {
        [first, second] => first.addr().is_ipv4() != second.addr().is_ipv4(),
        _ => false,
    };
    if list.len() > 1 && !one_of_each {
        errors.push(FieldError::invalid(
            "spec.podCIDRs",
            cidrs.clone(),
            "may specify no more than one CIDR for each IP family",
        ));
    }
    errors
}

fn validate_addresses(addresses: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (index, address) in addresses.as_array().into_iter().flatten().enumerate() {
        if seen.contains(&address) {
            errors.push(FieldError::duplicate(
                format!("status.addresses[{index}]"),
                address.clone(),
            ));
        }
        seen.push(address);
    }
    errors
}
