//! From a cluster to a lab on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use super::agents::{self, Opening};
use super::objects::{self, PodImage, RunId};
use super::provider::Cluster;
use super::{ClusterError, discover, lease, wait};
use crate::agent::{self, AgentError, NodeSettings, Remote, Route, Site};
use crate::case::Need;
use crate::lab::{
    BASELINE_PORT, Lab, LabError, NAMESPACE, Objects, Parts, Phases, Provider, Sites, baseline,
};
use crate::netns::RESET_IS_KNOWN;
use crate::probe::Batch;
use crate::profile::Profile;
use crate::tap::{self, Call, Clocks, Half, Journey, Rewrite, What};
use crate::timing::Timing;
use crate::world::{Client as Outsider, Dual, Family, LOAD_BALANCER, Length, Protocol, World};

/// Kernel parameters of every node, for as long as it is probed.
const PARAMETERS: [(&str, &str); 2] = [
    // A rejected call is answered by ICMP. The kernel limits those answers, which turns a burst of
    // refused calls into silently dropped ones. No limit applies to types that are not in the mask;
    // the one that is left in IPv6's is the echo request.
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv6/icmp/ratemask", "128"),
];

/// Further ones of nodes that are onehop's to change: a load balancer sends packets to them, and cases have new pods come.
const BEHIND_BALANCER: [(&str, &str); 4] = [
    RESET_IS_KNOWN,
    // A node that forwards out of the interface that a packet came by would otherwise tell the
    // sender a shorter way, and later packets would not cross the entry node.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // A node would make sure for a second or two that nobody else on the link to a new pod has the
    // address that it has there, and leave the pod without a way back meanwhile, ready or not. A
    // connection that is lost to that says nothing about a proxy.
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// A port that nobody listens on (discard).
const CLOSED_PORT: u16 = 9;

/// A cluster with pods and agents, and a session with each.
pub(crate) struct Prepared {
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) families: Vec<Family>,
    pub(crate) run: RunId,
    token: String,
    epoch: Duration,
    timing: Timing,
    /// By the order of the world's nodes.
    nodes: Vec<Remote>,
    lease: lease::Held,
}

/// What makes the rest of a lab.
pub(crate) struct ClusterParts {
    /// The name of the provider.
    pub(crate) cluster: Cluster,
    pub(crate) profile: Option<Profile>,
    pub(crate) dir: PathBuf,
    pub(crate) lacks: BTreeMap<Need, String>,
    pub(crate) phases: Phases,
}

/// Puts the world of the story on a cluster: a namespace, agents on three nodes, and pods.
pub(crate) async fn prepare(
    client: Client,
    image: &PodImage,
    run: &RunId,
    timing: &Timing,
) -> Result<Prepared, ClusterError> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default()).await;
    let listed = listed
        .map_err(ClusterError::object("list the nodes"))?
        .items;
    let usable = discover::usable(&listed);
    let mut world = discover::world(&usable)?;
    let families = discover::families(usable[0]);
    let objects: Vec<_> = world.nodes.iter().map(|node| node.object.clone()).collect();

    objects::create_namespace(&client, run).await?;
    let lease = lease::take(&client, run).await?;
    let token = objects::random().map_err(ClusterError::Random)?;
    objects::create_agents(&client, run, image, &token, &objects).await?;
    let created = world.pods.iter().map(|pod| {
        let node = world
            .node(&pod.node)
            .expect("a world's pods run on its nodes");
        objects::create_pod(&client, run, image, &pod.name, &node.object)
    });
    try_join_all(created).await?;
    let addresses = await_pods(&client, &world, &families, timing).await?;
    for pod in &mut world.pods {
        pod.address = addresses[&pod.name];
    }
    let by_node = agents::running(&client, &objects, timing).await?;
    let epoch = tap::now();
    let opening = Opening {
        client: &client,
        token: &token,
        epoch,
        timing,
    };
    let numbered = (1..).zip(&world.nodes);
    let opened =
        numbered.map(|(number, node)| opening.begin(&node.object, &by_node[&node.object], number));
    let nodes = try_join_all(opened).await?;
    Ok(Prepared {
        world,
        families,
        run: run.clone(),
        token,
        epoch,
        timing: timing.clone(),
        nodes,
        lease,
        client,
    })
}

/// Waits until every node of a cluster is ready, and the cluster has noticed.
pub(crate) async fn nodes_ready(client: &Client, timing: &Timing) -> Result<(), ClusterError> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    wait::until(
        "the nodes were not ready",
        timing.cluster_ready,
        async || {
            let listed = nodes.list(&ListParams::default()).await;
            let listed = listed
                .map_err(ClusterError::object("list the nodes"))?
                .items;
            let waiting = listed
                .iter()
                .filter(|node| !discover::is_ready(node) || discover::is_starting(node));
            let waiting: Vec<_> = waiting
                .filter_map(|node| node.metadata.name.clone())
                .collect();
            Ok(if waiting.is_empty() {
                Ok(())
            } else {
                Err(format!("{} are not", waiting.join(", ")))
            })
        },
    )
    .await
}

