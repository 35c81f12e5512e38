//! The columns of each kind and what is in them.

use serde_json::Value;

use crate::identity;
use crate::resource::Kind;

/// (name, only with `-o wide`).
pub(super) fn columns(kind: Kind) -> &'static [(&'static str, bool)] {
    match kind {
        Kind::ConfigMap => &[("Name", false), ("Data", false), ("Age", false)],
        Kind::EndpointSlice => &[
            ("Name", false),
            ("AddressType", false),
            ("Ports", false),
            ("Endpoints", false),
            ("Age", false),
        ],
        Kind::Event => &[
            ("Last Seen", false),
            ("Type", false),
            ("Reason", false),
            ("Object", false),
            ("Subobject", true),
            ("Source", true),
            ("Message", false),
            ("First Seen", true),
            ("Count", true),
            ("Name", true),
        ],
        Kind::Lease => &[("Name", false), ("Holder", false), ("Age", false)],
        Kind::Namespace => &[("Name", false), ("Status", false), ("Age", false)],
        Kind::Node => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("External-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
            ("Container-Runtime", true),
        ],
        Kind::Pod => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        Kind::Service => &[
            ("Name", false),
            ("Type", false),
            ("Cluster-IP", false),
            ("External-IP", false),
            ("Port(s)", false),
            ("Age", false),
            ("Selector", true),
        ],
        Kind::ServiceCidr => &[("Name", false), ("CIDRs", false), ("Age", false)],
    }
}

