//! The command line.

mod clusters;
#[cfg(test)]
mod documented;
mod examples;
mod proxy;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use onehop_harness::bench::Measure;
use onehop_harness::timing::Timing;

pub(crate) use clusters::{
    AgentArguments, ClusterArguments, ExistingArguments, ImageArguments, KindArguments,
    NetworkArguments, PodArguments, Provider, Shard, SurveyArguments,
};
pub(crate) use proxy::{LocalMode, ProxyArguments};
use values::factor;
pub(crate) use values::{
    Balancer, CompareFormat, FamilyArgument, Format, ListFormat, Policy, ProtocolArgument,
};

/// Proves where Kubernetes Service traffic goes.
#[derive(Parser)]
#[command(version, about, max_term_width = 100, after_help = examples::ALL)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Judge a Service proxy by the conformance cases
    #[command(after_help = examples::RUN)]
    Run(Box<RunArguments>),
    /// Make the reports of a run again, from its results.json: a page, JUnit, a conformance report, and a summary in Markdown
    ///
    /// Every run makes them as well.
    #[command(after_help = examples::REPORT)]
    Report(ReportArguments),
    /// Hold two runs against each other, or two proxies that are run now: verdicts, distributions, convergence, latencies, losses
    ///
    /// Exits with 1 when something is worse in HEAD, and with 2 when not everything could be compared, such as what HEAD has not judged that
    /// BASE has, or a proxy or a bench that only one of them has. Distributions are
    /// tested, with a chance of 0.1 % for each pair of proxies that one seems to have moved though they are alike; times are compared by
    /// 99 % intervals, and are worse where the whole interval is beyond `--slower`. Where both directories have the bench.json of
    /// `onehop bench`, its measures are compared, too: one is worse by more than `--slower` where its samples are apart, as they would
    /// be by chance once in a hundred times at the most. For cold starts that takes five `--rounds` of each bench. Intervals are of what
    /// differs inside of the two runs; what differs from run to run, such as a busier machine, is in them where both are run now, in
    /// turns.
    #[command(after_help = examples::COMPARE)]
    Compare(CompareArguments),
    /// Say why cases of a run failed: what was expected, by which way the packet went, where it was last seen, who tracked it,
    /// and in the lab which rules it met
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArguments),
    /// Measure how fast Service proxies are, side by side
    #[command(after_help = examples::BENCH)]
    Bench(BenchArguments),
    /// Make a proxy wrong in one way after the other, and see which cases notice
    ///
    /// Exits with 1 when a fault is not noticed by every case that it names, or when every fault has met every case and
    /// one of those never failed. In builds with the feature `faults`.
    #[command(after_help = examples::FAULTS)]
    Faults(FaultsArguments),
    /// List the cases by subject, with what each claims, needs and rests on
    #[command(after_help = examples::LIST)]
    List(ListArguments),
    /// Show one case: its claim, its sources, its world, and what it expects
    #[command(after_help = examples::SHOW)]
    Show {
        /// The id of the case
        case: String,
        /// How it is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Follow one connection hop by hop
    #[command(after_help = examples::TRACE)]
    Trace(TraceArguments),
    /// What Local traffic policies do in a cluster: who drops, who is overloaded. Reads, and changes nothing
    #[command(after_help = examples::SURVEY)]
    Survey(SurveyArguments),
    /// Bring up a lab to look around in
    #[command(subcommand, after_help = examples::LAB)]
    Lab(LabCommand),
    /// List and install what onehop can build: kube-proxy, and a real control plane
    #[command(subcommand, after_help = examples::TOOLS)]
    Tools(ToolsCommand),
    /// Serve the embedded Kubernetes API alone
    #[command(after_help = examples::APISERVER)]
    Apiserver(ApiserverArguments),
    /// Run the bundled Service proxy, in place of kube-proxy
    #[command(after_help = examples::PROXY)]
    Proxy(Box<ProxyArguments>),
    /// Remove what a run that was killed has left in a cluster
    #[command(after_help = examples::CLEAN)]
    Clean(ClusterArguments),
    /// Write this program as an image, a tar archive for `docker import`
    #[command(after_help = examples::IMAGE)]
    Image(ImageArguments),
    /// Print completions for a shell, to be put where it looks for them
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual of every command as one page in roff
    #[command(after_help = examples::MANUAL)]
    Manual,
    /// Act on the hosts of a machine, for a run elsewhere; its token is in ONEHOP_TOKEN
    #[command(hide = true)]
    Agent(AgentArguments),
    /// Be a pod: wait until asked to end
    #[command(hide = true)]
    Pod(PodArguments),
    /// Keep a plain pod network on a node, as a pod of its cluster
    #[command(hide = true)]
    Network(NetworkArguments),
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// Cases: parts of their ids, or whole ids with `*`; all that failed where there is none
    #[arg(value_name = "CASE")]
    pub(crate) cases: Vec<String>,
    /// All that failed, which is what is explained where no case is named
    #[arg(long, conflicts_with = "cases")]
    pub(crate) failed: bool,
    /// The directory of the run: its `--out`
    #[arg(long, value_name = "DIR", default_value = "onehop-out")]
    pub(crate) dir: PathBuf,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct CompareArguments {
    /// The run that is compared with: its `--out`, or its results.json; or the bench, its bench.json
    #[arg(
        value_name = "BASE",
        required_unless_present = "proxies",
        conflicts_with = "proxies",
        requires = "head"
    )]
    pub(crate) base: Option<PathBuf>,
    /// The run that is compared
    #[arg(value_name = "HEAD", conflicts_with = "proxies")]
    pub(crate) head: Option<PathBuf>,
    /// A proxy to be run now, as for `run`: twice, first the one that is compared with. A part of the cases is run on one, then on
    /// the other, and so on, so that whatever else the machine does meets both
    #[arg(long = "proxy", value_name = "NAME|FILE")]
    pub(crate) proxies: Vec<String>,
    /// With `--proxy`, the cases to run: a part of their ids, or whole ids with `*`. Repeatable; all when there is none
    #[arg(long = "case", value_name = "PATTERN", conflicts_with = "base")]
    pub(crate) patterns: Vec<String>,
    /// With `--proxy`, where both runs go: OUT/base and OUT/head
    #[arg(
        long,
        value_name = "DIR",
        default_value = "onehop-out",
        conflicts_with = "base"
    )]
    pub(crate) out: PathBuf,
    /// With `--proxy`, how many cases run side by side
    #[arg(long, default_value_t = 8, conflicts_with = "base", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: CompareFormat,
    /// How many times as long something must take, beyond chance, to be worse
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, value_parser = factor)]
    pub(crate) slower: f64,
    #[command(flatten)]
    pub(crate) lab: LabArguments,
}

