//! Pods: the defaults a reader sees, and the checks that matter where no kubelet runs them
//! (`pkg/apis/core/v1/defaults.go`, `ValidatePod`).

use serde_json::{Map, Value, json};

use super::names;
use crate::field::FieldError;

fn default_fields(object: &mut Map<String, Value>, fields: &[(&str, Value)]) {
    for (key, value) in fields {
        object.entry(*key).or_insert_with(|| value.clone());
    }
}

pub(super) fn default(value: &mut Value) {
    if value["status"].is_object() {
        super::default_condition_times(
            &mut value["status"],
            ["lastProbeTime", "lastTransitionTime"],
        );
    }
    let host_network = value["spec"]["hostNetwork"] == true;
    let Some(spec) = value["spec"].as_object_mut() else {
        return;
    };
    default_fields(
        spec,
        &[
            ("restartPolicy", "Always".into()),
            ("dnsPolicy", "ClusterFirst".into()),
            ("schedulerName", "default-scheduler".into()),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", 30.into()),
            ("enableServiceLinks", true.into()),
            // What the Priority and DefaultTolerationSeconds admission plugins add.
            ("priority", 0.into()),
            ("preemptionPolicy", "PreemptLowerPriority".into()),
        ],
    );
    default_tolerations(spec);
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(container) = container.as_object_mut() {
                default_container(container, host_network);
            }
        }
    }
}

fn default_container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    default_fields(
        container,
        &[
            (
                "imagePullPolicy",
                if latest { "Always" } else { "IfNotPresent" }.into(),
            ),
            ("resources", json!({})),
            ("terminationMessagePath", "/dev/termination-log".into()),
            ("terminationMessagePolicy", "File".into()),
        ],
    );
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut() {
            default_fields(port, &[("protocol", "TCP".into())]);
            if host_network && let Some(number) = port.get("containerPort").cloned() {
                port.entry("hostPort").or_insert(number);
            }
        }
    }
}

fn default_tolerations(spec: &mut Map<String, Value>) {
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = tolerations.as_array_mut() else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerated = list.iter().any(|toleration| {
            let effect = toleration["effect"].as_str().unwrap_or_default();
            let named = toleration["key"].as_str().unwrap_or_default();
            (named == key || named.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}));
        }
    }
}

pub(super) fn validate(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &value["spec"];
    let mut errors = Vec::new();
    let containers = spec["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if containers.is_empty() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        errors.extend(validate_container(
            &format!("spec.containers[{index}]"),
            container,
            &mut seen,
        ));
    }
    if let Some(policy) = spec["restartPolicy"].as_str()
        && !matches!(policy, "Always" | "OnFailure" | "Never")
    {
        errors.push(FieldError::not_supported(
            "spec.restartPolicy",
            policy,
            &["Always", "OnFailure", "Never"],
        ));
    }
    for field in ["hostname", "subdomain"] {
        if let Some(name) = spec[field].as_str() {
            errors.extend(names::at(
                &format!("spec.{field}"),
                name,
                names::dns_1123_label(name),
            ));
        }
    }
    if let Some(node) = spec["nodeName"].as_str() {
        errors.extend(names::at(
            "spec.nodeName",
            node,
            names::dns_1123_subdomain(node),
        ));
    }
    for (index, entry) in value["status"]["podIPs"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        errors.extend(
            names::ip(
                &format!("status.podIPs[{index}]"),
                entry["ip"].as_str().unwrap_or_default(),
            )
            .err(),
        );
    }
    if let Some(old) = old {
        errors.extend(validate_update(spec, &old["spec"]));
    }
    errors
}

fn validate_container<'a>(
    path: &str,
    container: &'a Value,
    seen: &mut Vec<&'a str>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match container["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(format!("{path}.name"), "")),
        name => {
            errors.extend(names::at(
                &format!("{path}.name"),
                name,
                names::dns_1123_label(name),
            ));
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            seen.push(name);
        }
    }
    if container["image"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    for (index, port) in container["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("{path}.ports[{index}]");
        if let Some(name) = port["name"].as_str() {
            errors.extend(names::at(
                &format!("{path}.name"),
                name,
                names::port_name(name),
            ));
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            1..=65535 => {}
            other => {
                errors.push(FieldError::invalid(
                    format!("{path}.containerPort"),
                    other,
                    names::PORT_RANGE,
                ));
            }
        }
        if let Some(host_port) = port["hostPort"].as_i64()
            && !(1..=65535).contains(&host_port)
        {
            errors.push(FieldError::invalid(
                format!("{path}.hostPort"),
                host_port,
                names::PORT_RANGE,
            ));
        }
        let protocol = port["protocol"].as_str().unwrap_or_default();
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(
                format!("{path}.protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    errors
}

/// A running pod's spec is fixed, but for the few fields named in the message.
fn validate_update(spec: &Value, old: &Value) -> Option<FieldError> {
    let fixed = |spec: &Value| {
        let mut spec = spec.clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                    container.remove("imagePullPolicy");
                }
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            for field in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "initContainers",
            ] {
                if spec
                    .get(field)
                    .is_some_and(|value| field != "initContainers" || value.is_null())
                {
                    spec.remove(field);
                }
            }
        }
        spec
    };
    (fixed(spec) != fixed(old)).then(|| {
        FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )
    })
}
