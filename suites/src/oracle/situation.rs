//! What the Kubernetes API says of a Service at one point of a case.

use onehop_harness::case::{Backend, Case, Change, IpMode, Service, ServiceType, TO_BE_DELETED};
use onehop_harness::world::Family;

/// A Service, its endpoints, and what else of the API decides where its traffic goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// The Service as it is now.
    pub service: Service,
    /// Its endpoints.
    pub backends: Vec<Backend>,
    /// `ipMode` of its load-balancer addresses.
    pub ip_mode: IpMode,
    /// Whether it is looked at in a family that it does not have.
    pub is_absent: bool,
    /// Whether its label gives it to another proxy.
    pub is_another_proxys: bool,
    /// The nodes that are about to be removed.
    pub leaving: Vec<&'static str>,
}

impl Situation {
    /// How a case begins.
    pub fn at_first(case: &Case) -> Self {
        Self {
            service: case.service,
            backends: case.backends.clone(),
            ip_mode: ip_mode(case.service.kind),
            is_absent: false,
            is_another_proxys: false,
            leaving: Vec::new(),
        }
    }

    /// The same after a change. What only a cluster's own controllers make of a change is not known here.
    #[must_use]
    pub fn after(mut self, change: &Change) -> Self {
        match change {
            Change::ExternalPolicy(policy) => self.service.external = *policy,
            Change::InternalPolicy(policy) => self.service.internal = *policy,
            Change::Type(kind) => {
                self.service.kind = *kind;
                self.ip_mode = ip_mode(*kind);
            }
            Change::Backends(backends) => self.backends.clone_from(backends),
            Change::Affinity(seconds) => self.service.affinity = *seconds,
            Change::SourceRanges(ranges) => self.service.source_ranges = ranges,
            Change::Families(families) => self.service.families = *families,
            Change::IpMode(mode) => self.ip_mode = *mode,
            Change::ProxyName(name) => self.is_another_proxys = name.is_some(),
            Change::Taint { node, key, .. } => {
                self.leaving.retain(|leaving| leaving != node);
                if *key == Some(TO_BE_DELETED) {
                    self.leaving.push(node);
                }
            }
            Change::Crowd(_)
            | Change::Scale { .. }
            | Change::Readiness { .. }
            | Change::Roll
            | Change::Drain(_)
            | Change::Uncordon(_)
            | Change::RestartProxies
            | Change::Stop { .. } => {}
        }
        self
    }

    /// The same as it looks in a family: with the endpoints that it has there, and without any address of its own where
    /// the Service does not have that family.
    #[must_use]
    pub fn in_family(&self, family: Family) -> Self {
        let mut seen = self.clone();
        seen.backends.retain(|backend| backend.is_in(family));
        seen.is_absent = !self.service.families.has(family);
        seen
    }

    /// Whether proxies serve it at all: one with the label `service.kubernetes.io/service-proxy-name` is another's,
    /// and a headless one has no address, nor has any in a family that is not its own.
    pub(super) fn is_served(&self) -> bool {
        !self.is_another_proxys && !self.is_absent && self.service.kind != ServiceType::Headless
    }

    /// Whether its ports have node ports.
    pub(super) fn has_node_ports(&self) -> bool {
        match self.service.kind {
            ServiceType::ClusterIp | ServiceType::Headless => false,
            ServiceType::NodePort => true,
            ServiceType::LoadBalancer(_) => self.service.allocate_node_ports,
        }
    }
}

/// The `ipMode` that a load balancer gives its addresses.
fn ip_mode(kind: ServiceType) -> IpMode {
    match kind {
        ServiceType::LoadBalancer(mode) => mode.ip_mode(),
        _ => IpMode::Vip,
    }
}
