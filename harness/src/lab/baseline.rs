//! The network without a proxy: every connection and datagram sent straight to a pod must arrive with its own
//! source, and with a TTL that from then on is the measure of a hop.
//!
//! This is also the lab's proof of itself. A harness whose own network rewrites sources or loses
//! packets would blame the proxy for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::join_results;
use crate::netns::{Namespace, Network};
use crate::probe::{self, Backend, BackendError, Batch, Connection, Outcome, ProbeError};
use crate::timing::Timing;
use crate::verdict::Baseline;
use crate::world::{Family, LOAD_BALANCER, Pod, Protocol, World};

/// The port on which every pod answers, no matter which cases run: for direct connections and for
/// fences.
pub const BASELINE_PORT: u16 = 8000;

/// The network without a proxy does not behave as it must.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// A pod does not listen.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A connection could not be made.
    #[error(transparent)]
    Probe(#[from] ProbeError),
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
pub(super) async fn measure(
    network: &Network,
    world: &World,
    timing: &Timing,
) -> Result<(Vec<Backend>, Baseline), BaselineError> {
    let namespace = |name: &str| network.host(name).expect("a host of the world").namespace();
    let listen = |pod: &Pod| Backend::listen(namespace(&pod.name), pod, BASELINE_PORT);
    let backends = world
        .pods
        .iter()
        .map(listen)
        .collect::<Result<Vec<_>, _>>()?;

    let callers = world
        .pods
        .iter()
        .map(|p| &p.name)
        .chain(world.nodes.iter().map(|n| &n.name));
    let callers = callers
        .chain(world.clients.iter().map(|c| &c.name))
        .map(String::as_str);
    let callers = callers.chain([LOAD_BALANCER]);
    let measured = join_results(callers.map(async |name| {
        let (host, pods, timing) = (namespace(name).clone(), world.pods.clone(), timing.clone());
        let work = move || measure_from(&host, &pods, &timing);
        tokio::task::spawn_blocking(work)
            .await
            .expect("a probe does not panic")
    }));
    let mut baseline = Baseline::default();
    for part in measured.await? {
        baseline.0.extend(part);
    }
    Ok((backends, baseline))
}

/// The TTLs of connections from one host to every other pod. Datagrams must take the same ways.
fn measure_from(
    host: &Namespace,
    pods: &[Pod],
    timing: &Timing,
) -> Result<BTreeMap<(String, String, Family), u8>, BaselineError> {
    let tcp = measure_by(Protocol::Tcp, host, pods, timing)?;
    let udp = measure_by(Protocol::Udp, host, pods, timing)?;
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

fn measure_by(
    protocol: Protocol,
    host: &Namespace,
    pods: &[Pod],
    timing: &Timing,
) -> Result<BTreeMap<(String, String, Family), u8>, BaselineError> {
    let others = pods.iter().filter(|pod| pod.name != host.name());
    let ways: Vec<_> = others
        .flat_map(|pod| Family::ALL.map(|family| (pod, family)))
        .collect();
    let remotes: Vec<_> = ways
        .iter()
        .map(|(pod, family)| SocketAddr::new(pod.address.of(*family), BASELINE_PORT))
        .collect();
    // The pods are their own fences: a first packet may wait for a neighbour to be resolved.
    let batch = Batch {
        protocol,
        fences: remotes.clone(),
        remotes,
        mark: None,
    };
    let calls = probe::call(host, &batch, timing)?;
    let ttl = |((pod, family), call): (&(&Pod, Family), Connection)| {
        let (from, pod) = (host.name().to_owned(), pod.name.clone());
        match call.outcome {
            Outcome::Reached { identity, .. } if identity.pod != pod => {
                let outcome = format!("{} answered", identity.pod);
                Err(BaselineError::Unreachable {
                    from,
                    pod,
                    family: *family,
                    outcome,
                })
            }
            Outcome::Reached { identity, .. } if identity.peer.ip() != call.local.ip() => {
                Err(BaselineError::Source {
                    from,
                    pod,
                    peer: identity.peer,
                })
            }
            Outcome::Reached { identity, .. } => Ok(((from, pod, *family), identity.ttl)),
            other => {
                let outcome = format!("{other:?}");
                Err(BaselineError::Unreachable {
                    from,
                    pod,
                    family: *family,
                    outcome,
                })
            }
        }
    };
    ways.iter().zip(calls).map(ttl).collect()
}