/// One row.
pub(super) fn cells(kind: Kind, object: &Value) -> Vec<String> {
    let name = text(&object["metadata"]["name"]);
    let age = age(&object["metadata"]["creationTimestamp"]);
    match kind {
        Kind::ConfigMap => {
            let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
            vec![name, (count("data") + count("binaryData")).to_string(), age]
        }
        Kind::EndpointSlice => {
            vec![
                name,
                text(&object["addressType"]),
                slice_ports(object),
                slice_endpoints(object),
                age,
            ]
        }
        Kind::Event => event(object, name),
        Kind::Lease => vec![name, text(&object["spec"]["holderIdentity"]), age],
        Kind::Namespace => vec![name, text(&object["status"]["phase"]), age],
        Kind::Node => node(object, name, age),
        Kind::Pod => pod(object, name, age),
        Kind::Service => service(object, name, age),
        Kind::ServiceCidr => vec![name, joined(&object["spec"]["cidrs"]), age],
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "<none>".into()
    } else {
        text
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn joined(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(",")
}

/// The age as `duration.HumanDuration` shortens it.
fn age(created: &Value) -> String {
    created
        .as_str()
        .and_then(identity::seconds_since)
        .map_or_else(|| "<unknown>".into(), human_duration)
}

fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..=0 => "0s".into(),
        1..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
}

fn slice_ports(object: &Value) -> String {
    let ports = list(&object["ports"]);
    if ports.is_empty() {
        return "<unset>".into();
    }
    let shown =
        ports
            .iter()
            .take(3)
            .map(|port| match (port["port"].as_i64(), text(&port["name"])) {
                (Some(number), _) => number.to_string(),
                (None, name) if name.is_empty() => "*".into(),
                (None, name) => name,
            });
    limited(&shown.collect::<Vec<_>>(), ports.len())
}

fn slice_endpoints(object: &Value) -> String {
    let addresses: Vec<String> = list(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| list(&endpoint["addresses"]))
        .map(text)
        .collect();
    if addresses.is_empty() {
        return "<unset>".into();
    }
    limited(&addresses[..addresses.len().min(3)], addresses.len())
}

fn limited(shown: &[String], count: usize) -> String {
    let text = shown.join(",");
    if count > shown.len() {
        format!("{text} + {} more...", count - shown.len())
    } else {
        text
    }
}

fn event(object: &Value, name: String) -> Vec<String> {
    let about = &object["involvedObject"];
    let first_of = |fields: [&str; 3]| {
        let found = fields
            .iter()
            .map(|field| &object[*field])
            .find(|value| value.is_string());
        found.map_or_else(|| "<unknown>".into(), age)
    };
    let source = [
        &object["source"]["component"],
        &object["reportingComponent"],
    ]
    .into_iter()
    .map(text)
    .find(|text| !text.is_empty());
    vec![
        first_of(["lastTimestamp", "eventTime", "firstTimestamp"]),
        text(&object["type"]),
        text(&object["reason"]),
        format!(
            "{}/{}",
            text(&about["kind"]).to_lowercase(),
            text(&about["name"])
        ),
        text(&about["fieldPath"]),
        source.unwrap_or_default(),
        text(&object["message"]).trim().to_string(),
        first_of(["firstTimestamp", "eventTime", "lastTimestamp"]),
        object["count"].as_i64().unwrap_or(1).to_string(),
        name,
    ]
}

fn node(object: &Value, name: String, age: String) -> Vec<String> {
    let ready = list(&object["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| &condition["status"]) {
        Some(status) if status == "True" => "Ready".to_string(),
        Some(_) => "NotReady".to_string(),
        None => "Unknown".to_string(),
    };
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter_map(|label| label.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let address = |kind: &str| {
        let found = list(&object["status"]["addresses"])
            .iter()
            .find(|address| address["type"] == kind);
        or_none(
            found
                .map(|address| text(&address["address"]))
                .unwrap_or_default(),
        )
    };
    let info = |field: &str| {
        let value = text(&object["status"]["nodeInfo"][field]);
        if value.is_empty() {
            "<unknown>".to_string()
        } else {
            value
        }
    };
    vec![
        name,
        status,
        or_none(roles.join(",")),
        age,
        text(&object["status"]["nodeInfo"]["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn pod(object: &Value, name: String, age: String) -> Vec<String> {
    let status = &object["status"];
    let containers = list(&status["containerStatuses"]);
    let ready = containers
        .iter()
        .filter(|container| container["ready"] == true)
        .count();
    let restarts: i64 = containers
        .iter()
        .filter_map(|container| container["restartCount"].as_i64())
        .sum();
    let reason = if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".to_string()
    } else if status["reason"].is_string() {
        text(&status["reason"])
    } else {
        text(&status["phase"])
    };
    vec![
        name,
        format!("{ready}/{}", list(&object["spec"]["containers"]).len()),
        reason,
        restarts.to_string(),
        age,
        or_none(text(&status["podIP"])),
        or_none(text(&object["spec"]["nodeName"])),
        or_none(text(&status["nominatedNodeName"])),
        "<none>".into(),
    ]
}

fn service(object: &Value, name: String, age: String) -> Vec<String> {
    let spec = &object["spec"];
    let kind = text(&spec["type"]);
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|port| {
            let number = port["port"].as_i64().unwrap_or_default();
            let protocol = text(&port["protocol"]);
            match port["nodePort"].as_i64() {
                Some(node_port) => format!("{number}:{node_port}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let selector: Vec<String> = spec["selector"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        name,
        kind.clone(),
        or_none(text(&spec["clusterIP"])),
        external_ips(object, &kind),
        or_none(ports.join(",")),
        age,
        or_none(selector.join(",")),
    ]
}

fn external_ips(object: &Value, kind: &str) -> String {
    let spec = &object["spec"];
    let mut found: Vec<String> = match kind {
        "ExternalName" => return text(&spec["externalName"]),
        "LoadBalancer" => list(&object["status"]["loadBalancer"]["ingress"])
            .iter()
            .map(|ingress| {
                ingress["ip"]
                    .as_str()
                    .or(ingress["hostname"].as_str())
                    .unwrap_or_default()
                    .to_string()
            })
            .collect(),
        _ => Vec::new(),
    };
    found.extend(list(&spec["externalIPs"]).iter().map(text));
    match (found.is_empty(), kind) {
        (false, _) => found.join(","),
        (true, "LoadBalancer") => "<pending>".into(),
        (true, _) => "<none>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shortened_as_upstream_does() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (30_000, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ] {
            assert_eq!(human_duration(seconds), shown);
        }
    }
}
