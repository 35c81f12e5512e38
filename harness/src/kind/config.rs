//! Cluster configurations and manifests, as they are in `kind-configs/`. Pure.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::KindError;
use crate::profile::{KindProfile, Origin, Profile};

/// The pod network of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkPlugin {
    /// Point-to-point links and routes, deployed by onehop. It allows every case.
    #[default]
    Ptp,
    /// The one that kind ships. It masquerades what nodes forward out of the pod network.
    Kindnet,
}

/// The families of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamily {
    /// Both.
    #[default]
    Dual,
    /// IPv4 alone.
    Ipv4,
}

const CONFIGS: [(&str, &str); 3] = [
    (
        "nftables",
        include_str!("../../../kind-configs/nftables.yaml"),
    ),
    (
        "iptables",
        include_str!("../../../kind-configs/iptables.yaml"),
    ),
    ("none", include_str!("../../../kind-configs/none.yaml")),
];

/// The manifest of the plain pod network.
pub(super) const PTP: &str = include_str!("../../../kind-configs/network/ptp.yaml");

/// Manifests of proxies that are part of onehop.
const MANIFESTS: [(&str, &str); 1] = [(
    "proxies/bundled.yaml",
    include_str!("../../../kind-configs/proxies/bundled.yaml"),
)];

/// The configuration of a cluster for a mode of kube-proxy, as kind reads it.
///
/// # Panics
/// When there is none for the mode: profiles are checked when they are loaded.
pub(super) fn cluster(mode: &str, plugin: NetworkPlugin, family: IpFamily) -> String {
    let found = CONFIGS.into_iter().find(|(name, _)| *name == mode);
    let (_, text) = found.unwrap_or_else(|| panic!("no configuration for {mode}"));
    let mut config: Value = serde_saphyr::from_str(text).expect("the configurations are YAML");
    let networking = &mut config["networking"];
    networking["disableDefaultCNI"] = json!(plugin == NetworkPlugin::Ptp);
    if family == IpFamily::Ipv4 {
        networking["ipFamily"] = json!("ipv4");
        for ranges in ["podSubnet", "serviceSubnet"] {
            let both = networking[ranges].as_str().unwrap_or_default();
            let v4 = both.split(',').next().unwrap_or_default().to_owned();
            networking[ranges] = json!(v4);
        }
    }
    // JSON is YAML, too.
    config.to_string()
}

/// Whether there is a configuration for a mode of kube-proxy.
pub(super) fn has_mode(mode: &str) -> bool {
    CONFIGS.iter().any(|(name, _)| *name == mode)
}

/// The placeholder of more arguments, in a list of YAML.
const ARGUMENTS: &str = "{arguments}";

/// What the placeholders of a manifest stand for.
#[derive(Clone, Debug)]
pub(super) struct ManifestValues<'a> {
    pub(super) image: &'a str,
    pub(super) api_host: &'a str,
    pub(super) api_port: u16,
    pub(super) cluster_cidr: &'a str,
    pub(super) service_cidr: &'a str,
    pub(super) arguments: &'a [String],
}

/// A manifest with its placeholders replaced. Other braces are left as they are: YAML has them.
pub(super) fn render(manifest: &str, values: &ManifestValues<'_>) -> String {
    // Part of a list; a string of JSON is one of YAML.
    let arguments = values.arguments.iter();
    let arguments: Vec<_> = arguments
        .map(|text| Value::from(&**text).to_string())
        .collect();
    manifest
        .replace("{image}", values.image)
        .replace("{api_host}", values.api_host)
        .replace("{api_port}", &values.api_port.to_string())
        .replace("{cluster_cidr}", values.cluster_cidr)
        .replace("{service_cidr}", values.service_cidr)
        .replace(ARGUMENTS, &arguments.join(", "))
}

/// The manifests of a profile, each with its name.
///
/// # Errors
/// When a file cannot be read, or none takes the arguments that the proxy is to get.
pub(super) fn manifests(
    profile: &Profile,
    kind: &KindProfile,
) -> Result<Vec<(String, String)>, KindError> {
    let read = |name: &String| {
        let folder = match &profile.origin {
            Origin::BuiltIn => {
                let found = MANIFESTS.into_iter().find(|(known, _)| known == name);
                let (_, text) = found.expect("built-in profiles name built-in manifests");
                return Ok((name.clone(), text.to_owned()));
            }
            Origin::File(file) => file.parent().unwrap_or(Path::new(".")),
        };
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|source| KindError::File {
            what: "read the manifest",
            path,
            source,
        });
        Ok((name.clone(), text?))
    };
    let manifests: Result<Vec<_>, KindError> = kind.manifests.iter().map(read).collect();
    let manifests = manifests?;
    let takes = manifests.iter().any(|(_, text)| text.contains(ARGUMENTS));
    if !takes && !kind.arguments.is_empty() {
        return Err(KindError::NoArguments {
            profile: profile.name.clone(),
            arguments: kind.arguments.join(" "),
        });
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_has_a_configuration_and_its_manifests() {
        for name in Profile::built_in() {
            let profile = Profile::load(name).expect("it is built in");
            let kind = profile
                .kind
                .clone()
                .expect("every built-in proxy runs on kind");
            assert!(has_mode(&kind.kube_proxy_mode), "{name}");
            let manifests = manifests(&profile, &kind).expect("they are built in");
            assert_eq!(
                manifests.is_empty(),
                kind.kube_proxy_mode != "none",
                "{name}"
            );
        }
    }

    #[test]
    fn a_configuration_follows_family_and_plugin() {
        let parse = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
        let dual = parse(cluster("nftables", NetworkPlugin::Ptp, IpFamily::Dual));
        assert_eq!(dual["networking"]["disableDefaultCNI"], true);
        assert_eq!(dual["networking"]["kubeProxyMode"], "nftables");
        let [v4, v6] = crate::world::AddressPlan::cluster_cidrs();
        assert_eq!(dual["networking"]["podSubnet"], format!("{v4},{v6}"));
        let [v4, v6] = crate::world::AddressPlan::service_cidrs();
        assert_eq!(dual["networking"]["serviceSubnet"], format!("{v4},{v6}"));
        assert_eq!(dual["nodes"].as_array().map(Vec::len), Some(4));

        let ipv4 = parse(cluster("none", NetworkPlugin::Kindnet, IpFamily::Ipv4));
        assert_eq!(ipv4["networking"]["disableDefaultCNI"], false);
        assert_eq!(ipv4["networking"]["podSubnet"], "10.244.0.0/16");
    }

    #[test]
    fn a_manifest_keeps_its_own_braces() {
        let values = ManifestValues {
            image: "onehop:1",
            api_host: "172.18.0.2",
            api_port: 6443,
            cluster_cidr: "10.244.0.0/16",
            service_cidr: "10.96.0.0/16",
            arguments: &[],
        };
        let text =
            "labels: { app: x }\nimage: \"{image}\"\nvalue: \"{api_port}\"\nargs: [{arguments}]";
        assert_eq!(
            render(text, &values),
            "labels: { app: x }\nimage: \"onehop:1\"\nvalue: \"6443\"\nargs: []"
        );
        let values = ManifestValues {
            arguments: &["--fault", "is-late"].map(str::to_owned),
            ..values
        };
        assert!(render(text, &values).ends_with(r#"args: ["--fault", "is-late"]"#));
    }
}