#[derive(Args)]
pub(crate) struct ReportArguments {
    /// The directory of the run: its `--out`
    #[arg(value_name = "DIR", default_value = "onehop-out")]
    pub(crate) dir: PathBuf,
    /// Print the JSON Schema of results.json, and do nothing else
    #[arg(long)]
    pub(crate) schema: bool,
}

impl Command {
    /// How often it was asked to log more.
    pub(crate) fn verbosity(&self) -> u8 {
        let lab = match self {
            Self::Run(arguments) => &arguments.lab,
            Self::Compare(arguments) => &arguments.lab,
            Self::Faults(arguments) => &arguments.lab,
            Self::Trace(arguments) => &arguments.lab,
            Self::Lab(LabCommand::Up { lab, .. }) => lab,
            _ => return 0,
        };
        lab.verbose
    }
}

/// Which Kubernetes API the lab has.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Api {
    /// The one that is part of onehop
    #[default]
    Embedded,
    /// A real etcd and kube-apiserver (`KUBEBUILDER_ASSETS`, or `onehop tools install control-plane`)
    Real,
}

/// What every command with a lab takes.
#[derive(Args)]
pub(crate) struct LabArguments {
    /// The Kubernetes API
    #[arg(long, value_enum, default_value_t)]
    pub(crate) api: Api,
    /// The program of the proxy under test, instead of the one that its profile names
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy_binary: Option<PathBuf>,
    /// How long the proxy may take from its start until it is ready
    #[arg(long, value_name = "N", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) proxy_ready_seconds: u64,
    /// How long the proxy may take after a change until a case has failed; where it is not given 15, and 5 for `faults` in
    /// network namespaces
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) converge_seconds: Option<u64>,
    /// Log what onehop does on standard error, and with -vv in detail; ONEHOP_LOG has a filter of its own, `info,kube=debug`
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl LabArguments {
    /// What the Kubernetes API is, for results.
    pub(crate) fn api_name(&self) -> &'static str {
        match self.api {
            Api::Embedded => "embedded",
            Api::Real => "kube-apiserver",
        }
    }

    /// The timings of the lab.
    pub(crate) fn timing(&self) -> Timing {
        let usual = Timing::default();
        Timing {
            proxy_ready: Duration::from_secs(self.proxy_ready_seconds),
            converge: self
                .converge_seconds
                .map_or(usual.converge, Duration::from_secs),
            ..usual
        }
    }
}

