//! Names of tools and versions, as people type them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A program, or a set of programs, that onehop can build from Go modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// The Service proxy that ships with Kubernetes.
    KubeProxy,
    /// etcd, kube-apiserver and kubectl: the set that envtest uses too.
    ControlPlane,
    /// All programs of a node image of kind; those of CNI are in its folder `cni`.
    Node,
    /// kind itself, with the files that its node images have, in its folder `image`.
    Kind,
}

/// Whose releases the versions of a tool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Project {
    /// Kubernetes.
    Kubernetes,
    /// kind: Kubernetes in Docker.
    Kind,
}

impl Project {
    /// The name that people know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Project::Kubernetes => "Kubernetes",
            Project::Kind => "kind",
        }
    }

    /// The Go module that it is published as.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Project::Kubernetes => "k8s.io/kubernetes",
            Project::Kind => "sigs.k8s.io/kind",
        }
    }

    /// The version that is meant where none is named.
    #[must_use]
    pub const fn default_version(self) -> Version {
        match self {
            Project::Kubernetes => Version::DEFAULT,
            Project::Kind => Version {
                major: 0,
                minor: 33,
                patch: 0,
            },
        }
    }
}

impl Tool {
    /// Every tool, in the order in which they are listed to people.
    pub const ALL: [Tool; 4] = [Tool::KubeProxy, Tool::ControlPlane, Tool::Node, Tool::Kind];

    /// The name that people type, and the name of its folder in the cache.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Tool::KubeProxy => "kube-proxy",
            Tool::ControlPlane => "control-plane",
            Tool::Node => "node",
            Tool::Kind => "kind",
        }
    }

    /// Whose releases its versions are.
    #[must_use]
    pub const fn project(self) -> Project {
        match self {
            Tool::KubeProxy | Tool::ControlPlane | Tool::Node => Project::Kubernetes,
            Tool::Kind => Project::Kind,
        }
    }

    /// The programs that make up the tool, in its folder; it is installed only when all of them are there.
    #[must_use]
    pub const fn binaries(self) -> &'static [&'static str] {
        match self {
            Tool::KubeProxy => &["kube-proxy"],
            Tool::ControlPlane => &["etcd", "kube-apiserver", "kubectl"],
            Tool::Node => &[
                "kubelet",
                "kubeadm",
                "kubectl",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kube-proxy",
                "etcd",
                "cni/ptp",
                "cni/host-local",
                "cni/loopback",
                "cni/portmap",
            ],
            Tool::Kind => &["kind"],
        }
    }

    /// Whether the tool is one program; others are used by their folder.
    #[must_use]
    pub const fn is_one_program(self) -> bool {
        self.binaries().len() == 1
    }

    /// The program whose `--version` is the version of the tool.
    #[must_use]
    pub const fn versioned_binary(self) -> &'static str {
        match self {
            Tool::KubeProxy => "kube-proxy",
            Tool::ControlPlane => "kube-apiserver",
            Tool::Node => "kubelet",
            Tool::Kind => "kind",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tool {
    type Err = ParseToolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Tool::ALL
            .into_iter()
            .find(|tool| tool.name() == text)
            .ok_or_else(|| ParseToolError::UnknownTool(text.to_owned()))
    }
}

/// A released version of Kubernetes, or of kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major release: 1 for Kubernetes, 0 for kind, so far.
    pub major: u32,
    /// The minor release.
    pub minor: u32,
    /// The patch release.
    pub patch: u32,
}

impl Version {
    /// The version of Kubernetes that is meant where none is named.
    pub const DEFAULT: Version = Version {
        major: 1,
        minor: 36,
        patch: 3,
    };

    /// The version under which Kubernetes publishes its libraries: `v0.36.3` for `v1.36.3`.
    #[must_use]
    pub fn staging(self) -> String {
        format!("v0.{}.{}", self.minor, self.patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ParseToolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseToolError::InvalidVersion(text.to_owned());
        let mut numbers = text.strip_prefix('v').ok_or_else(invalid)?.split('.');
        let mut next = || {
            let digits = numbers.next().ok_or_else(invalid)?;
            // `u32::from_str` also takes a sign and leading zeros, neither of which Go's versions have.
            let canonical =
                digits == "0" || digits.starts_with(|first: char| ('1'..='9').contains(&first));
            if !canonical {
                return Err(invalid());
            }
            digits.parse::<u32>().map_err(|_| invalid())
        };
        let version = Version {
            major: next()?,
            minor: next()?,
            patch: next()?,
        };
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(invalid()),
        }
    }
}

/// A tool at a version: `kube-proxy@v1.36.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolRef {
    /// Which tool.
    pub tool: Tool,
    /// Which version of it.
    pub version: Version,
}

impl fmt::Display for ToolRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.tool, self.version)
    }
}

impl FromStr for ToolRef {
    type Err = ParseToolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tool, version) = match text.split_once('@') {
            Some((tool, version)) => (tool.parse()?, version.parse()?),
            None => {
                let tool: Tool = text.parse()?;
                (tool, tool.project().default_version())
            }
        };
        Ok(ToolRef { tool, version })
    }
}

/// Why a text names no tool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseToolError {
    /// There is no tool of that name.
    #[error("unknown tool `{0}`, expected one of: {known}", known = known_tools())]
    UnknownTool(String),
    /// The version is not written as Kubernetes and kind write theirs.
    #[error(
        "invalid version `{0}`, expected vMAJOR.MINOR.PATCH, for example {example}",
        example = Version::DEFAULT
    )]
    InvalidVersion(String),
}

fn known_tools() -> String {
    Tool::ALL.map(Tool::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_as_it_is_written() {
        for text in [
            "kube-proxy@v1.34.4",
            "control-plane@v1.36.3",
            "node@v1.36.3",
            "kind@v0.33.0",
        ] {
            let reference: ToolRef = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn without_a_version_the_default_is_meant() {
        let reference: ToolRef = "kube-proxy".parse().unwrap();
        assert_eq!(reference.to_string(), "kube-proxy@v1.36.3");
        let reference: ToolRef = "kind".parse().unwrap();
        assert_eq!(reference.to_string(), "kind@v0.33.0");
    }

    #[test]
    fn an_unknown_tool_lists_the_known_ones() {
        let error = "kubeproxy@v1.36.3".parse::<ToolRef>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown tool `kubeproxy`, expected one of: kube-proxy, control-plane, node, kind"
        );
    }

    #[test]
    fn a_version_has_three_numbers_after_a_v() {
        for bad in [
            "",
            "v",
            "1.36.3",
            "v1.36",
            "v1.36.3.4",
            "v1.36.x",
            "v1.+6.3",
            "v1.036.3",
            "v1.37.0-rc.1",
            "latest",
            "v1.36.99999999999",
        ] {
            let error = format!("kube-proxy@{bad}").parse::<ToolRef>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid version `{bad}`, expected vMAJOR.MINOR.PATCH, for example v1.36.3"
                )
            );
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("v1.9.10") < parse("v1.10.0"));
        assert!(parse("v1.36.3") < parse("v1.36.13"));
        assert_eq!(parse("v1.36.3").staging(), "v0.36.3");
    }
}
