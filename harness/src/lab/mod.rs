//! A lab: a world with a network, an API, a load balancer, taps, and a proxy under test on each
//! node.

mod api;
mod baseline;
mod calls;
pub mod directory;
mod documents;
mod objects;
mod proxy;
mod trip;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use tokio::sync::Semaphore;

pub use api::{ApiError, ApiKind, LabApi};
pub use baseline::{BASELINE_PORT, BaselineError};
pub use calls::{Call, Calls, HeldFlows};
pub use directory::DirectoryError;
pub use documents::{affinity, policy, service_spec, source_ranges, target_port};
pub use objects::{Allocated, AllocatedPort, NAMESPACE, Objects};
pub use proxy::{NodeProxy, ProxyError, UnexpectedExit};

pub use crate::case::SERVICE_PORT;

use crate::balancer::{Balancer, BalancerError};
use crate::case::{Place, Target};
use crate::netns::{API, Host, Namespace, Network, NetworkError};
use crate::probe::{Backend, BackendError, Connection, ProbeError};
use crate::profile::{Feature, Placeholders, Profile, Program, Variation};
use crate::stray::{EchoError, StrayError};
use crate::tap::{TapError, Taps};
use crate::timing::Timing;
use crate::verdict::{Baseline, Ground};
use crate::world::{AddressPlan, Family, LOAD_BALANCER, World};

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The world.
    pub world: World,
    /// The API.
    pub api: ApiKind,
    /// The proxy under test; without one, no Service is served.
    pub proxy: Option<ProxyUnderTest>,
    /// A directory of the lab's own, for configuration files and logs. It is emptied first, see
    /// [`directory::make_empty`].
    pub dir: PathBuf,
    /// Timings and tolerances.
    pub timing: Timing,
}

/// A proxy under test on this machine.
#[derive(Clone, Debug)]
pub struct ProxyUnderTest {
    /// How it runs.
    pub profile: Profile,
    /// What runs.
    pub program: Program,
}

/// A lab that could not be built, or broke.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its taps.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The network without a proxy does not behave as it must.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Its API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An object.
    #[error("failed to {what} through the API")]
    Object {
        /// What was tried.
        what: String,
        /// What the API answered.
        #[source]
        source: Box<kube::Error>,
    },
    /// Its load balancer.
    #[error(transparent)]
    Balancer(#[from] BalancerError),
    /// The proxy under test.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A backend of a connection that strays are sent of.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// A stray segment.
    #[error(transparent)]
    Stray(#[from] StrayError),
    /// A question over HTTP.
    #[error("failed to ask the health check port of {node}")]
    Http {
        /// The node.
        node: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The load balancer gave a Service no address.
    #[error("the load balancer gave the Service no address; its problems: {problems}")]
    NoVip {
        /// What it says of itself.
        problems: String,
    },
    /// What became of connections to a Service kept changing.
    #[error(
        "what became of the connections did not settle within {seconds} s, the last was \
         {last}; look at the proxy in a lab of its own: onehop lab up"
    )]
    Unsettled {
        /// How long they were observed.
        seconds: u64,
        /// What became of the last one.
        last: String,
    },
    /// A node still serves a Service that is gone.
    #[error("{node} still serves the Service after its deletion")]
    Undeleted {
        /// The node.
        node: String,
    },
    /// A test of the suite could not make the proxy wrong.
    #[error("failed to make the proxy wrong: {0}")]
    Sabotage(String),
    /// The taps did not see a connection that must have crossed an interface.
    #[error("no tap saw {from} make this connection: {connection:?}")]
    Unseen {
        /// Who called.
        from: Place,
        /// The connection.
        connection: Box<Connection>,
    },
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl LabError {
    /// Whether it only says that the taps cannot tell the way of a connection, because packets
    /// were lost or are forgotten by now.
    pub fn is_blindness(&self) -> bool {
        let blind = |error: &TapError| matches!(error, TapError::Lost(_) | TapError::Forgotten);
        matches!(self, Self::Unseen { .. }) || matches!(self, Self::Tap(error) if blind(error))
    }

    /// For `map_err` on questions over HTTP.
    pub(crate) fn http(node: &str) -> impl FnOnce(io::Error) -> Self {
        let node = node.to_owned();
        move |source| Self::Http { node, source }
    }

    /// For `map_err` on requests to the API.
    pub fn object(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Object {
            what,
            source: Box::new(source),
        }
    }
}

/// A port that no Service of any case has.
const WRONG_PORT: u16 = 4;

/// A running lab. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    // Fields are dropped in this order: what uses the network goes before the network.
    proxies: Vec<NodeProxy>,
    balancer: Balancer,
    api: LabApi,
    taps: Taps,
    _baseline_backends: Vec<Backend>,
    objects: Objects,
    network: Network,
    world: World,
    baseline: Baseline,
    timing: Timing,
    variations: BTreeMap<Variation, String>,
    dir: PathBuf,
    phases: BTreeMap<&'static str, Duration>,
    probers: Semaphore,
    families: Vec<Family>,
}

