//! What a lab on a cluster has beside its hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::lab::is_running;
use super::objects::{PodImage, RunId, delete_of};
use super::{ClusterError, lease, wait};
use crate::agent::Remote;
use crate::balancer::View;
use crate::lab::{LabError, ProxyFates, Sites, ZONE_LABEL};
use crate::probe::HttpOutcome;
use crate::profile::{Placeholders, Profile};
use crate::timing::Timing;
use crate::world::World;

/// A cluster that a lab is on.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) provider: &'static str,
    pub(crate) client: Secretive,
    pub(crate) version: String,
    /// The run, by which agents find its pods.
    pub(crate) run: RunId,
    /// The image of its pods.
    pub(crate) image: PodImage,
    /// The agent with the load balancer, where there is one.
    pub(crate) outside: Option<Remote>,
    /// The pods of the proxy under test, where it is known which they are.
    pub(crate) proxies: Option<ProxyPods>,
    /// Runs commands on nodes, where somebody can. Without it, none can be stopped either.
    pub(crate) nodes: Option<Box<dyn NodeCommands>>,
    /// Nodes that lose the label of their zone when the lab ends, because it has given it to them.
    pub(crate) unlabels: Vec<String>,
    /// The profile of a proxy that serves its health where that says, so that it can be waited for.
    pub(crate) profile: Option<Profile>,
    /// By which no other run begins on the cluster.
    pub(crate) lease: Option<lease::Held>,
    /// Whether the namespace stays when the lab ends, because the cluster does not.
    pub(crate) leaves_namespace: bool,
    /// What takes the cluster or the lab's part in it down, once everything else is dropped.
    pub(crate) _guard: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

/// A client whose `Debug` says nothing.
#[derive(Clone)]
pub(crate) struct Secretive(pub(crate) Client);

impl fmt::Debug for Secretive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// The pods of the proxy under test.
#[derive(Debug)]
pub(crate) struct ProxyPods {
    pub(crate) namespace: String,
    pub(crate) labels: String,
    /// How often each had restarted when the lab began, or had them start again.
    pub(crate) restarts_before: Mutex<BTreeMap<String, u32>>,
}

/// Runs commands on nodes, and stops nodes, by the names of their objects.
pub(crate) trait NodeCommands: fmt::Debug + Send + Sync {
    /// What the command prints, or why there is nothing.
    fn run<'a>(&'a self, node: &'a str, command: &'a [&'a str]) -> BoxFuture<'a, Vec<u8>>;

    /// Stops every process on a node, or lets them go on; or why not.
    fn stop<'a>(&'a self, node: &'a str, stopped: bool) -> BoxFuture<'a, Result<(), String>>;
}

impl ProxyPods {
    /// The pods with these labels as they are now.
    pub(crate) async fn find(
        client: &Client,
        namespace: &str,
        labels: &str,
    ) -> Result<Self, ClusterError> {
        let found = Self {
            namespace: namespace.to_owned(),
            labels: labels.to_owned(),
            restarts_before: Mutex::default(),
        };
        found.remember(found.restarts(client).await?);
        Ok(found)
    }

    fn remember(&self, restarts: BTreeMap<String, u32>) {
        *self.before() = restarts;
    }

    fn before(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.restarts_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes them, and waits until their DaemonSet has others that run in their place.
    async fn replace(&self, client: &Client, timing: &Timing) -> Result<(), ClusterError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let before = self.restarts(client).await?;
        for pod in before.keys() {
            let deleted = pods.delete(pod, &DeleteParams::default()).await;
            deleted.map_err(ClusterError::object("delete a proxy"))?;
        }
        let patience = wait::Patience::new("the proxies were not replaced", timing.cluster_ready);
        loop {
            let now = self.list(client).await?;
            let running = now.iter().filter(|pod| {
                let name = pod.metadata.name.as_ref();
                is_running(pod) && name.is_some_and(|name| !before.contains_key(name))
            });
            let running = running.count();
            if running == before.len() && now.len() == running {
                self.remember(self.restarts(client).await?);
                return Ok(());
            }
            let state = format!("{running} of {} run", before.len());
            patience.pause(state).await?;
        }
    }

    async fn list(&self, client: &Client) -> Result<Vec<Pod>, ClusterError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let own = ListParams::default().labels(&self.labels);
        let listed = pods.list(&own).await;
        Ok(listed
            .map_err(ClusterError::object("list the proxies"))?
            .items)
    }

    async fn restarts(&self, client: &Client) -> Result<BTreeMap<String, u32>, ClusterError> {
        let counted = self.list(client).await?.into_iter().map(|pod| {
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let counts = statuses
                .into_iter()
                .flatten()
                .map(|status| status.restart_count);
            let restarts = counts
                .map(|count| u32::try_from(count).unwrap_or_default())
                .sum();
            (pod.metadata.name.unwrap_or_default(), restarts)
        });
        Ok(counted.collect())
    }
}

