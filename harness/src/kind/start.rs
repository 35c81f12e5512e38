//! From nothing to a lab on a kind cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Output;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::KindError;
use super::cluster::{Kind, KindCluster};
use super::config::{self, IpFamily, ManifestValues, NetworkPlugin};
use super::docker::Docker;
use super::outside::{NETWORK, Outside};
use crate::case::Need;
use crate::cluster::{
    Cluster, ClusterError, ClusterParts, NodeCommands, Prepared, ProxyPods, Secretive, nodes_ready,
    prepare, sweep,
};
use crate::lab::{Lab, LabError, Phases, directory};
use crate::profile::{KindProfile, Profile};
use crate::timing::Timing;
use crate::tools::Version;
use crate::world::{AddressPlan, Dual};

/// What a lab on kind is made of.
#[derive(Clone, Debug)]
pub struct KindOptions {
    /// The proxy under test.
    pub profile: Profile,
    /// The cluster to use; without one, one is made and removed again.
    pub cluster: Option<String>,
    /// The image of the nodes; without one, the one of the proxy's own version.
    pub node_image: Option<String>,
    /// The pod network.
    pub plugin: NetworkPlugin,
    /// The families.
    pub family: IpFamily,
    /// Whether a cluster that was made stays after the run.
    pub keep: bool,
    /// A directory of the lab's own. It is emptied first.
    pub dir: PathBuf,
    /// Timings and tolerances.
    pub timing: Timing,
}

/// The name of the cluster that is made where none is named.
const CLUSTER: &str = "onehop";
/// The port of the API on the control plane.
const API_PORT: u16 = 6443;
/// Where kube-proxy's pods are, and their label, by kubeadm's way.
const KUBE_PROXY: (&str, &str) = ("kube-system", "k8s-app=kube-proxy");

/// What a lab on kind needs of the machine, and of a profile.
#[derive(Clone, Debug)]
pub struct Checked {
    docker: Docker,
    kind: Kind,
}

/// Checks that everything is there that a lab on kind needs, without making anything.
///
/// # Errors
/// When Docker or kind is missing, or a profile does not say how it runs on kind.
pub async fn check(profiles: &[Profile]) -> Result<Checked, KindError> {
    for profile in profiles {
        of_kind(profile)?;
    }
    let kind = Kind::find()?;
    let docker = Docker::find().await?;
    Ok(Checked { docker, kind })
}

fn of_kind(profile: &Profile) -> Result<&KindProfile, KindError> {
    let own = profile.kind.as_ref();
    let own = own.filter(|kind| config::has_mode(&kind.kube_proxy_mode));
    own.ok_or_else(|| KindError::NoProfile {
        profile: profile.name.clone(),
    })
}

/// Makes a cluster or uses one, and builds a lab on it.
///
/// # Errors
/// When any part fails; what was made is removed again.
pub async fn start(checked: &Checked, options: KindOptions) -> Result<Lab, KindLabError> {
    let Checked { docker, kind } = checked;
    directory::make_empty(&options.dir).map_err(LabError::from)?;
    let own = of_kind(&options.profile)?;
    let mut phases = Phases::start();
    let image = docker.own_image().await?;
    phases.end("image");

    let kubeconfig = options.dir.join("kubeconfig");
    let mut cluster = match &options.cluster {
        Some(name) => KindCluster::attach(kind, name).await?,
        None => {
            let config = config::cluster(&own.kube_proxy_mode, options.plugin, options.family);
            let node_image = options
                .node_image
                .clone()
                .unwrap_or_else(|| node_image(&options.profile));
            let made =
                KindCluster::create(kind, docker, CLUSTER, &config, &node_image, &kubeconfig);
            made.await?
        }
    };
    let made = options.cluster.is_none();
    if options.keep && made {
        cluster.keep()?;
    }
    let text = kind.kubeconfig(&cluster.name, false).await?;
    std::fs::write(&kubeconfig, &text).map_err(|source| KindError::File {
        what: "write",
        path: kubeconfig,
        source,
    })?;
    let client = client_of(&text).await?;
    phases.end("cluster");
    kind.load(&cluster.name, &image).await?;
    phases.end("load");

    let site = Site {
        docker,
        kind,
        cluster: &cluster,
        image: &image,
    };
    let api = site.api_address().await?;
    if made {
        site.deploy(&options, own, &api[0]).await?;
    }
    // What a killed run has left in a cluster that goes on.
    docker.unpause_nodes(&cluster.name).await?;
    sweep(&client, &options.timing).await?;
    nodes_ready(&client, &options.timing).await?;
    phases.end("nodes");
    let version = client.apiserver_version().await;
    let version = version
        .map_err(ClusterError::object("ask for the version"))?
        .git_version;
    let mut prepared = prepare(client.clone(), &image, &options.timing).await?;
    phases.end("pods");
    let (outside, agent) = site.outside(&mut prepared, &api).await?;
    phases.end("outside");

    let labelled = crate::lab::Objects::new(client.clone(), &prepared.families);
    let labelled = labelled.label_zones(&prepared.world).await;
    labelled.map_err(LabError::object("label the nodes"))?;
    let proxies = match own.kube_proxy_mode.as_str() {
        "none" => None,
        _ => Some(ProxyPods::find(&client, KUBE_PROXY.0, KUBE_PROXY.1).await?),
    };
    let lacks = lacks(options.plugin);
    let cluster = Cluster {
        provider: "kind",
        client: Secretive(client),
        version,
        run: prepared.run.clone(),
        image,
        outside: Some(agent.clone()),
        proxies,
        nodes: Some(Box::new(Nodes(docker.clone()))),
        // A cluster that goes on is left as it was.
        proxy_is_new: true,
        lease: None,
        leaves_namespace: made && !options.keep,
        _guard: Some(Box::new((outside, cluster))),
    };
    let parts = ClusterParts {
        cluster,
        profile: Some(options.profile),
        dir: options.dir,
        lacks,
        phases,
    };
    Ok(prepared.finish(Some(agent), parts).await?)
}