/// The addresses of all pods of the world, once they run.
async fn await_pods(
    client: &Client,
    world: &World,
    families: &[Family],
    timing: &Timing,
) -> Result<BTreeMap<String, Dual>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let wanted = world.pods.iter().map(|pod| pod.name.as_str());
    wait::until("the pods did not run", timing.cluster_ready, async || {
        let listed = pods.list(&ListParams::default()).await;
        let listed = listed.map_err(ClusterError::object("list the pods"))?.items;
        let found: BTreeMap<_, _> = listed
            .iter()
            .filter(|pod| is_running(pod))
            .filter_map(|pod| {
                let address = discover::pod_addresses(pod, families)?;
                Some((pod.metadata.name.clone()?, address))
            })
            .collect();
        let missing: Vec<_> = wanted
            .clone()
            .filter(|pod| !found.contains_key(*pod))
            .collect();
        Ok(match missing.first() {
            None => Ok(found),
            Some(first) => {
                let named = |pod: &&Pod| pod.metadata.name.as_deref() == Some(*first);
                let state = listed.iter().find(named).map(state).unwrap_or_default();
                Err(format!("{} are missing, {first} is {state}", missing.len()))
            }
        })
    })
    .await
}

/// Whether a pod runs and is ready.
pub(super) fn is_running(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the pods on a node are about, for people.
pub(super) fn state_on(pods: &[Pod], node: &str) -> String {
    let on = |pod: &&Pod| pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node);
    let states: Vec<_> = pods.iter().filter(on).map(state).collect();
    if states.is_empty() {
        "none is there".to_owned()
    } else {
        states.join(", ")
    }
}

/// What a pod is about, for people: why it waits, or its phase.
pub(super) fn state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default().into_iter();
    let mut waiting = containers.filter_map(|container| {
        let waiting = container.state?.waiting?;
        let reason = waiting.reason.unwrap_or_default();
        let message = waiting.message.map(|message| format!(" ({message})"));
        Some(format!("{reason}{}", message.unwrap_or_default()))
    });
    let phase = || status.phase.unwrap_or_default().to_lowercase();
    waiting.next().unwrap_or_else(phase)
}

impl Prepared {
    /// Begins a session with the agent that is everything outside of the cluster.
    pub(crate) async fn begin_outside(
        &self,
        stream: tokio::net::TcpStream,
        token: &str,
    ) -> Result<Remote, ClusterError> {
        let number = u8::try_from(self.nodes.len() + 1).expect("a lab has few agents");
        let begun = Remote::begin(
            stream,
            LOAD_BALANCER,
            token,
            number,
            self.epoch,
            &self.timing,
        );
        Ok(begun.await?)
    }

    /// Changes the nodes for as long as the lab is there. With the load balancer's address, the
    /// nodes have second addresses, and their ways to everything outside lead by it.
    pub(crate) async fn settle(&self, balancer: Option<Dual>) -> Result<(), ClusterError> {
        let settled = self
            .world
            .nodes
            .iter()
            .zip(&self.nodes)
            .map(async |(node, agent)| {
                let own = |ip: &IpAddr| self.families.contains(&Family::of(*ip));
                let mut settings = NodeSettings {
                    parameters: parameters(&PARAMETERS),
                    interface: "eth0".to_owned(),
                    ..NodeSettings::default()
                };
                if let Some(balancer) = balancer {
                    settings.parameters.extend(parameters(&BEHIND_BALANCER));
                    let others = node.other_address.both().into_iter().filter(own);
                    settings.addresses = others.map(IpNet::from).collect();
                    settings.routes = outside_routes(&self.world, balancer, &self.families);
                }
                agent.settle(settings).await
            });
        try_join_all(settled).await?;
        Ok(())
    }