impl Cluster {
    /// Has the proxies start again, as an update of their DaemonSet does, and waits until all are ready.
    ///
    /// # Panics
    /// When it is not known which pods they are: cases are checked against what a lab lacks.
    pub(crate) async fn restart_proxies(
        &self,
        world: &World,
        sites: &Sites,
        timing: &Timing,
    ) -> Result<(), ClusterError> {
        let proxies = self.proxies.as_ref().expect("cases are checked");
        proxies.replace(&self.client.0, timing).await?;
        self.await_proxies(world, sites, timing).await
    }

    /// Waits until the proxy on every node says that it is ready, by the URL that the profile has
    /// for that.
    pub(super) async fn await_proxies(
        &self,
        world: &World,
        sites: &Sites,
        timing: &Timing,
    ) -> Result<(), ClusterError> {
        let Some(profile) = &self.profile else {
            return Ok(());
        };
        let waits = world.nodes.iter().map(async |node| {
            let url = profile.ready_url(&Placeholders {
                node: node.object.clone(),
                node_ip: node.address.v4.to_string(),
                ..Placeholders::default()
            });
            let Some((server, path)) = url.as_deref().and_then(split) else {
                return Ok(());
            };
            let what = format!("the proxy on {} was not ready", node.object);
            let patience = wait::Patience::new(&what, timing.proxy_ready);
            let host = sites.of(&node.name);
            loop {
                match host.get(&node.name, server, &path).await? {
                    HttpOutcome::Answered(answer) if answer.status == 200 => return Ok(()),
                    other => patience.pause(format!("{other:?}")).await?,
                }
            }
        });
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// How a Service is served by the load balancer.
    pub(crate) async fn view(&self, service: &str) -> Result<Option<View>, LabError> {
        match &self.outside {
            Some(outside) => Ok(outside.view(service).await?),
            None => Ok(None),
        }
    }

    /// What does not work of the load balancer.
    pub(crate) async fn problems(&self) -> Result<Vec<String>, LabError> {
        match &self.outside {
            Some(outside) => Ok(outside.problems().await?),
            None => Ok(Vec::new()),
        }
    }

    /// What has become of the proxies since the lab began.
    pub(crate) async fn fates(&self) -> Result<ProxyFates, LabError> {
        let Some(proxies) = &self.proxies else {
            return Ok(ProxyFates::default());
        };
        let now = proxies.restarts(&self.client.0).await?;
        let before = proxies.before().clone();
        let gone = before.keys().filter(|pod| !now.contains_key(*pod));
        let gone: Vec<_> = gone
            .map(|pod| format!("{pod} is gone since the lab began"))
            .collect();
        let restarted = now.iter().filter_map(|(pod, restarts)| {
            let before = before.get(pod).copied().unwrap_or_default();
            let more = restarts.saturating_sub(before);
            (more > 0).then_some((pod, more))
        });
        let mut fates = ProxyFates {
            exits: u32::try_from(gone.len()).expect("few pods"),
            texts: gone,
            ..ProxyFates::default()
        };
        for (pod, more) in restarted {
            fates.restarts += more;
            fates.exits += more;
            fates
                .texts
                .push(format!("{pod} exited {more} times after it was ready"));
        }
        Ok(fates)
    }

    /// Leaves the cluster as it was.
    pub(crate) async fn end(&self, timing: &Timing) -> Result<(), LabError> {
        if self.leaves_namespace {
            return Ok(());
        }
        for node in &self.unlabels {
            let nodes: Api<Node> = Api::all(self.client.0.clone());
            let none = json!({ "metadata": { "labels": { ZONE_LABEL: null } } });
            let patched = nodes
                .patch(node, &PatchParams::default(), &Patch::Merge(none))
                .await;
            patched.map_err(ClusterError::object("take the label from a node"))?;
        }
        Ok(delete_of(&self.client.0, &self.run, timing).await?)
    }

    /// Writes what can be had of the nodes and the proxies.
    pub(crate) async fn evidence(
        &self,
        world: &World,
        commands: &[(&str, &[&str])],
        dir: &Path,
    ) -> io::Result<()> {
        if let Some(nodes) = &self.nodes {
            for node in &world.nodes {
                for (file, command) in commands {
                    let output = nodes.run(&node.object, command).await;
                    fs::write(dir.join(format!("{}.{file}", node.name)), output)?;
                }
            }
        }
        let Some(proxies) = &self.proxies else {
            return Ok(());
        };
        let pods: Api<Pod> = Api::namespaced(self.client.0.clone(), &proxies.namespace);
        for pod in proxies.list(&self.client.0).await.unwrap_or_default() {
            let name = pod.metadata.name.unwrap_or_default();
            let log = pods.logs(&name, &LogParams::default()).await;
            let log = log.unwrap_or_else(|error| format!("no log: {error}\n"));
            fs::write(dir.join(format!("{name}.proxy.log")), log)?;
        }
        Ok(())
    }
}

/// The server and the path of a URL.
fn split(url: &str) -> Option<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://")?;
    let (server, path) = rest.split_once('/')?;
    Some((server.parse().ok()?, format!("/{path}")))
}