/// What a pod network does not let be judged.
fn lacks(plugin: NetworkPlugin) -> BTreeMap<Need, String> {
    match plugin {
        NetworkPlugin::Ptp => BTreeMap::new(),
        // kind images/kindnetd/cmd/kindnetd/masq.go: all but what goes to a pod.
        NetworkPlugin::Kindnet => {
            let why = "kindnet masquerades what leaves the pod network; --network ptp does not";
            BTreeMap::from([(Need::PodSources, why.to_owned())])
        }
    }
}

/// A cluster, and what acts on it.
struct Site<'a> {
    docker: &'a Docker,
    kind: &'a Kind,
    cluster: &'a KindCluster,
    image: &'a str,
}

impl Site<'_> {
    /// The addresses of the control plane, IPv4 first.
    async fn api_address(&self) -> Result<[String; 2], KindError> {
        self.docker
            .addresses(&self.cluster.control_plane(), NETWORK)
            .await
    }

    /// Deploys the pod network and the proxy under test, where kind has brought none.
    async fn deploy(
        &self,
        options: &KindOptions,
        own: &KindProfile,
        api_host: &str,
    ) -> Result<(), KindError> {
        let joined = |parts: [ipnet::IpNet; 2]| match options.family {
            IpFamily::Dual => format!("{},{}", parts[0], parts[1]),
            IpFamily::Ipv4 => parts[0].to_string(),
        };
        let (cluster_cidr, service_cidr) = (
            joined(AddressPlan::cluster_cidrs()),
            joined(AddressPlan::service_cidrs()),
        );
        let values = ManifestValues {
            image: self.image,
            api_host,
            api_port: API_PORT,
            cluster_cidr: &cluster_cidr,
            service_cidr: &service_cidr,
        };
        let control_plane = self.cluster.control_plane();
        let apply = async |what: &str, manifest: &str| {
            let manifest = config::render(manifest, &values);
            self.docker.apply(&control_plane, what, &manifest).await
        };
        if options.plugin == NetworkPlugin::Ptp {
            apply("the pod network", config::PTP).await?;
        }
        for image in &own.images {
            self.kind.load(&self.cluster.name, image).await?;
        }
        for (name, manifest) in config::manifests(&options.profile, own)? {
            apply(&name, &manifest).await?;
        }
        Ok(())
    }

    /// Starts everything outside of the cluster, and leads the nodes' ways there.
    async fn outside(
        &self,
        prepared: &mut Prepared,
        api: &[String; 2],
    ) -> Result<(Outside, crate::agent::Remote), KindError> {
        // One that a killed run has left.
        self.docker.remove_containers(&self.cluster.name).await?;
        let name = &self.cluster.name;
        let outside = Outside::start(name, self.image, prepared.token()).await?;
        let addresses = self.docker.addresses(&outside.name, NETWORK).await?;
        let parsed = addresses.iter().filter_map(|address| address.parse().ok());
        let address: Dual = crate::cluster::dual(parsed);
        prepared.world.node_networks =
            crate::cluster::networks(self.docker.subnets(NETWORK).await?);
        let stream = outside.connect().await?;
        let agent = prepared.begin_outside(stream, prepared.token()).await?;
        prepared.settle(Some(address)).await?;
        agent.become_outside(&prepared.world).await?;
        let kubeconfig = self.kind.kubeconfig(name, true).await?;
        let kubeconfig = kubeconfig.replace(&self.cluster.control_plane(), &api[0]);
        agent.balance(&kubeconfig).await?;
        Ok((outside, agent))
    }
}

/// The nodes of a kind cluster are containers.
struct Nodes(Docker);

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nodes")
    }
}

impl NodeCommands for Nodes {
    fn run<'a>(&'a self, node: &'a str, command: &'a [&'a str]) -> BoxFuture<'a, Vec<u8>> {
        async move {
            match self.0.exec(node, command).await {
                Ok(Output { status, stdout, .. }) if status.success() => stdout,
                Ok(Output { stdout, stderr, .. }) => [stdout, stderr].concat(),
                Err(error) => format!("{error}\n").into_bytes(),
            }
        }
        .boxed()
    }

    fn stop<'a>(&'a self, node: &'a str, stopped: bool) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let done = self.0.pause(node, stopped).await;
            done.map_err(|error| crate::error::chain(&error))
        }
        .boxed()
    }
}

/// The image of the nodes for a proxy: of kube-proxy's version, where that is what is judged.
fn node_image(profile: &Profile) -> String {
    let version = profile.tool.map_or(Version::DEFAULT, |tool| tool.version);
    format!("kindest/node:{version}")
}

async fn client_of(kubeconfig: &str) -> Result<kube::Client, KindLabError> {
    let client = crate::agent::client_of(kubeconfig).await;
    Ok(client.map_err(KindError::from)?)
}

/// A lab on kind that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum KindLabError {
    /// The cluster.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// The lab on it.
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl From<ClusterError> for KindLabError {
    fn from(error: ClusterError) -> Self {
        Self::Kind(error.into())
    }
}
