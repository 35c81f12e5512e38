//! Proxies under test, as YAML.
//!
//! A profile says how one proxy is started on a lab node (its command, files, environment), when it is ready,
//! and what it is known not to do. Profiles of kube-proxy are built in; anybody's own proxy is a file away.
//!
//! Everything that can be wrong in a profile is found by [`Profile::load`], before anything starts, and is
//! reported with file, line, column and field.

mod document;
mod error;
mod features;
mod known;
mod program;
mod template;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::{Place, ProfileError};
pub use features::{Feature, Variation};
pub use known::Known;
pub use program::{Program, read_version};
pub use template::{PLACEHOLDERS, Placeholders};

use crate::tools::{ToolRef, Version};

/// The profiles that are part of the program: name and text.
const BUILT_IN: [(&str, &str); 3] = [
    ("bundled", include_str!("../../../profiles/bundled.yaml")),
    (
        "kube-proxy-nftables",
        include_str!("../../../profiles/kube-proxy-nftables.yaml"),
    ),
    (
        "kube-proxy-iptables",
        include_str!("../../../profiles/kube-proxy-iptables.yaml"),
    ),
];

/// A proxy under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name under which it appears in results.
    pub name: String,
    /// Where the profile was read from.
    pub origin: Origin,
    /// The command that prints the proxy's version; its first line is recorded. Empty if there is none.
    pub version: Vec<String>,
    /// The tool that provides the program, which onehop can install.
    pub tool: Option<ToolRef>,
    /// The mode that the proxy runs in, where it has several: for results.
    pub mode: Option<String>,
    /// How the proxy runs on a node of the lab.
    pub netns: NetnsProfile,
    /// What the proxy does not claim to do.
    pub features: Features,
    /// What the proxy does where implementations may differ: reported, never judged.
    pub variations: BTreeMap<Variation, String>,
    /// Its defects that are known.
    pub known: Vec<Known>,
    /// How the proxy runs on a kind cluster.
    pub kind: Option<KindProfile>,
    /// Who makes it.
    pub implementation: Implementation,
}

/// Who makes a proxy, for those who read a conformance report. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Implementation {
    /// The organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where it is to be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whom to ask about the report: accounts or addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contact: Vec<String>,
}

/// Where a profile was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is part of onehop.
    BuiltIn,
    /// It is a user's file.
    File(PathBuf),
}

/// How a proxy runs in the network namespace of a node. All texts are templates, see [`PLACEHOLDERS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsProfile {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Files that are written into the proxy's folder before it starts, by relative path.
    pub files: BTreeMap<String, String>,
    /// Environment variables, added to those of onehop itself.
    pub env: BTreeMap<String, String>,
    /// Programs that the proxy runs itself, by the name under which they are in PATH.
    pub requires: Vec<String>,
    /// Whether the proxy may exit after it was ready. It is recorded, and no error.
    pub may_restart: bool,
    /// When the proxy counts as started.
    pub ready: Ready,
}

/// When a proxy counts as started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// A URL that answers 200 once it is.
    pub http: String,
}

/// What a proxy does not claim to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Cases that need one of these are skipped, and reported as unsupported.
    pub unsupported: BTreeSet<Feature>,
}

/// How a proxy runs on a kind cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindProfile {
    /// `nftables`, `iptables`, or `none` for a cluster without kube-proxy.
    pub kube_proxy_mode: String,
    /// Manifests that are applied to the cluster.
    pub manifests: Vec<String>,
    /// Images that are loaded into its nodes.
    pub images: Vec<String>,
    /// The proxy's pods, by namespace and labels: their restarts count, and their logs are evidence.
    pub pods: Option<(String, String)>,
    /// More arguments of its command: what `{arguments}` stands for in manifests.
    pub arguments: Vec<String>,
}

/// A profile for one node: all placeholders replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The program (an absolute path) and its arguments.
    pub command: Vec<String>,
    /// Files to write, by path relative to the proxy's folder.
    pub files: BTreeMap<String, String>,
    /// Environment variables to add.
    pub env: BTreeMap<String, String>,
    /// The URL that answers 200 once the proxy is ready.
    pub ready_url: String,
}

