//! A lab: a world with a network, an API, a load balancer, taps, and a proxy under test on each
//! node.

mod api;
pub(crate) mod baseline;
mod calls;
pub mod directory;
mod documents;
mod error;
mod evidence;
mod netns;
mod objects;
mod phases;
mod provider;
mod proxy;
mod rules;
mod sites;
mod trip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;

pub use api::{ApiError, ApiKind, LabApi};
pub use baseline::{BASELINE_PORT, BaselineError};
pub use calls::{Call, Calls, HeldFlows};
pub use directory::DirectoryError;
pub(crate) use documents::port_name;
pub use documents::{affinity, policy, service_spec, source_ranges, target_port};
pub use error::LabError;
pub use netns::Netns;
pub(crate) use netns::placeholders;
pub use objects::{Allocated, AllocatedPort, NAMESPACE, Objects};
pub(crate) use objects::{ZONE_LABEL, object};
pub(crate) use phases::Phases;
pub(crate) use provider::Provider;
pub use provider::ProxyFates;
pub use proxy::{NodeProxy, ProxyError, UnexpectedExit};
pub use rules::{DROP, REJECT, RuleMet, RulesMet};
pub(crate) use sites::Sites;

pub use crate::case::SERVICE_PORT;

use crate::agent::{Kept, Site};
use crate::balancer::View;
use crate::case::{Need, Target};
use crate::cluster::Cluster;
use crate::probe::HttpOutcome;
use crate::profile::{Feature, Known, Profile, Program};
use crate::tap::{self, Clocks};
use crate::timing::Timing;
use crate::verdict::{Baseline, Ground};
use crate::world::{Dual, Family, World};

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

/// A port that no Service of any case has.
const WRONG_PORT: u16 = 4;

/// The address of each host's loopback.
const LOCALHOST: Dual = Dual {
    v4: Ipv4Addr::LOCALHOST,
    v6: Ipv6Addr::LOCALHOST,
};

/// A running lab. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    provider: Provider,
    sites: Sites,
    _backends: Vec<Kept>,
    objects: Objects,
    world: World,
    baseline: Baseline,
    timing: Timing,
    /// The defects that its proxy is known to have.
    known: Vec<Known>,
    dir: PathBuf,
    phases: BTreeMap<&'static str, Duration>,
    probers: Semaphore,
    families: Vec<Family>,
    lacks: BTreeMap<Need, String>,
    epoch: Duration,
    clocks: Clocks,
    /// The nodes that are stopped now: nothing on them answers, their agents included.
    stopped: RwLock<BTreeSet<String>>,
}

/// What a provider has built.
pub(crate) struct Parts {
    pub(crate) provider: Provider,
    pub(crate) sites: Sites,
    pub(crate) backends: Vec<Kept>,
    pub(crate) baseline: Baseline,
    pub(crate) objects: Objects,
    pub(crate) world: World,
    pub(crate) timing: Timing,
    pub(crate) profile: Option<Profile>,
    /// What the proxy says of its version.
    pub(crate) version: Option<String>,
    pub(crate) dir: PathBuf,
    pub(crate) phases: BTreeMap<&'static str, Duration>,
    /// The families that the world has.
    pub(crate) families: Vec<Family>,
    /// What it does not have, and why.
    pub(crate) lacks: BTreeMap<Need, String>,
    /// Since when sightings count their time.
    pub(crate) epoch: Duration,
    /// Whose clocks stamp sightings.
    pub(crate) clocks: Clocks,
}

impl Lab {
    pub(crate) fn new(parts: Parts) -> Self {
        let profile = parts.profile.as_ref();
        let without_v6 = profile.is_some_and(|p| p.features.unsupported.contains(&Feature::Ipv6));
        let judged = |family: &Family| !without_v6 || *family == Family::V4;
        let known = profile.map_or(&[][..], |profile| &profile.known).iter();
        let known = known.filter(|known| known.is_in(parts.version.as_deref()));
        let known = known.cloned().collect();
        Self {
            families: parts.families.into_iter().filter(judged).collect(),
            known,
            provider: parts.provider,
            sites: parts.sites,
            _backends: parts.backends,
            objects: parts.objects,
            world: parts.world,
            baseline: parts.baseline,
            timing: parts.timing,
            dir: parts.dir,
            phases: parts.phases,
            probers: Semaphore::new(calls::PROBERS),
            lacks: parts.lacks,
            epoch: parts.epoch,
            clocks: parts.clocks,
            stopped: RwLock::default(),
        }
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

    /// The objects in its API.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What provides it, by the name that results have.
    pub fn provider_name(&self) -> &'static str {
        self.provider.name()
    }