impl Lab {
    /// Builds a lab and waits until its proxies are ready. Must be called inside the sandbox, on a
    /// Tokio runtime.
    ///
    /// # Errors
    /// When any part fails; parts that were built are taken down again.
    pub async fn start(options: LabOptions) -> Result<Self, LabError> {
        let LabOptions {
            world,
            api,
            proxy,
            dir,
            timing,
        } = options;
        // What an earlier lab left here is not this one's: a database, or a log with other errors.
        directory::make_empty(&dir)?;
        let mut phases = BTreeMap::new();
        let mut clock = Instant::now();
        let mut phase = |name| {
            phases.insert(name, clock.elapsed());
            clock = Instant::now();
        };

        let network = Network::build(&world).await?;
        phase("network");
        let taps = Taps::start(&network)?;
        phase("taps");
        let (backends, baseline) = baseline::measure(&network, &world, &timing).await?;
        phase("baseline");
        let host = |name: &str| network.host(name).expect("every world has this host");
        let api_dir = dir.join("api");
        let (api, client) = LabApi::start(&api, host(API).namespace(), &api_dir, &timing).await?;
        phase("api");
        let objects = Objects::new(client.clone());
        objects
            .create_world(&world)
            .await
            .map_err(LabError::object("create the world"))?;
        let nodes = world.nodes.clone();
        let balancer = Balancer::start(host(LOAD_BALANCER), nodes, client, &timing).await?;
        phase("objects");
        let mut lab = Self {
            proxies: Vec::new(),
            balancer,
            api,
            taps,
            _baseline_backends: backends,
            objects,
            network,
            world,
            baseline,
            timing,
            variations: proxy
                .as_ref()
                .map(|proxy| proxy.profile.variations.clone())
                .unwrap_or_default(),
            dir,
            phases,
            probers: Semaphore::new(calls::PROBERS),
            families: families(proxy.as_ref()),
        };
        if let Some(proxy) = proxy {
            let clock = Instant::now();
            lab.start_proxies(&proxy).await?;
            lab.phases.insert("proxy", clock.elapsed());
        }
        let labelled = lab.objects.label_zones(&lab.world).await;
        labelled.map_err(LabError::object("label the nodes"))?;
        Ok(lab)
    }

    async fn start_proxies(&mut self, proxy: &ProxyUnderTest) -> Result<(), LabError> {
        let start = |node: &crate::world::Node| {
            let values = placeholders(node, &proxy.program.path, &self.api, &self.dir);
            NodeProxy::start(
                &proxy.profile,
                &values,
                self.namespace(&node.name),
                &self.timing,
            )
        };
        self.proxies = self
            .world
            .nodes
            .iter()
            .map(start)
            .collect::<Result<_, _>>()?;
        try_join_all(self.proxies.iter().map(|proxy| proxy.ready(&self.timing))).await?;
        Ok(())
    }