impl Profile {
    /// The names of the profiles that are built in.
    pub fn built_in() -> impl Iterator<Item = &'static str> + Clone {
        BUILT_IN.into_iter().map(|(name, _)| name)
    }

    /// Reads the profile that a value of `--proxy` means: a path (it has a `/`, or ends in `.yaml` or `.yml`), or
    /// the name of a built-in one, with a version if wanted (`kube-proxy-nftables@v1.34.4`).
    ///
    /// # Errors
    /// There is no such profile, or something in it is wrong.
    pub fn load(spec: &str) -> Result<Profile, ProfileError> {
        if is_path(spec) {
            let path = Path::new(spec);
            let text =
                std::fs::read_to_string(path).map_err(|source| ProfileError::Unreadable {
                    path: path.to_owned(),
                    source,
                })?;
            return document::parse(&text, &Origin::File(path.to_owned()));
        }
        let (name, version) = match spec.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (spec, None),
        };
        let Some((_, text)) = BUILT_IN.into_iter().find(|(known, _)| *known == name) else {
            return Err(ProfileError::unknown(name, Profile::built_in()));
        };
        let mut profile = document::parse(text, &Origin::BuiltIn)?;
        if let (Some(version), Some(tool)) = (version, &mut profile.tool) {
            tool.version = version
                .parse::<Version>()
                .map_err(|source| ProfileError::Version {
                    spec: spec.to_owned(),
                    source,
                })?;
        }
        Ok(profile)
    }

    /// The same proxy with more arguments at the end of its command. They may have placeholders, which stand for nothing on
    /// kind.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        if let Some(kind) = &mut self.kind {
            kind.arguments.extend(arguments.clone());
        }
        self.netns.command.extend(arguments);
        self
    }

    /// Replaces the placeholders in everything that a node's proxy gets.
    ///
    /// # Errors
    /// A text has an unknown placeholder; [`Profile::load`] has already refused those.
    pub fn render(&self, values: &Placeholders) -> Result<Rendered, ProfileError> {
        let render = |field: String, text: &str| {
            template::render(text, values).map_err(|problem| ProfileError::Template {
                profile: self.name.clone(),
                field,
                problem,
            })
        };
        let mut command = vec![values.program.display().to_string()];
        for (index, argument) in self.netns.command.iter().enumerate().skip(1) {
            command.push(render(format!("netns.command[{index}]"), argument)?);
        }
        let render_all = |field: &str, texts: &BTreeMap<String, String>| {
            texts
                .iter()
                .map(|(key, text)| Ok((key.clone(), render(format!("{field}.{key}"), text)?)))
                .collect::<Result<BTreeMap<String, String>, ProfileError>>()
        };
        Ok(Rendered {
            command,
            files: render_all("netns.files", &self.netns.files)?,
            env: render_all("netns.env", &self.netns.env)?,
            ready_url: render("netns.ready.http".to_owned(), &self.netns.ready.http)?,
        })
    }
}

impl Profile {
    /// The URL by which a proxy says that it is ready; none where it needs what a cluster's node
    /// does not have.
    #[must_use]
    pub fn ready_url(&self, values: &Placeholders) -> Option<String> {
        template::render(&self.netns.ready.http, values).ok()
    }
}