impl RunArguments {
    /// The first option that belongs to another provider than the one that is asked for, with that provider.
    pub(crate) fn check_provider(&self) -> Result<(), (&'static str, Provider)> {
        let (kind, existing) = (&self.kind, &self.existing);
        let given = [
            ("--cluster", Provider::Kind, kind.cluster.is_some()),
            ("--node-image", Provider::Kind, kind.node_image.is_some()),
            ("--network", Provider::Kind, kind.network.is_some()),
            ("--ip-family", Provider::Kind, kind.ip_family.is_some()),
            (
                "--context",
                Provider::Existing,
                existing.cluster.context.is_some(),
            ),
            (
                "--kubeconfig",
                Provider::Existing,
                existing.cluster.kubeconfig.is_some(),
            ),
            (
                "--in-cluster",
                Provider::Existing,
                existing.cluster.in_cluster,
            ),
            ("--image", Provider::Existing, existing.image.is_some()),
            (
                "--config-map",
                Provider::Existing,
                existing.config_map.is_some(),
            ),
            (
                "--proxy-binary",
                Provider::Netns,
                self.lab.proxy_binary.is_some(),
            ),
        ];
        let wrong =
            |(_, provider, given): &(_, Provider, bool)| *given && *provider != self.provider;
        match given.iter().find(|option| wrong(option)) {
            Some((option, provider, _)) => Err((option, *provider)),
            None => Ok(()),
        }
    }

    /// What the Kubernetes API is, for results.
    pub(crate) fn api_name(&self) -> &'static str {
        api_name(self.provider, &self.lab)
    }
}

fn api_name(provider: Provider, lab: &LabArguments) -> &'static str {
    match provider {
        Provider::Netns => lab.api_name(),
        Provider::Kind | Provider::Existing => "kube-apiserver",
    }
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// Cases to run: parts of their ids, or whole ids with `*`; all when there is none
    pub(crate) patterns: Vec<String>,
    /// A proxy under test: a built-in profile, with a version if wanted (NAME@v1.36.3), or the path
    /// of a profile; may be given more than once
    ///
    /// Where it is not given, it is `bundled`; of an existing cluster, the proxy that it runs must be named
    #[arg(long = "proxy", value_name = "NAME|FILE")]
    pub(crate) proxies: Vec<String>,
    /// Where the cases run
    #[arg(long, value_enum, default_value_t)]
    pub(crate) provider: Provider,
    #[command(flatten)]
    pub(crate) lab: LabArguments,
    #[command(flatten)]
    pub(crate) kind: KindArguments,
    #[command(flatten)]
    pub(crate) existing: ExistingArguments,
    /// Only cases that need this feature
    #[arg(long, value_name = "FEATURE")]
    pub(crate) feature: Option<String>,
    /// Only this share of the cases, by their order in the catalogue
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// How many cases run side by side
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// For how long flows are idle that must outlive it. Datagrams are repeated four times in it, before kernels forget them
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u64).range(4..=110))]
    pub(crate) idle_seconds: u64,
    /// Decides the order in which cases start; printed, so that an order can be had again
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where results, logs and evidence go
    #[arg(long, value_name = "DIR", default_value = "onehop-out")]
    pub(crate) out: PathBuf,
    /// Keep the lab after a failure, until interrupted, and print how to enter it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
