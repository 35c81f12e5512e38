//! What commands about clusters take.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use onehop_harness::cluster::RunId;
use onehop_harness::kind::{self, KindOptions, NetworkPlugin};
use onehop_harness::profile::Profile;
use onehop_harness::timing::Timing;

use super::Format;

/// Who provides the world that cases run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// Network namespaces of this machine: the embedded lab
    #[default]
    Netns,
    /// A kind cluster, made for the run
    Kind,
    /// A cluster that is there, by a context of a kubeconfig
    Existing,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netns => "netns",
            Self::Kind => "kind",
            Self::Existing => "existing",
        })
    }
}

/// What a lab on kind takes.
#[derive(Args, Default)]
#[command(next_help_heading = "With --provider kind")]
pub(crate) struct KindArguments {
    /// A kind cluster that is there, instead of one that is made for the run and removed again
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The image of the nodes, instead of kindest/node of kube-proxy's version
    #[arg(long, value_name = "IMAGE")]
    pub(crate) node_image: Option<String>,
    /// The pod network; ptp where none is named
    #[arg(long, value_enum)]
    pub(crate) network: Option<Network>,
    /// The families of nodes, pods and Services; both where none is named
    #[arg(long, value_enum)]
    pub(crate) ip_family: Option<IpFamily>,
}

impl KindArguments {
    /// How a proxy is judged on kind. The directory is another one for each proxy.
    pub(crate) fn options(
        &self,
        profile: Profile,
        run: RunId,
        keep: bool,
        timing: Timing,
    ) -> KindOptions {
        KindOptions {
            profile,
            run,
            cluster: self.cluster.clone(),
            node_image: self.node_image.clone(),
            plugin: match self.network.unwrap_or_default() {
                Network::Ptp => NetworkPlugin::Ptp,
                Network::Kindnet => NetworkPlugin::Kindnet,
            },
            family: match self.ip_family.unwrap_or_default() {
                IpFamily::Dual => kind::IpFamily::Dual,
                IpFamily::Ipv4 => kind::IpFamily::Ipv4,
            },
            keep,
            dir: PathBuf::new(),
            timing,
        }
    }
}

/// The pod network of a kind cluster.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Network {
    /// Point-to-point links and routes, deployed by onehop
    #[default]
    Ptp,
    /// kind's own
    Kindnet,
}

/// The families of a kind cluster.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum IpFamily {
    /// Both
    #[default]
    Dual,
    /// IPv4 alone
    Ipv4,
}

/// Which cluster a command is about.
#[derive(Args)]
pub(crate) struct ClusterArguments {
    /// The context of the kubeconfig. It is never guessed
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The kubeconfig, instead of the one that kubectl would use
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The cluster that this is a pod of
    #[arg(long, conflicts_with_all = ["context", "kubeconfig"])]
    pub(crate) in_cluster: bool,
}

/// What a lab on a cluster that is there takes.
#[derive(Args)]
#[command(next_help_heading = "With --provider existing")]
pub(crate) struct ExistingArguments {
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// onehop's image, by a name that the nodes have or can pull; without it, the one that
    /// `onehop image --name` says
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Also write the results to this ConfigMap, without their flows
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) config_map: Option<String>,
}

/// A share of the cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Its number, from 1 on.
    pub(crate) number: usize,
    /// How many there are.
    pub(crate) of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            let (number, of) = (number.parse().ok()?, of.parse().ok()?);
            (1 <= number && number <= of).then_some(Self { number, of })
        });
        parsed.ok_or_else(|| "a share is I/N, with I from 1 to N".to_owned())
    }
}

#[derive(Args)]
pub(crate) struct ImageArguments {
    /// Where the archive goes, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the name by which clusters look for it, and write nothing
    #[arg(long, conflicts_with = "output")]
    pub(crate) name: bool,
}

#[derive(Args)]
pub(crate) struct AgentArguments {
    /// Where to listen
    #[arg(long)]
    pub(crate) listen: SocketAddr,
}

/// An agent finds a pod by them, in the command line of its process.
#[derive(Args)]
pub(crate) struct PodArguments {
    /// The run that it belongs to
    #[arg(long)]
    run: String,
    /// Its name
    pub(crate) name: String,
    /// Serve on this port, and not only wait to be served in
    #[arg(long = "serve", value_name = "PORT", requires = "node")]
    pub(crate) ports: Vec<u16>,
    /// The Node that it runs on
    #[arg(long)]
    pub(crate) node: Option<String>,
    /// What the world calls a Node
    #[arg(long = "call", value_name = "NODE=NAME", value_parser = pair)]
    pub(crate) names: Vec<(String, String)>,
    /// How many seconds to serve on when asked to end
    #[arg(long, default_value_t = 0)]
    pub(crate) lingers: u64,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (node, name) = pair.ok_or_else(|| format!("{text} has no ="))?;
    Ok((node.to_owned(), name.to_owned()))
}

#[derive(Args)]
pub(crate) struct NetworkArguments {
    /// The name of the Node
    #[arg(long)]
    pub(crate) node: String,
    /// The file that the plugins' configuration goes to
    #[arg(long)]
    pub(crate) configuration: PathBuf,
}

#[derive(Args)]
pub(crate) struct SurveyArguments {
    /// The context of the kubeconfig; there is no default
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The kubeconfig, instead of those that KUBECONFIG names, or the one in the home directory
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Only Services of this namespace
    #[arg(long, short = 'n', value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// How the survey is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Ask no health check node port: only the API is spoken to
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// How long a health check node port may take to answer
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) timeout_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_of_as_many_as_there_are() {
        let parse = |text: &str| text.parse::<Shard>().ok().map(|s| (s.number, s.of));
        assert_eq!(parse("1/3"), Some((1, 3)));
        assert_eq!(parse("3/3"), Some((3, 3)));
        for text in ["0/3", "4/3", "1/0", "1", "a/b", "/", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