/// Whether a value of `--proxy` means a file.
fn is_path(spec: &str) -> bool {
    spec.contains('/') || spec.ends_with(".yaml") || spec.ends_with(".yml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders() -> Placeholders {
        Placeholders {
            program: PathBuf::from("/opt/kube-proxy"),
            node: "vm1".to_owned(),
            node_ip: "192.168.0.11".to_owned(),
            node_ips: "192.168.0.11,fd00::11".to_owned(),
            node_cidr: "192.168.0.0/24,fd00::/64".to_owned(),
            kubeconfig: "/lab/vm1/kubeconfig".to_owned(),
            api_url: "http://192.168.0.1:6443".to_owned(),
            cluster_cidr: "10.244.0.0/16,fd00:10:244::/56".to_owned(),
            service_cidr: "10.96.0.0/16,fd00:10:96::/112".to_owned(),
            pod_cidr: "10.244.1.0/24,fd00:10:244:1::/64".to_owned(),
            dir: "/lab/vm1".to_owned(),
        }
    }

    #[test]
    fn every_built_in_profile_loads_and_renders_under_its_name() {
        for name in Profile::built_in() {
            let profile = Profile::load(name).unwrap();
            assert_eq!(
                (profile.name.as_str(), &profile.origin),
                (name, &Origin::BuiltIn)
            );
            let rendered = profile.render(&placeholders()).unwrap();
            assert_eq!(rendered.ready_url, "http://192.168.0.11:10256/healthz");
            let config: serde_json::Value =
                serde_saphyr::from_str(&rendered.files["config.yaml"]).unwrap();
            assert_eq!(config["hostnameOverride"], "vm1");
            if config["detectLocalMode"] == "ClusterCIDR" {
                assert_eq!(config["clusterCIDR"], "10.244.0.0/16,fd00:10:244::/56");
            } else {
                assert_eq!(config["detectLocalMode"], "NodeCIDR");
            }
            assert_eq!(
                config["clientConnection"]["kubeconfig"],
                "/lab/vm1/kubeconfig"
            );
        }
    }

    #[test]
    fn every_kube_proxy_is_a_tool_and_runs_in_its_mode() {
        let kube_proxies = Profile::built_in().filter(|name| name.starts_with("kube-proxy-"));
        for name in kube_proxies {
            let profile = Profile::load(name).unwrap();
            assert_eq!(
                profile.tool.map(|tool| tool.to_string()).as_deref(),
                Some("kube-proxy@v1.36.3")
            );

            let rendered = profile.render(&placeholders()).unwrap();
            assert_eq!(
                rendered.command,
                ["/opt/kube-proxy", "--config", "/lab/vm1/config.yaml"]
            );
            let config: serde_json::Value =
                serde_saphyr::from_str(&rendered.files["config.yaml"]).unwrap();
            let mode = name.strip_prefix("kube-proxy-").unwrap();
            assert_eq!(config["mode"], mode);
            assert_eq!(config[mode]["minSyncPeriod"], "10ms");
        }
    }

    #[test]
    fn a_built_in_profile_may_have_a_version() {
        let profile = Profile::load("kube-proxy-iptables@v1.34.4").unwrap();
        assert_eq!(profile.tool.unwrap().to_string(), "kube-proxy@v1.34.4");
        assert_eq!(
            Profile::load("kube-proxy-iptables@1.34")
                .unwrap_err()
                .to_string(),
            "proxy `kube-proxy-iptables@1.34`: invalid version `1.34`, \
             expected vMAJOR.MINOR.PATCH, for example v1.36.3"
        );
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones_and_the_nearest() {
        assert_eq!(
            Profile::load("kube-proxy-nftable").unwrap_err().to_string(),
            "unknown proxy `kube-proxy-nftable`, did you mean `kube-proxy-nftables`? \
             expected one of: bundled, kube-proxy-nftables, kube-proxy-iptables; or the path of a profile, \
             with a `/` or ending in .yaml"
        );
        let far = Profile::load("cilium").unwrap_err().to_string();
        assert!(
            far.starts_with("unknown proxy `cilium`, expected one of"),
            "{far}"
        );
    }

    #[test]
    fn paths_are_told_from_names() {
        for path in ["./mine", "a/b", "mine.yaml", "mine.yml", "/abs"] {
            assert!(is_path(path), "{path}");
        }
        for name in ["kube-proxy-nftables", "kube-proxy-nftables@v1.34.4", "mine"] {
            assert!(!is_path(name), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        assert_eq!(
            Profile::load("./no-such.yaml").unwrap_err().to_string(),
            "cannot read the profile ./no-such.yaml"
        );
    }
}