#[command(after_long_help = format!("{}\n\n{}", examples::BENCH, crate::bench::measures_help()))]
pub(crate) struct BenchArguments {
    /// A proxy to measure, as for `run`; may be given more than once. Ratios compare the first with
    /// the last
    #[arg(long = "proxy", value_name = "NAME|FILE")]
    #[arg(default_values = ["bundled", "kube-proxy-nftables"])]
    pub(crate) proxies: Vec<String>,
    /// The program of the proxies, instead of the one that their profiles name
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy_binary: Option<PathBuf>,
    /// Services that are present, with two endpoints each
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=60_000))]
    pub(crate) services: u32,
    /// A measure, by its name below; may be given more than once; all when there is none
    #[arg(long = "measure", value_name = "NAME", value_parser = crate::bench::measure_named)]
    pub(crate) measures: Vec<Measure>,
    /// The address family of Services and endpoints
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    pub(crate) family: FamilyArgument,
    /// Cold starts of each proxy
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Endpoint changes: so many for CPU time, under load and in a burst, and a fifth of them one
    /// at a time for latency
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=5000))]
    pub(crate) changes: u32,
    /// How long connections are opened in each of twenty turns
    #[arg(long, value_name = "N", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) connect_millis: u64,
    /// How long anything that is waited for may take
    #[arg(long, value_name = "N", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) patience_seconds: u64,
    /// Write bench.json, and the proxies' configuration and logs, to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct FaultsArguments {
    /// Faults: their names, or parts of them; all when there is none
    pub(crate) patterns: Vec<String>,
    /// List them and do nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Run only the cases that a fault names as those that catch it
    #[arg(long)]
    pub(crate) quick: bool,
    /// The proxy: one whose command is `onehop proxy` has its faults inside, any other is made wrong from outside
    #[arg(long, value_name = "NAME|FILE", default_value = "bundled")]
    pub(crate) proxy: String,
    /// Where the cases run: in network namespaces, or on kind clusters, one made for each fault. There it is the bundled
    /// proxy that is wrong
    #[arg(long, value_enum, default_value_t)]
    pub(crate) provider: Provider,
    #[command(flatten)]
    pub(crate) lab: LabArguments,
    /// How many cases run side by side in a lab
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// How many labs are up side by side, each with one fault; 2 in network namespaces. There is one kind cluster at a time
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) labs: Option<u16>,
    /// Keep evidence of every case that a fault makes fail, which takes longer than all else
    #[arg(long)]
    pub(crate) evidence: bool,
    /// Where faults.json, logs and evidence go
    #[arg(long, value_name = "DIR", default_value = "onehop-out")]
    pub(crate) out: PathBuf,
}

