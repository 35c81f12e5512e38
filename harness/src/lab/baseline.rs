//! The network without a proxy: every connection and datagram sent straight to a pod must arrive with its own
//! source, and with a TTL that from then on is the measure of a hop.
//!
//! This is also the lab's proof of itself. A harness whose own network rewrites sources or loses
//! packets would blame the proxy for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::join_results;
use super::sites::Sites;
use crate::agent::{AgentError, Kept};
use crate::probe::{Batch, Connection, Outcome};
use crate::verdict::Baseline;
use crate::world::{Family, LOAD_BALANCER, Length, Pod, Protocol, World};

/// The port on which every pod answers, no matter which cases run: for direct connections and for
/// fences.
pub const BASELINE_PORT: u16 = 8000;

/// The network without a proxy does not behave as it must.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// A pod does not listen, or a connection could not be made.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A connection was not answered by the pod that it was sent to.
    #[error("sent from {from} straight to {pod} ({family}), without any proxy: {outcome}")]
    Unreachable {
        /// The calling host.
        from: String,
        /// The pod.
        pod: String,
        /// The family.
        family: Family,
        /// What became of it.
        outcome: String,
    },
    /// The protocols do not take the same way.
    #[error(
        "sent from {from} straight to {pod} ({family}): TCP arrives with TTL {tcp}, UDP with {udp}"
    )]
    Ways {
        /// The calling host.
        from: String,
        /// The pod.
        pod: String,
        /// The family.
        family: Family,
        /// The TTL of TCP.
        tcp: u8,
        /// The TTL of UDP.
        udp: u8,
    },
    /// A connection arrived with another source.
    #[error("sent from {from} straight to {pod}, without any proxy: the source became {peer}")]
    Source {
        /// The calling host.
        from: String,
        /// The pod.
        pod: String,
        /// The peer that the pod saw.
        peer: SocketAddr,
    },
}

/// Opens a backend in every pod and connects to each from everywhere.
pub(crate) async fn measure(
    sites: &Sites,
    world: &World,
    families: &[Family],
) -> Result<(Vec<Kept>, Baseline), BaselineError> {
    let backends = join_results(world.pods.iter().map(|pod| {
        let listening = sites.of(&pod.name).listen(pod, &[BASELINE_PORT]);
        async { Ok::<_, BaselineError>(listening.await?) }
    }))
    .await?;
    let pods = world.pods.iter().map(|pod| &pod.name);
    let nodes = world.nodes.iter().map(|node| &node.name);
    let clients = world.clients.iter().map(|client| &client.name);
    let callers = pods.chain(nodes).chain(clients).map(String::as_str);
    let balancer = sites.has(LOAD_BALANCER).then_some(LOAD_BALANCER);
    let measured = callers.chain(balancer).map(async |host| {
        let from = From {
            sites,
            host,
            pods: &world.pods,
        };
        from.measure(families).await
    });
    let mut baseline = Baseline::default();
    for part in join_results(measured).await? {
        baseline.0.extend(part);
    }
    Ok((backends, baseline))
}

/// A host that calls pods.
struct From<'a> {
    sites: &'a Sites,
    host: &'a str,
    pods: &'a [Pod],
}

type Ttls = BTreeMap<(String, String, Family), u8>;

impl From<'_> {
    /// The TTLs of connections to every other pod. Datagrams must take the same ways.
    async fn measure(&self, families: &[Family]) -> Result<Ttls, BaselineError> {
        let tcp = self.measure_by(Protocol::Tcp, families).await?;
        let udp = self.measure_by(Protocol::Udp, families).await?;
        for ((from, pod, family), ttl) in &tcp {
            let way = (from.clone(), pod.clone(), *family);
            let (tcp, udp) = (*ttl, udp[&way]);
            if tcp != udp {
                let (from, pod, family) = way;
                return Err(BaselineError::Ways {
                    from,
                    pod,
                    family,
                    tcp,
                    udp,
                });
            }
        }
        Ok(tcp)
    }

    async fn measure_by(
        &self,
        protocol: Protocol,
        families: &[Family],
    ) -> Result<Ttls, BaselineError> {
        let mut ttls = Ttls::new();
        // The calls of a batch are of one family.
        for &family in families {
            let others = self.pods.iter().filter(|pod| pod.name != self.host);
            let pods: Vec<_> = others.collect();
            let remotes: Vec<_> = pods
                .iter()
                .map(|pod| SocketAddr::new(pod.address.of(family), BASELINE_PORT))
                .collect();
            // The pods are their own fences: a first packet may wait for a neighbour to be resolved.
            let batch = Batch {
                protocol,
                fences: remotes.clone(),
                remotes,
                length: Length::Brief,
                mark: None,
            };
            let calls = self.sites.of(self.host).call(self.host, batch).await?;
            for (pod, call) in pods.iter().zip(calls) {
                let ttl = self.ttl(pod, family, call)?;
                ttls.insert((self.host.to_owned(), pod.name.clone(), family), ttl);
            }
        }
        Ok(ttls)
    }

    /// The TTL with which a call arrived at this pod, with its own source.
    fn ttl(&self, pod: &Pod, family: Family, call: Connection) -> Result<u8, BaselineError> {
        let (from, pod) = (self.host.to_owned(), pod.name.clone());
        let outcome = match call.outcome {
            Outcome::Reached { identity, .. } if identity.pod != pod => {
                format!("{} answered", identity.pod)
            }
            Outcome::Reached { identity, .. } if identity.peer.ip() != call.local.ip() => {
                let peer = identity.peer;
                return Err(BaselineError::Source { from, pod, peer });
            }
            Outcome::Reached { identity, .. } => return Ok(identity.ttl),
            other => format!("{other:?}"),
        };
        Err(BaselineError::Unreachable {
            from,
            pod,
            family,
            outcome,
        })
    }
}