    /// What its Kubernetes API is, for results.
    pub fn api_name(&self) -> String {
        self.provider.api_name()
    }

    /// The version of the Kubernetes that it is on, where that is a cluster.
    pub fn cluster_version(&self) -> Option<String> {
        match &self.provider {
            Provider::Netns(_) => None,
            Provider::Cluster(cluster) => Some(cluster.version.clone()),
        }
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The parts that a lab in network namespaces has beside.
    ///
    /// # Panics
    /// When it is another provider's.
    pub fn netns(&self) -> &Netns {
        match &self.provider {
            Provider::Netns(netns) => netns,
            Provider::Cluster(cluster) => panic!("the lab is on a cluster of {}", cluster.provider),
        }
    }

    /// The cluster that it is on.
    ///
    /// # Panics
    /// When it is on none: cases are checked against what a lab lacks.
    pub(crate) fn cluster(&self) -> &Cluster {
        match &self.provider {
            Provider::Cluster(cluster) => cluster,
            Provider::Netns(_) => panic!("the lab is in network namespaces"),
        }
    }

    /// Acts on pods that have come to a node since, too.
    ///
    /// # Errors
    /// When one does not run there, or cannot be tapped.
    pub(crate) async fn adopt(&self, node: &str, pods: &[String]) -> Result<(), LabError> {
        let run = self.cluster().run.to_string();
        Ok(self.sites.of(node).adopt(&run, pods).await?)
    }

    /// Stops every process on a node, or lets them go on, and waits until the cluster has noticed.
    ///
    /// # Errors
    /// When it cannot be done, or is not noticed.
    pub(crate) async fn stop_node(&self, node: &str, stopped: bool) -> Result<(), LabError> {
        if self.stopped_nodes().contains(node) == stopped {
            return Ok(());
        }
        let object = &self.world.node(node).expect("a node of the world").object;
        let cluster = self.cluster();
        cluster.stop_node(object, stopped).await?;
        {
            let mut all = self.stopped.write().unwrap_or_else(PoisonError::into_inner);
            if stopped {
                all.insert(node.to_owned());
            } else {
                all.remove(node);
            }
        }
        Ok(cluster.node_becomes(object, !stopped, &self.timing).await?)
    }

    /// Ends the proxy of every node and waits until the next one is ready there.
    ///
    /// # Errors
    /// When one does not get ready.
    pub(crate) async fn restart_proxies(&self) -> Result<(), LabError> {
        match &self.provider {
            Provider::Netns(netns) => {
                let restarting = netns.proxies().iter();
                join_results(restarting.map(|proxy| proxy.restart(&self.timing))).await?;
            }
            Provider::Cluster(cluster) => {
                let (world, sites) = (&self.world, &self.sites);
                cluster.restart_proxies(world, sites, &self.timing).await?;
            }
        }
        Ok(())
    }

    fn stopped_nodes(&self) -> BTreeSet<String> {
        self.stopped
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The time now, by the clock of the taps, since the lab began.
    pub(crate) fn now(&self) -> Duration {
        self.by_taps(tap::now())
    }

    /// A time of [`tap::now`], since the lab began: what sightings and calls of this lab are stamped with.
    pub(crate) fn by_taps(&self, time: Duration) -> Duration {
        time.saturating_sub(self.epoch)
    }

    /// How its load balancer serves a Service of this name, in [`NAMESPACE`]; nothing if it does not.
    ///
    /// # Errors
    /// When the load balancer cannot be asked.
    pub async fn view(&self, service: &str) -> Result<Option<View>, LabError> {
        self.provider.view(&format!("{NAMESPACE}/{service}")).await
    }

    /// What does not work of its load balancer.
    ///
    /// # Errors
    /// When the load balancer cannot be asked.
    pub async fn balancer_problems(&self) -> Result<Vec<String>, LabError> {
        self.provider.problems().await
    }

    /// What has become of its proxies.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn proxy_fates(&self) -> Result<ProxyFates, LabError> {
        self.provider.fates().await
    }

    /// Leaves everything as it was that does not end by itself. To be called when the lab is no
    /// longer used.
    ///
    /// # Errors
    /// When something is left behind.
    pub async fn end(&self) -> Result<(), LabError> {
        self.provider.end(&self.timing).await
    }

    /// The defect that its proxy is known to have, and because of which a case fails.
    pub fn known(&self, case: &str) -> Option<&Known> {
        let mut known = self.known.iter();
        known.find(|known| known.cases.iter().any(|id| id == case))
    }

    /// What its world does not have, with the reason.
    pub fn lacks(&self) -> &BTreeMap<Need, String> {
        &self.lacks
    }

    /// What its verdicts stand on.
    pub fn ground(&self) -> Ground<'_> {
        Ground {
            world: &self.world,
            baseline: &self.baseline,
            timing: &self.timing,
        }
    }