#[cfg(feature = "faults")]
impl FaultsArguments {
    /// What the Kubernetes API is, for results.
    pub(crate) fn api_name(&self) -> &'static str {
        api_name(self.provider, &self.lab)
    }

    /// How long a proxy may take after a change, which one with a fault mostly never ends: in namespaces 5 s unless it is said. A
    /// cluster's own controllers take longer than the lab's.
    pub(crate) fn converge(&self) -> Duration {
        let seconds = self.lab.converge_seconds.unwrap_or(match self.provider {
            Provider::Netns => 5,
            Provider::Kind | Provider::Existing => 15,
        });
        Duration::from_secs(seconds)
    }

    /// How many labs are up side by side.
    pub(crate) fn labs(&self) -> usize {
        let labs = self.labs.unwrap_or(match self.provider {
            Provider::Netns => 2,
            Provider::Kind | Provider::Existing => 1,
        });
        labs.into()
    }
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Cases to list, as for `run`
    pub(crate) patterns: Vec<String>,
    /// Only cases that need this feature
    #[arg(long, value_name = "FEATURE")]
    pub(crate) feature: Option<String>,
    /// For people, for tools, or as docs/catalogue.md has it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

#[derive(Args)]
pub(crate) struct TraceArguments {
    /// Who calls: `external`, `external@CLIENT`, `pod@POD`, `node@NODE`, or `load-balancer`
    #[arg(long, default_value = "external")]
    pub(crate) from: String,
    /// What is called: `cluster-ip`, `node-port@NODE`, `external-ip@NODE`, `vip`, or `vip@NODE`, which the load balancer calls
    #[arg(long)]
    pub(crate) to: String,
    /// The endpoints, separated by commas: pods, with their state if they are not ready: `POD=terminating`, `POD=finished`
    /// (terminating, and serving no longer), or `POD=not-ready`
    #[arg(
        long,
        value_name = "POD[=STATE]",
        value_delimiter = ',',
        default_value = "web-0,web-1,web-2"
    )]
    pub(crate) endpoints: Vec<String>,
    /// externalTrafficPolicy
    #[arg(long, value_enum, default_value_t)]
    pub(crate) etp: Policy,
    /// internalTrafficPolicy
    #[arg(long, value_enum, default_value_t)]
    pub(crate) itp: Policy,
    /// How the load balancer forwards, for `--to vip`
    #[arg(long, value_enum, default_value_t)]
    pub(crate) balancer: Balancer,
    /// The address family
    #[arg(long, value_enum, default_value_t)]
    pub(crate) family: FamilyArgument,
    /// The transport protocol
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: ProtocolArgument,
    /// The proxy under test, as for `run`. Of several, it is said where their ways part
    #[arg(long = "proxy", value_name = "NAME|FILE", default_value = "bundled")]
    pub(crate) proxies: Vec<String>,
    /// Draw the journey as well, into this file. Of several proxies, each gets a file of its own, with a number before the ending
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) lab: LabArguments,
}

#[derive(Subcommand)]
pub(crate) enum LabCommand {
    /// Bring up a lab and stay in the foreground; interrupt to end it
    Up {
        /// The proxy under test, as for `run`
        #[arg(long, value_name = "NAME|FILE", default_value = "bundled")]
        proxy: String,
        /// Run no proxy
        #[arg(long, conflicts_with = "proxy")]
        no_proxy: bool,
        #[command(flatten)]
        lab: LabArguments,
        /// Where configuration files and logs go
        #[arg(long, value_name = "DIR", default_value = "onehop-out")]
        out: PathBuf,
    },
    /// Run a command on a host of the lab that is up
    Exec {
        /// A node, pod or client, or `router`, `lb`, `api`
        host: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End the lab that is up
    Down,
}

#[derive(Subcommand)]
pub(crate) enum ToolsCommand {
    /// What is installed
    List,
    /// Build from Go modules: kube-proxy@VERSION, control-plane@VERSION, node@VERSION, kind@VERSION
    Install {
        /// What to build
        #[arg(required = true, value_name = "NAME@VERSION")]
        tools: Vec<String>,
    },
}

#[derive(Args)]
pub(crate) struct ApiserverArguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8001")]
    pub(crate) listen: SocketAddr,
    /// Write a kubeconfig for it to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}
