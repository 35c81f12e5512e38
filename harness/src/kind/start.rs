//! From nothing to a lab on a kind cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::KindError;
use super::cluster::{Kind, KindCluster};
use super::config::{self, IpFamily, ManifestValues, NetworkPlugin};
use super::docker::Docker;
use super::outside::{NETWORK, Outside};
use crate::cluster::{
    Cluster, ClusterError, ClusterParts, NodeCommands, PodImage, Prepared, ProxyPods, RunId,
    Secretive, abandon, clean, networks, nodes_ready, prepare, service_ranges,
};
use crate::lab::{Lab, LabError, Objects, Phases, directory};
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
    /// The name of the run.
    pub run: RunId,
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
    let mut phases = Phases::start();
    let image = docker.own_image().await?;
    phases.end("image");
    let cluster = obtain(checked, &options).await?;
    let (text, run) = (
        kind.kubeconfig(&cluster.name, false).await?,
        options.run.clone(),
    );
    write_kubeconfig(&options.dir.join("kubeconfig"), &text)?;
    let client = crate::agent::client_of(&text).await;
    let client = client.map_err(KindError::from)?;
    phases.end("cluster");
    kind.load(&cluster.name, &image).await?;
    phases.end("load");
    let site = Site {
        docker: docker.clone(),
        kind: kind.clone(),
        client: client.clone(),
        made: options.cluster.is_none(),
        cluster,
        image,
    };
    let (goes_on, timing) = (!site.made || options.keep, options.timing.clone());
    let lab = site.lab(options, phases).await;
    if lab.is_err() && goes_on {
        abandon(&client, &run, &timing).await;
    }
    lab
}

/// The cluster that is named, or one that is made.
async fn obtain(checked: &Checked, options: &KindOptions) -> Result<KindCluster, KindError> {
    let Checked { docker, kind } = checked;
    if let Some(name) = &options.cluster {
        return KindCluster::attach(kind, docker, name).await;
    }
    let mode = &of_kind(&options.profile)?.kube_proxy_mode;
    let config = config::cluster(mode, options.plugin, options.family);
    let image = options.node_image.clone();
    let image = image.unwrap_or_else(|| node_image(&options.profile));
    let kubeconfig = options.dir.join("kubeconfig");
    let made = KindCluster::create(kind, docker, CLUSTER, &config, &image, &kubeconfig);
    let mut cluster = made.await?;
    if options.keep {
        cluster.keep()?;
    }
    Ok(cluster)
}

/// Writes a file that nobody else may read: it has a cluster's keys.
fn write_kubeconfig(path: &Path, text: &str) -> Result<(), KindError> {
    let failed = |source| KindError::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)
}

/// A cluster, and what acts on it.
struct Site {
    docker: Docker,
    kind: Kind,
    client: kube::Client,
    cluster: KindCluster,
    /// Whether the run has made it.
    made: bool,
    image: String,
}

impl Site {
    /// Builds the lab.
    async fn lab(self, options: KindOptions, mut phases: Phases) -> Result<Lab, KindLabError> {
        let own = of_kind(&options.profile)?;
        let (client, timing) = (&self.client, &options.timing);
        let api = self.api_address().await?;
        if self.made {
            self.deploy(&options, own, &api[0]).await?;
        } else {
            // What a killed run has left, and who else is there.
            self.docker.unpause_nodes(&self.cluster.name).await?;
            clean(client, timing).await?;
            self.check_proxy(own).await?;
        }
        nodes_ready(client, timing).await?;
        phases.end("nodes");
        let version = client.apiserver_version().await;
        let version = version
            .map_err(ClusterError::object("ask for the version"))?
            .git_version;
        let image = PodImage {
            name: self.image.clone(),
            pulled: false,
        };
        let mut prepared = prepare(client.clone(), &image, &options.run, timing).await?;
        if let Some(ranges) = service_ranges(client).await {
            prepared.world.service_cidrs = networks(ranges);
        }
        phases.end("pods");
        let (outside, agent) = self.outside(&mut prepared, &api, timing).await?;
        phases.end("outside");
        let objects = Objects::new(client.clone(), &prepared.families);
        let labelled = objects.label_zones(&prepared.world).await;
        labelled.map_err(LabError::object("label the nodes"))?;
        let proxies = match (&own.pods, own.kube_proxy_mode.as_str()) {
            (Some((namespace, labels)), _) => Some((namespace.as_str(), labels.as_str())),
            (None, "none") => None,
            (None, _) => Some(KUBE_PROXY),
        };
        let proxies = match proxies {
            Some((namespace, labels)) => Some(ProxyPods::find(client, namespace, labels).await?),
            None => None,
        };
        let nodes = prepared.world.nodes.iter();
        let cluster = Cluster {
            provider: "kind",
            client: Secretive(client.clone()),
            version,
            outside: Some(agent.clone()),
            proxies,
            nodes: Some(Box::new(Nodes(self.docker.clone()))),
            run: options.run,
            image,
            unlabels: nodes.map(|node| node.object.clone()).collect(),
            profile: Some(options.profile.clone()),
            lease: None,
            // A cluster that goes on is left as it was.
            leaves_namespace: self.made && !options.keep,
            _guard: Some(Box::new((outside, self.cluster))),
        };
        let parts = ClusterParts {
            cluster,
            profile: Some(options.profile),
            dir: options.dir,
            lacks: BTreeMap::new(),
            phases,
        };
        Ok(prepared.finish(Some(agent), parts).await?)
    }

    /// Checks that a cluster that was there runs what is to be judged.
    async fn check_proxy(&self, own: &KindProfile) -> Result<(), KindError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), KUBE_PROXY.0);
        let found = maps.get_opt("kube-proxy").await;
        let found = found.map_err(ClusterError::object("read kube-proxy's configuration"))?;
        let config = found.and_then(|map| map.data?.remove("config.conf"));
        let mode = config.map_or_else(|| "none".to_owned(), |config| mode_of(&config));
        if mode == own.kube_proxy_mode {
            return Ok(());
        }
        Err(KindError::OtherProxy {
            name: self.cluster.name.clone(),
            found: format!("kubeProxyMode {mode}"),
            wanted: own.kube_proxy_mode.clone(),
        })
    }

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
            image: &self.image,
            api_host,
            api_port: API_PORT,
            cluster_cidr: &cluster_cidr,
            service_cidr: &service_cidr,
            arguments: &own.arguments,
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
        timing: &Timing,
    ) -> Result<(Outside, crate::agent::Remote), KindError> {
        // One that a killed run has left.
        self.docker.remove_containers(&self.cluster.name)?;
        let name = &self.cluster.name;
        let outside = Outside::start(name, &self.image, prepared.token()).await?;
        let addresses = self.docker.addresses(&outside.name, NETWORK).await?;
        let parsed = addresses.iter().filter_map(|address| address.parse().ok());
        let address: Dual = crate::cluster::dual(parsed);
        prepared.world.balancer = address;
        prepared.world.node_networks =
            crate::cluster::networks(self.docker.subnets(NETWORK).await?);
        let own = if address.v4.is_unspecified() {
            address.v6.into()
        } else {
            address.v4.into()
        };
        let stream = outside.connect(own, timing).await?;
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

/// The mode in a configuration of kube-proxy. Without one, it is that of the platform's default.
fn mode_of(config: &str) -> String {
    let config: serde_json::Value = serde_saphyr::from_str(config).unwrap_or_default();
    match config["mode"].as_str() {
        None | Some("") => "iptables".to_owned(),
        Some(mode) => mode.to_owned(),
    }
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
