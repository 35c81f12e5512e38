//! What cases are about.

use onehop_harness::case::Case;

/// What a group of cases is about: the first part of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The part.
    pub name: &'static str,
    /// What it is about, in a sentence without its end.
    pub about: &'static str,
}

impl Subject {
    /// All of them, in the order of the catalogue.
    pub const ALL: &'static [Self] = &[
        Self::new("external", "externalTrafficPolicy on node ports"),
        Self::new(
            "load-balancer",
            "both external policies through a load balancer, in each of its modes",
        ),
        Self::new(
            "health-check",
            "the health check node port, and the load balancer that follows it",
        ),
        Self::new(
            "proxy-health",
            "what a proxy says of its own health, and of its node",
        ),
        Self::new(
            "internal",
            "internalTrafficPolicy on ClusterIPs, and its independence of the external policy",
        ),
        Self::new(
            "policies",
            "both policies at once: each of the four pairs, by every kind of client and address",
        ),
        Self::new(
            "external-ip",
            "external addresses: the rules of node ports, on addresses of the Service's own",
        ),
        Self::new(
            "hairpin",
            "pods that call their own Service and are given to themselves",
        ),
        Self::new(
            "affinity",
            "sessionAffinity ClientIP, by every address and under both policies",
        ),
        Self::new(
            "source-ranges",
            "loadBalancerSourceRanges: who may call a load balancer's address, and what they leave alone",
        ),
        Self::new(
            "endpoints",
            "which endpoints serve: ready, terminating, not serving, mixed, and in several slices",
        ),
        Self::new(
            "topology",
            "hints for zones and nodes, and where they do not count",
        ),
        Self::new(
            "scope",
            "what of a Service is served at all, and what is left alone",
        ),
        Self::new(
            "node-port-addresses",
            "on which addresses of a node its ports are open",
        ),
        Self::new(
            "families",
            "Services of one address family and of both, each family by itself",
        ),
        Self::new(
            "invalid-packets",
            "packets that connection tracking finds invalid",
        ),
        Self::new(
            "distribution",
            "what each policy costs when pods and nodes are not the same in number",
        ),
        Self::new(
            "transitions",
            "changes of a Service that exists, compared with what a fresh one does",
        ),
        Self::new("udp", "the same promises for datagrams"),
        Self::new(
            "mtu",
            "datagrams that fill a packet, or go in fragments: they come whole, and so do their answers",
        ),
        Self::new(
            "established",
            "flows that are under way while the world changes: what goes on, and what must move",
        ),
        Self::new(
            "live",
            "traffic that goes on all the while: no call is lost in a switch, a churn or a restart, and for how long some are when a pod goes at once",
        ),
        Self::new(
            "lifecycle",
            "what a cluster's own kubelets and controllers decide: readiness, graceful ends, updates, drained and stopped nodes",
        ),
    ];

    const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about }
    }

    /// Whether a case is of it.
    pub fn has(&self, case: &Case) -> bool {
        self.has_id(&case.id)
    }

    /// Whether the case of this id is of it.
    pub fn has_id(&self, id: &str) -> bool {
        id.split('/').next() == Some(self.name)
    }
}