    /// Makes the lab: agents enter the pods, and the network without Services is measured.
    pub(crate) async fn finish(
        mut self,
        outside: Option<Remote>,
        parts: ClusterParts,
    ) -> Result<Lab, LabError> {
        let ClusterParts {
            mut cluster,
            profile,
            dir,
            mut lacks,
            mut phases,
        } = parts;
        cluster.lease = Some(self.lease);
        let (mut sites, mut clocks) = (Sites::default(), Clocks::One);
        for (node, agent) in self.world.nodes.iter_mut().zip(self.nodes) {
            let on = self.world.pods.iter().filter(|pod| pod.node == node.name);
            let mut hosts: Vec<_> = on.map(|pod| pod.name.clone()).collect();
            let (addresses, machine) = agent
                .become_node(&node.name, &self.run.to_string(), &hosts)
                .await?;
            if machine != agent::machine() {
                clocks = Clocks::Several;
            }
            let special = |ip: &IpAddr| ip.is_loopback() || is_link_local(*ip);
            node.further = addresses.into_iter().filter(|ip| !special(ip)).collect();
            hosts.push(node.name.clone());
            sites.add(Site::There(agent), hosts);
        }
        if let Some(outside) = outside {
            let clients = self.world.clients.iter().map(|client| client.name.clone());
            let hosts = clients.chain([LOAD_BALANCER.to_owned()]);
            sites.add(Site::There(outside), hosts);
        } else {
            self.world.clients.clear();
        }
        phases.end("agents");
        let (backends, baseline) = baseline::measure(&sites, &self.world, &self.families).await?;
        if let Some(why) = masquerading(&sites, &self.world, &self.families, self.epoch).await? {
            lacks.insert(Need::PodSources, why);
        }
        if self.families.len() < Family::ALL.len() {
            let why = "its nodes have addresses of one family".to_owned();
            lacks.insert(Need::BothFamilies, why);
        }
        phases.end("baseline");
        if cluster.profile.is_some() {
            let (world, timing) = (&self.world, &self.timing);
            cluster.await_proxies(world, &sites, timing).await?;
            phases.end("proxy");
        }
        if cluster.proxies.is_none() {
            let why = "it is not known which pods are the proxy's".to_owned();
            lacks.insert(Need::ProxyRestarts, why);
        }
        // A cluster has the kube-proxy that came with it.
        let its_own = profile.as_ref().is_some_and(|p| p.tool.is_some());
        Ok(Lab::new(Parts {
            version: its_own.then(|| cluster.version.clone()),
            provider: Provider::Cluster(Box::new(cluster)),
            objects: Objects::new(self.client, &self.families),
            epoch: self.epoch,
            families: self.families,
            world: self.world,
            timing: self.timing,
            phases: phases.done(),
            profile,
            sites,
            backends,
            baseline,
            dir,
            lacks,
            clocks,
        }))
    }

    /// The token of its agents.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// Why pods do not keep their address on the way to other nodes, if so. Many pod networks masquerade
/// whatever leaves them, and a proxy would be blamed for it.
async fn masquerading(
    sites: &Sites,
    world: &World,
    families: &[Family],
    epoch: Duration,
) -> Result<Option<String>, ClusterError> {
    let [first, second] = [0, 1].map(|position| &world.nodes[position]);
    let on = |node: &str| world.pods.iter().find(|pod| pod.node == node);
    let (Some(from), Some(fence)) = (on(&first.name), on(&second.name)) else {
        return Ok(None);
    };
    for &family in families {
        let remote = SocketAddr::new(second.address.of(family), CLOSED_PORT);
        let batch = Batch {
            protocol: Protocol::Tcp,
            remotes: vec![remote],
            length: Length::Brief,
            mark: None,
            fences: vec![SocketAddr::new(fence.address.of(family), BASELINE_PORT)],
        };
        let since = tap::now().saturating_sub(epoch);
        let calls = sites.of(&from.name).call(&from.name, batch).await?;
        let seen = sites.seen(&[calls[0].sequence], &BTreeSet::new()).await?;
        let call = Call::new(&from.name, calls[0].local, remote);
        let journeys = seen
            .journeys(since, [call], Clocks::Several)
            .map_err(AgentError::from)?;
        let rewrites = journeys[0]
            .as_ref()
            .map(Journey::rewrites)
            .unwrap_or_default();
        let source = |r: &&Rewrite| r.half == Half::Request && r.what == What::Source;
        if let Some(by) = rewrites.iter().find(source) {
            let (from, host) = (&from.name, &by.host);
            return Ok(Some(format!(
                "{host} masquerades what {from} sends to another node"
            )));
        }
    }
    Ok(None)
}

fn parameters(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = of
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The ways from a node to everything that is outside, and to what only the load balancer routes.
fn outside_routes(world: &World, balancer: Dual, families: &[Family]) -> Vec<Route> {
    use crate::world::AddressPlan;
    let clients = world.clients.iter().map(Outsider::networks);
    let ranges = [
        AddressPlan::transit_networks(),
        AddressPlan::vip_cidrs(),
        AddressPlan::external_cidrs(),
        AddressPlan::other_networks(),
    ];
    let networks = clients.chain(ranges).flatten();
    let routes = networks.map(|to| Route {
        to,
        via: balancer.of(Family::of(to.addr())),
    });
    let own = |route: &Route| families.contains(&Family::of(route.via));
    routes.filter(own).collect()
}
