//! The endpoints of one port of a Service: several slices made one, and the choice among them
//! (`pkg/proxy/endpointslicecache.go`, `pkg/proxy/topology.go`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, Family, Node, Protocol, Slice};

/// An endpoint of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Where it listens.
    at: SocketAddr,
    /// Whether it is on the node.
    local: bool,
    endpoint: &'a Endpoint,
}

impl Candidate<'_> {
    /// Whether it may serve while no other is ready: it is leaving, and still answers.
    fn serves_while_terminating(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }

    /// Whether some policy may send new connections to it.
    fn is_usable(&self) -> bool {
        self.endpoint.ready || self.serves_while_terminating()
    }

    /// Whether it may be a client of the node: one whose node is unknown may be anywhere.
    fn may_be_here(&self) -> bool {
        self.local || self.endpoint.node.is_none()
    }
}

/// The endpoints of a port, sorted by address and port number, none twice.
#[derive(Debug)]
pub(super) struct Candidates<'a>(Vec<Candidate<'a>>);

impl<'a> Candidates<'a> {
    /// Those of the port with a name, a protocol and a family, in all slices of a Service.
    ///
    /// An endpoint that moves from one slice to another is in both for a while, and a new pod may have the address
    /// of one that is terminating. The one that is not terminating counts, as in kube-proxy; where that does not
    /// decide, and kube-proxy takes any, the one that is most able to serve, so that the order of the slices does
    /// not matter.
    pub(super) fn of(
        slices: &[&'a Slice],
        family: Family,
        name: &str,
        protocol: Protocol,
        node: &Node,
    ) -> Self {
        let mut all = Vec::new();
        for slice in slices.iter().filter(|slice| slice.family == family) {
            let ports = slice
                .ports
                .iter()
                .filter(|port| *port.name == *name && port.protocol == protocol);
            for port in ports {
                all.extend(slice.endpoints.iter().map(|endpoint| Candidate {
                    at: SocketAddr::new(endpoint.address, port.port),
                    local: is_local(endpoint, node),
                    endpoint,
                }));
            }
        }
        let worth = |one: &Candidate<'_>| {
            let Endpoint {
                ready,
                serving,
                terminating,
                ..
            } = *one.endpoint;
            (terminating, !ready, !serving, !one.local)
        };
        all.sort_unstable_by(|a, b| {
            a.at.cmp(&b.at)
                .then_with(|| worth(a).cmp(&worth(b)))
                .then_with(|| a.endpoint.cmp(b.endpoint))
        });
        all.dedup_by_key(|one| one.at);
        Self(all)
    }

    /// Whether any policy, on any node, would send new connections to one of them.
    pub(super) fn any_usable(&self) -> bool {
        self.0.iter().any(Candidate::is_usable)
    }

    /// Those for traffic under policy Cluster: the ready ones that the hints allow, or else, wherever they are and
    /// whatever their hints, those that serve while they terminate.
    pub(super) fn cluster(&self, node: &Node) -> Vec<Candidate<'a>> {
        let ready: Vec<_> = self
            .0
            .iter()
            .filter(|one| one.endpoint.ready)
            .copied()
            .collect();
        if ready.is_empty() {
            return self
                .0
                .iter()
                .filter(|one| one.serves_while_terminating())
                .copied()
                .collect();
        }
        hinted(&ready, |endpoint| &endpoint.nodes, Some(&node.name))
            .or_else(|| hinted(&ready, |endpoint| &endpoint.zones, node.zone.as_deref()))
            .unwrap_or(ready)
    }

    /// Those for traffic under policy Local: the ready ones on the node, or else those there that serve while they
    /// terminate. Hints do not count.
    pub(super) fn local(&self) -> Vec<Candidate<'a>> {
        let local = || self.0.iter().filter(|one| one.local);
        let ready: Vec<_> = local().filter(|one| one.endpoint.ready).copied().collect();
        if ready.is_empty() {
            local()
                .filter(|one| one.serves_while_terminating())
                .copied()
                .collect()
        } else {
            ready
        }
    }

    /// Those to which established flows stay, by any policy (`pkg/proxy/conntrack/cleanup.go`): the serving ones,
    /// and the ready ones, which a Service that publishes addresses before they are ready has without their serving.
    pub(super) fn serving(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter(|one| one.endpoint.serving || one.endpoint.ready)
            .map(|one| one.at)
            .collect()
    }

    /// The addresses of those that are ready and on the node.
    pub(super) fn local_ready(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0
            .iter()
            .filter(|one| one.local && one.endpoint.ready)
            .map(|one| one.at.ip())
    }
}

/// Where candidates listen.
pub(super) fn sockets(candidates: &[Candidate<'_>]) -> Vec<SocketAddr> {
    candidates.iter().map(|one| one.at).collect()
}

/// The addresses of the candidates that may be clients of the node.
pub(super) fn hairpins(candidates: &[Candidate<'_>]) -> BTreeSet<IpAddr> {
    candidates
        .iter()
        .filter(|one| one.may_be_here())
        .map(|one| one.at.ip())
        .collect()
}

/// Whether an endpoint is on the node. Without a name, a node has none.
fn is_local(endpoint: &Endpoint, node: &Node) -> bool {
    !node.name.is_empty() && endpoint.node.as_deref() == Some(&*node.name)
}

/// The endpoints that hints leave for a place, if the hints are followed: all or nothing, every ready endpoint has
/// some, and at least one is for this place.
fn hinted<'a>(
    ready: &[Candidate<'a>],
    hints: fn(&Endpoint) -> &BTreeSet<Box<str>>,
    place: Option<&str>,
) -> Option<Vec<Candidate<'a>>> {
    let place = place?;
    if ready.iter().any(|one| hints(one.endpoint).is_empty()) {
        return None;
    }
    let here: Vec<_> = ready
        .iter()
        .filter(|one| hints(one.endpoint).contains(place))
        .copied()
        .collect();
    (!here.is_empty()).then_some(here)
}