    /// The world of this lab.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Its timings.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How long each phase of its start took.
    pub fn phases(&self) -> &BTreeMap<&'static str, Duration> {
        &self.phases
    }

    /// Its API.
    pub fn api(&self) -> &LabApi {
        &self.api
    }

    /// The objects in its API.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Its load balancer.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Its proxies, one a node; none without a proxy under test.
    pub fn proxies(&self) -> &[NodeProxy] {
        &self.proxies
    }

    /// Its taps.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// What its verdicts stand on.
    pub fn ground(&self) -> Ground<'_> {
        Ground {
            world: &self.world,
            baseline: &self.baseline,
            timing: &self.timing,
            variations: &self.variations,
        }
    }

    /// The families that are judged: both, unless the profile declares IPv6 unsupported. The API
    /// objects are of both in any case.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.network.host(name)
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.network.hosts()
    }

    /// The namespace of a host that the world is known to have.
    ///
    /// # Panics
    /// When there is no such host: cases are checked against their world before they run.
    pub fn namespace(&self, host: &str) -> &Namespace {
        self.network
            .host(host)
            .unwrap_or_else(|| panic!("no host {host}"))
            .namespace()
    }

    /// Opens a backend in each of these pods.
    ///
    /// # Errors
    /// When the port is taken in one of them.
    pub fn listen(&self, pods: &[&str], port: u16) -> Result<Vec<Backend>, LabError> {
        let listen = |pod: &&str| {
            let pod = self
                .world
                .pod(pod)
                .expect("a case's backends are pods of its world");
            Backend::listen(self.namespace(&pod.name), pod, port)
        };
        Ok(pods.iter().map(listen).collect::<Result<_, _>>()?)
    }

    /// The address and port that a target of this Service stands for; `None` while the Service
    /// does not have it.
    pub fn resolve(
        &self,
        target: &Target,
        service: &Allocated,
        family: Family,
    ) -> Option<SocketAddr> {
        self.resolve_port(target, "", service, family)
    }

    /// As [`Self::resolve`], for the Service's port of this name.
    pub fn resolve_port(
        &self,
        target: &Target,
        port: &str,
        service: &Allocated,
        family: Family,
    ) -> Option<SocketAddr> {
        let called = service.port(port)?;
        let (address, port) = match target {
            Target::ClusterIp => (service.cluster_ip?, called.number),
            Target::ClusterIpWrongPort => (service.cluster_ip?, WRONG_PORT),
            Target::Unallocated => (AddressPlan::unallocated(), called.number),
            Target::NodePort(node) => (self.world.node(node)?.address, called.node_port?),
            Target::OtherNodePort(node) => {
                (self.world.node(node)?.other_address, called.node_port?)
            }
            Target::Vip | Target::VipAt(_) => (service.vip?, called.number),
            Target::ExternalIp(node) => {
                let networks = &self.world.node(node)?.external_cidrs;
                let own = |ip: &&IpAddr| {
                    Family::of(**ip) == family && networks.iter().any(|net| net.contains(*ip))
                };
                let address = service.external_ips.iter().find(own)?;
                return Some(SocketAddr::new(*address, called.number));
            }
        };
        Some(SocketAddr::new(address.of(family), port))
    }
}

/// What the placeholders of a profile stand for on a node. The proxy's folder is below `dir`.
pub(crate) fn placeholders(
    node: &crate::world::Node,
    program: &Path,
    api: &LabApi,
    dir: &Path,
) -> Placeholders {
    let joined = |parts: &[ipnet::IpNet; 2]| format!("{},{}", parts[0], parts[1]);
    Placeholders {
        program: program.to_owned(),
        node: node.name.clone(),
        node_ip: node.address.v4.to_string(),
        node_ips: node.address.to_string(),
        kubeconfig: api.kubeconfig().display().to_string(),
        api_url: api.url().to_owned(),
        cluster_cidr: joined(&AddressPlan::cluster_cidrs()),
        service_cidr: joined(&AddressPlan::service_cidrs()),
        pod_cidr: joined(&node.pod_cidrs),
        dir: dir.join(&node.name).display().to_string(),
    }
}

fn families(proxy: Option<&ProxyUnderTest>) -> Vec<Family> {
    let unsupported = proxy.map(|proxy| &proxy.profile.features.unsupported);
    let without = unsupported.is_some_and(|features| features.contains(&Feature::Ipv6));
    Family::ALL
        .into_iter()
        .filter(|family| !without || *family == Family::V4)
        .collect()
}

/// Waits for all of these, and returns the first error if any failed, but only once all are done.
pub(crate) async fn join_results<T, E>(
    work: impl IntoIterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    join_all(work).await.into_iter().collect()
}
