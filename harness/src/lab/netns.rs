//! A lab in network namespaces of this machine: what it is made of beside its hosts.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::try_join_all;

use super::{
    Lab, LabApi, LabError, LabOptions, NodeProxy, Objects, Parts, Phases, Provider, ProxyUnderTest,
    Sites, baseline, directory,
};
use crate::agent::{Agent, Site};
use crate::balancer::Balancer;
use crate::case::Need;
use crate::netns::{API, FABRIC, Host, Namespace, Network};
use crate::profile::Placeholders;
use crate::tap;
use crate::timing::Timing;
use crate::world::{AddressPlan, Family, LOAD_BALANCER, Node};

/// The parts of a lab in network namespaces. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Netns {
    // Fields are dropped in this order: what uses the network goes before the network.
    proxies: Vec<NodeProxy>,
    balancer: Balancer,
    api: LabApi,
    network: Network,
}

impl Netns {
    /// The API.
    pub fn api(&self) -> &LabApi {
        &self.api
    }

    /// The load balancer.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The proxies, one a node; none without a proxy under test.
    pub fn proxies(&self) -> &[NodeProxy] {
        &self.proxies
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

    /// What no lab in network namespaces has, and why.
    pub fn lacks() -> BTreeMap<Need, String> {
        let needs = [Need::Controllers, Need::StoppableNodes];
        let why = "the lab in network namespaces has none, --provider kind does";
        needs.map(|need| (need, why.to_owned())).into()
    }

    async fn start_proxies(
        &mut self,
        nodes: &[Node],
        proxy: &ProxyUnderTest,
        dir: &Path,
        timing: &Timing,
    ) -> Result<(), LabError> {
        let start = |node: &Node| {
            let values = placeholders(node, &proxy.program.path, &self.api, dir);
            let namespace = self.namespace(&node.name);
            NodeProxy::start(&proxy.profile, &values, namespace, timing)
        };
        self.proxies = nodes.iter().map(start).collect::<Result<_, _>>()?;
        try_join_all(self.proxies.iter().map(|proxy| proxy.ready(timing))).await?;
        Ok(())
    }
}

impl Lab {
    /// Builds a lab in network namespaces and waits until its proxies are ready. Must be called
    /// inside the sandbox, on a Tokio runtime.
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
        let mut phases = Phases::start();

        let network = Network::build(&world).await?;
        phases.end("network");
        let epoch = tap::now();
        let hosts = || network.hosts().map(|host| host.namespace().clone());
        // The fabric only passes on what its neighbours' taps see anyway.
        let tapped = |host: &str| host != FABRIC;
        let agent = Agent::new(hosts(), tapped, epoch, timing.clone())?;
        let mut sites = Sites::default();
        let names: Vec<_> = agent.hosts().map(str::to_owned).collect();
        sites.add(Site::Here(Box::new(agent)), names);
        phases.end("taps");
        let (backends, baseline) = baseline::measure(&sites, &world, &Family::ALL).await?;
        phases.end("baseline");
        let host = |name: &str| network.host(name).expect("every world has this host");
        let api_dir = dir.join("api");
        let (api, client) = LabApi::start(&api, host(API).namespace(), &api_dir, &timing).await?;
        phases.end("api");
        let objects = Objects::new(client.clone(), &Family::ALL);
        objects
            .create_world(&world)
            .await
            .map_err(LabError::object("create the world"))?;
        let balancer = Balancer::start(host(LOAD_BALANCER), &world, client, &timing).await?;
        phases.end("objects");
        let mut netns = Netns {
            proxies: Vec::new(),
            balancer,
            api,
            network,
        };
        if let Some(proxy) = &proxy {
            let nodes = &world.nodes;
            netns.start_proxies(nodes, proxy, &dir, &timing).await?;
            phases.end("proxy");
        }
        let labelled = objects.label_zones(&world).await;
        labelled.map_err(LabError::object("label the nodes"))?;
        Ok(Self::new(Parts {
            provider: Provider::Netns(Box::new(netns)),
            version: proxy.as_ref().and_then(|p| p.program.version.clone()),
            profile: proxy.map(|proxy| proxy.profile),
            families: Family::ALL.to_vec(),
            lacks: Netns::lacks(),
            sites,
            backends,
            baseline,
            objects,
            world,
            timing,
            dir,
            epoch,
            clocks: tap::Clocks::One,
            phases: phases.done(),
        }))
    }
}

/// What the placeholders of a profile stand for on a node. The proxy's folder is below `dir`.
pub(crate) fn placeholders(node: &Node, program: &Path, api: &LabApi, dir: &Path) -> Placeholders {
    let joined = |parts: &[ipnet::IpNet; 2]| format!("{},{}", parts[0], parts[1]);
    Placeholders {
        program: program.to_owned(),
        node: node.name.clone(),
        node_ip: node.address.v4.to_string(),
        node_ips: node.address.to_string(),
        node_cidr: joined(&AddressPlan::node_networks()),
        kubeconfig: api.kubeconfig().display().to_string(),
        api_url: api.url().to_owned(),
        cluster_cidr: joined(&AddressPlan::cluster_cidrs()),
        service_cidr: joined(&AddressPlan::service_cidrs()),
        pod_cidr: joined(&node.pod_cidrs),
        dir: dir.join(&node.name).display().to_string(),
    }
}