    /// The families that are judged: those of the world, without IPv6 where the profile declares it
    /// unsupported. The API objects are of all families of the world in any case.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Opens a backend in each of these pods.
    ///
    /// # Errors
    /// When the port is taken in one of them.
    ///
    /// # Panics
    /// When a pod is not in the world.
    pub async fn listen(&self, pods: &[&str], port: u16) -> Result<Vec<Kept>, LabError> {
        let listen = pods
            .iter()
            .map(|pod| self.listen_on(pod, std::slice::from_ref(&port)));
        let each: Vec<_> = listen.collect();
        join_results(each).await
    }

    /// Opens a backend in a pod, on each of these ports.
    pub(crate) async fn listen_on(&self, pod: &str, ports: &[u16]) -> Result<Kept, LabError> {
        let pod = self.world.pod(pod);
        let pod = pod.expect("a case's backends are pods of its world");
        Ok(self.sites.of(&pod.name).listen(pod, ports).await?)
    }

    /// Opens a backend that says back what it is told in a pod, on each of these ports.
    pub(crate) async fn echo_on(&self, pod: &str, ports: &[u16]) -> Result<Kept, LabError> {
        Ok(self.sites.of(pod).echo(pod, ports).await?)
    }

    /// Gets `path` from a server, from a host of the world.
    pub(crate) async fn get(
        &self,
        from: &str,
        server: SocketAddr,
        path: &str,
    ) -> Result<HttpOutcome, LabError> {
        Ok(self.sites.of(from).get(from, server, path).await?)
    }

    /// Who acts on a host.
    pub(crate) fn site(&self, host: &str) -> &Site {
        self.sites.of(host)
    }

    /// The address and port that a target of this Service stands for; `None` while the Service
    /// does not have it. A node port stands for one in every family: of one that the Service does not have, it is closed.
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
            Target::ClusterIp | Target::ClusterIpAt(_) => (service.cluster_ip?, called.number),
            Target::ClusterIpWrongPort => (service.cluster_ip?, WRONG_PORT),
            Target::Unallocated => (self.world.unallocated(), called.number),
            Target::NodePort(node) => (self.world.node(node)?.address, called.node_port?),
            Target::OtherNodePort(node) => {
                (self.world.node(node)?.other_address, called.node_port?)
            }
            Target::Localhost => (LOCALHOST, called.node_port?),
            Target::Vip | Target::VipAt(_) => (service.vip?, called.number),
            Target::OtherVip => (service.other_vip?, called.number),
            Target::ExternalIp(node) => {
                let networks = &self.world.node(node)?.external_cidrs;
                let own = |ip: &&IpAddr| {
                    Family::of(**ip) == family && networks.iter().any(|net| net.contains(*ip))
                };
                let address = service.external_ips.iter().find(own)?;
                return Some(SocketAddr::new(*address, called.number));
            }
        };
        // A family that the Service does not have.
        let address = Some(address.of(family)).filter(|address| !address.is_unspecified());
        Some(SocketAddr::new(address?, port))
    }
}

/// Waits for all of these, and returns the first error if any failed, but only once all are done.
pub(crate) async fn join_results<T, E>(
    work: impl IntoIterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    join_all(work).await.into_iter().collect()
}
