//! The agents of a cluster, and the way to each.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use super::objects::AGENTS;
use super::{ClusterError, wait};
use crate::agent::Remote;
use crate::lab::NAMESPACE;
use crate::timing::Timing;

/// The port of an agent: on its node's loopback, or in a container of its own.
pub const AGENT_PORT: u16 = 20_255;

/// The pods of the agents, by the name of their Node, once all of them run.
pub(super) async fn running(
    client: &Client,
    nodes: &[String],
    timing: &Timing,
) -> Result<BTreeMap<String, String>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let own = ListParams::default().labels(&format!("app={AGENTS}"));
    wait::until("the agents did not run", timing.cluster_ready, async || {
        let listed = pods.list(&own).await;
        let listed = listed.map_err(ClusterError::object("list the agents"))?;
        let ready = listed
            .items
            .iter()
            .filter(|pod| super::lab::is_running(pod));
        let by_node: BTreeMap<_, _> = ready
            .filter_map(|pod| {
                let node = pod.spec.as_ref()?.node_name.clone()?;
                Some((node, pod.metadata.name.clone()?))
            })
            .collect();
        let missing = nodes.iter().filter(|node| !by_node.contains_key(*node));
        let missing: Vec<_> = missing
            .map(|node| format!("{node}: {}", super::lab::state_on(&listed.items, node)))
            .collect();
        Ok(if missing.is_empty() {
            Ok(by_node)
        } else {
            Err(missing.join("; "))
        })
    })
    .await
}

/// Who begins a session with an agent.
pub(super) struct Opening<'a> {
    pub(super) client: &'a Client,
    pub(super) token: &'a str,
    pub(super) epoch: Duration,
    pub(super) timing: &'a Timing,
}

impl Opening<'_> {
    /// Begins a session with the agent in a pod, as the one of this number.
    pub(super) async fn begin(
        &self,
        node: &str,
        pod: &str,
        number: u8,
    ) -> Result<Remote, ClusterError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let failed = |source| ClusterError::Tunnel {
            node: node.to_owned(),
            source: Box::new(source),
        };
        let mut tunnel = pods.portforward(pod, &[AGENT_PORT]).await.map_err(failed)?;
        let stream = tunnel.take_stream(AGENT_PORT).expect("it was asked for");
        // The tunnel carries the stream for as long as both are there.
        tokio::spawn(tunnel.join());
        let (token, epoch, timing) = (self.token, self.epoch, self.timing);
        Ok(Remote::begin(stream, node, token, number, epoch, timing).await?)
    }
}
