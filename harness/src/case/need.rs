//! What a case needs of the world around a Service, and a cluster may not have.

use std::collections::BTreeSet;
use std::fmt;

use super::{
    Backend, Case, Change, Expectation, Families, FlowCheck, NodeAddress, Place, Question,
    ServiceType, Target,
};
use crate::world::World;

/// Something that not every lab has: somebody's cluster may lack what is outside of it, and a lab in network namespaces
/// what is real about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Clients outside of the cluster, that can reach its nodes.
    OutsideClients,
    /// A load balancer outside of the cluster.
    LoadBalancer,
    /// Second addresses of the nodes.
    OtherAddresses,
    /// External addresses that the network sends to the nodes.
    ExternalAddresses,
    /// Pods whose address is kept on the way out of the pod network: to other nodes, and to the outside.
    PodSources,
    /// Nodes that may be tainted.
    Taints,
    /// The ranges of ClusterIPs.
    ServiceRanges,
    /// Nodes in the zones of the story: two in the first, one in the second.
    Zones,
    /// Kubelets that run pods, and the controllers of a cluster.
    Controllers,
    /// Nodes that may be stopped.
    StoppableNodes,
    /// Proxies that may be started again.
    ProxyRestarts,
    /// Addresses of both families.
    BothFamilies,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutsideClients => "clients outside of the cluster",
            Self::LoadBalancer => "a load balancer",
            Self::OtherAddresses => "second addresses of nodes",
            Self::ExternalAddresses => "external addresses",
            Self::PodSources => "pods that are not masqueraded on the way to nodes and out",
            Self::Taints => "nodes to taint",
            Self::ServiceRanges => "the ranges of ClusterIPs",
            Self::Zones => "zones",
            Self::Controllers => "kubelets and controllers",
            Self::StoppableNodes => "nodes that can be stopped",
            Self::BothFamilies => "both address families",
            Self::ProxyRestarts => "proxies that the run may start again",
        })
    }
}

/// Whether a pod calls what its own node does not turn into the address of a pod.
fn leaves_the_pod_network(flow: &FlowCheck) -> bool {
    let Place::Pod(pod) = &flow.from else {
        return false;
    };
    let elsewhere = |node: &String| {
        let world = World::story();
        world.pod(pod).is_some_and(|pod| pod.node != *node)
    };
    let unserved = match &flow.expect {
        Expectation::Unserved | Expectation::LeftToBalancer => true,
        // By one of its values, some proxy may let it pass.
        Expectation::Varies(_, by_value) => by_value.iter().any(|(_, it)| it.reach().is_none()),
        Expectation::Reaches(reach) => reach.is_proxied(),
        Expectation::Refused | Expectation::Dropped => false,
    };
    unserved
        || matches!(&flow.to, Target::NodePort(node) | Target::OtherNodePort(node) if elsewhere(node))
}

impl Case {
    /// What it needs of the world.
    pub fn world_needs(&self) -> BTreeSet<Need> {
        let mut needs = BTreeSet::new();
        if matches!(self.service.kind, ServiceType::LoadBalancer(_)) {
            needs.insert(Need::LoadBalancer);
        }
        if self.service.external_ips {
            needs.insert(Need::ExternalAddresses);
        }
        if self.flows().iter().any(leaves_the_pod_network) {
            needs.insert(Need::PodSources);
        }
        let flows = self.flows().into_iter().map(|flow| (flow.from, flow.to));
        let traffics = self
            .traffics()
            .map(|traffic| (traffic.from.clone(), traffic.to.clone()));
        for (from, to) in flows.chain(traffics) {
            match from {
                Place::External(_) => needs.insert(Need::OutsideClients),
                Place::LoadBalancer => needs.insert(Need::LoadBalancer),
                Place::Pod(_) | Place::Node(_) => false,
            };
            match to {
                Target::Vip | Target::OtherVip | Target::VipAt(_) => {
                    needs.insert(Need::LoadBalancer)
                }
                Target::OtherNodePort(_) => needs.insert(Need::OtherAddresses),
                Target::ExternalIp(_) => needs.insert(Need::ExternalAddresses),
                Target::Unallocated => needs.insert(Need::ServiceRanges),
                _ => false,
            };
        }
        let questions = self.checks().flat_map(|check| &check.questions);
        for question in questions {
            match question {
                // These are asked by a client outside.
                Question::HealthCheck { at, .. } => {
                    needs.insert(Need::OutsideClients);
                    if *at == NodeAddress::Other {
                        needs.insert(Need::OtherAddresses);
                    }
                }
                Question::ProxyHealth { .. } => {
                    needs.insert(Need::OutsideClients);
                }
                Question::HealthyNodes { .. } => {
                    needs.insert(Need::LoadBalancer);
                }
                _ => {}
            }
        }
        for change in self.changes() {
            match change {
                Change::Taint { .. } | Change::Drain(_) => needs.insert(Need::Taints),
                Change::Stop { .. } => needs.insert(Need::StoppableNodes),
                Change::RestartProxies => needs.insert(Need::ProxyRestarts),
                Change::IpMode(_) | Change::Type(ServiceType::LoadBalancer(_)) => {
                    needs.insert(Need::LoadBalancer)
                }
                _ => false,
            };
        }
        if self.workload.is_some() {
            needs.insert(Need::Controllers);
        }
        let any = |has: fn(&Backend) -> bool| self.every_backends().flatten().any(has);
        if any(|backend| !backend.zones.is_empty()) {
            needs.insert(Need::Zones);
        }
        let changes = self
            .changes()
            .any(|change| matches!(change, Change::Families(_)));
        let single = self.service.families != Families::Dual;
        if single || changes || any(|backend| backend.family.is_some()) {
            needs.insert(Need::BothFamilies);
        }
        needs
    }
}
