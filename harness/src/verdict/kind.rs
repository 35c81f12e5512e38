//! What kind of flow a row of a report is about.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::{FlowCheck, Place, Reach, Target};
use crate::world::World;

/// What kind of flow a row is about, for whoever sorts rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowKind {
    /// The host that called.
    pub host: String,
    /// What it is.
    pub caller: Caller,
    /// What kind of address it called.
    pub address: AddressKind,
    /// The node whose proxy decides, where that is certain beforehand.
    pub decided_on: Option<String>,
}

/// Who calls.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// A client outside the cluster.
    External,
    /// A pod.
    Pod,
    /// A node's own process.
    Node,
    /// The load balancer's own host, which can choose the node.
    LoadBalancer,
}

/// What kind of address is called.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// A ClusterIP.
    ClusterIp,
    /// A node port.
    NodePort,
    /// One of `spec.externalIPs`.
    ExternalIp,
    /// An address of the load balancer.
    LoadBalancer,
    /// A service address that nobody serves.
    Nobodys,
}

impl FlowKind {
    /// That of a flow.
    pub fn of(flow: &FlowCheck, world: &World) -> Self {
        Self {
            host: flow.from.host().to_owned(),
            caller: match &flow.from {
                Place::External(_) => Caller::External,
                Place::Pod(_) => Caller::Pod,
                Place::Node(_) => Caller::Node,
                Place::LoadBalancer => Caller::LoadBalancer,
            },
            address: match &flow.to {
                Target::ClusterIp | Target::ClusterIpAt(_) => AddressKind::ClusterIp,
                Target::ClusterIpWrongPort | Target::Unallocated => AddressKind::Nobodys,
                Target::NodePort(_) | Target::OtherNodePort(_) | Target::Localhost => {
                    AddressKind::NodePort
                }
                Target::ExternalIp(_) => AddressKind::ExternalIp,
                Target::Vip | Target::OtherVip | Target::VipAt(_) => AddressKind::LoadBalancer,
            },
            decided_on: flow.deciding_node(world).map(str::to_owned),
        }
    }
}

/// How long connections took, from their call to the backend's answer, in seconds. Latencies are spread over factors, so that it is
/// their logarithms that have a mean and a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many were answered.
    pub count: u64,
    /// The geometric mean, in seconds.
    pub mean: f64,
    /// The geometric standard deviation, a factor: 1 where all took as long.
    pub deviation: f64,
}

impl Latency {
    /// That of these times, in seconds; none of no times.
    pub fn of(seconds: &[f64]) -> Option<Self> {
        if seconds.is_empty() {
            return None;
        }
        // A clock may show no time at all.
        let logarithms: Vec<f64> = seconds.iter().map(|time| time.max(1e-9).ln()).collect();
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        let squares = logarithms.iter().map(|one| (one - mean).powi(2));
        let variance = squares.sum::<f64>() / (count - 1.0).max(1.0);
        Some(Self {
            count: seconds.len() as u64,
            mean: mean.exp(),
            deviation: variance.sqrt().exp(),
        })
    }
}

/// The share that each pod should have.
pub(super) fn expected_shares(reach: &Reach) -> BTreeMap<String, f64> {
    let pods = reach.pods.iter().cloned();
    pods.zip(reach.shares.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_summed_up_by_their_logarithms() {
        assert_eq!(Latency::of(&[]), None);
        let one = Latency::of(&[0.002]).expect("one");
        assert!((one.mean - 0.002).abs() < 1e-9 && (one.deviation - 1.0).abs() < 1e-9);
        let two = Latency::of(&[0.001, 0.004]).expect("two");
        assert!((two.mean - 0.002).abs() < 1e-9, "{two:?}");
        let factor = (2.0_f64.ln() * 2.0_f64.sqrt()).exp();
        assert!((two.deviation - factor).abs() < 1e-9, "{two:?}");
    }
}
