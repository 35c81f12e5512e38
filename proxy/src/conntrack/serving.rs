//! Which UDP flows are stale. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::Flow;
use crate::dataplane::FrontKey;
use crate::model::{Family, Protocol};

#[cfg(test)]
mod tests;

/// The endpoints that may serve UDP flows, by the fronts that clients send to. Of other fronts nothing is said.
///
/// A flow is judged by the endpoints of the Service that has its front, and by nothing else: neither policy nor
/// topology ends a flow that a pod still answers (`pkg/proxy/conntrack/cleanup.go`), as they end no TCP connection.
#[derive(Debug, Default)]
pub struct Serving {
    fronts: HashMap<FrontKey, Judgement>,
}

/// What is said of a front's flows.
#[derive(Debug)]
enum Judgement {
    /// A Service has it, and these endpoints serve.
    Served(BTreeSet<SocketAddr>),
    /// No Service has it any more.
    Vacant,
    /// It is about to change: another time.
    Withheld,
}

impl Serving {
    /// What is to be said of the flows of `fronts`. `served` gives the endpoints that serve a front, or `None` if no
    /// Service has it; `node_addresses` are those that have node ports.
    pub fn of<'a>(
        fronts: &BTreeSet<FrontKey>,
        node_addresses: &BTreeSet<IpAddr>,
        served: impl Fn(&FrontKey) -> Option<&'a [SocketAddr]>,
    ) -> Self {
        let mut serving = Self::default();
        for front in fronts {
            let mut endpoints = served(front);
            if front.is_node_port() {
                // The same port of one of these addresses may be another Service's, which goes before.
                for address in node_addresses.iter().copied() {
                    let at = FrontKey { address, ..*front };
                    if let Some(endpoints) = served(&at) {
                        serving.judge(at, Some(endpoints));
                    }
                }
            } else if node_addresses.contains(&front.address) {
                endpoints = endpoints.or_else(|| served(&front.node_port()));
            }
            serving.judge(*front, endpoints);
        }
        serving
    }

    fn judge(&mut self, front: FrontKey, endpoints: Option<&[SocketAddr]>) {
        let judgement = match endpoints {
            Some(endpoints) => Judgement::Served(endpoints.iter().copied().collect()),
            None => Judgement::Vacant,
        };
        self.fronts.insert(front, judgement);
    }

    /// The families of which anything is said.
    pub(super) fn families(&self) -> BTreeSet<Family> {
        let fronts = self.fronts.keys();
        fronts.map(|front| Family::of(front.address)).collect()
    }

    /// Says nothing of the flows of a front from now on: who serves it is about to change.
    pub fn withhold(&mut self, front: FrontKey) {
        self.fronts.insert(front, Judgement::Withheld);
    }

    /// Whether a flow goes where its Service has no endpoint any more, or never was translated
    /// because it began before the Service was programmed.
    ///
    /// Of a front that no Service has any more, flows that were translated are stale. Upstream ends those of a
    /// Service that was deleted, translated or not (kubernetes#141371), and not those to an address or a node port
    /// that a Service lost. A flow that was never translated is no proxy's: it may be the host's own by now.
    ///
    /// `node_addresses` are those that have node ports. Upstream goes by the port alone, and so
    /// ends flows that only pass through this node on their way to another one's node port.
    #[must_use]
    pub fn is_stale(&self, flow: &Flow, node_addresses: &BTreeSet<IpAddr>) -> bool {
        let called = FrontKey {
            address: flow.destination.ip(),
            protocol: Protocol::Udp,
            port: flow.destination.port(),
        };
        let of_node = || {
            let on_node = node_addresses.contains(&called.address);
            on_node
                .then(|| self.fronts.get(&called.node_port()))
                .flatten()
        };
        match self.fronts.get(&called).or_else(of_node) {
            Some(Judgement::Served(endpoints)) => !endpoints.contains(&flow.answers_from),
            Some(Judgement::Vacant) => flow.answers_from != flow.destination,
            Some(Judgement::Withheld) | None => false,
        }
    }
}
