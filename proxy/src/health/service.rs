//! The health check ports of Services (`healthCheckNodePort`), which load balancers ask whether a node has endpoints.

use std::collections::{BTreeMap, btree_map};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::task::JoinHandle;

use super::{HealthAddresses, HealthState};
use crate::events::{Event, Regarding};
use crate::model::{Family, ObjectName};
use crate::plan::HealthPlan;
use crate::server::{self, Handler, ListenError};

/// How many ready endpoints of the Service the node has. A load balancer may weigh nodes by it (KEP-1669).
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The open health check ports of all Services.
///
/// A port is kept by its number and not by its Service: one that passes from a Service to another in one sync never
/// closes, and answers for its new owner from then on. Dropping this closes all of them.
#[derive(Debug)]
pub struct ServiceHealth {
    node: Box<str>,
    state: Arc<HealthState>,
    addresses: HealthAddresses,
    ports: BTreeMap<u16, Port>,
}

/// An open port.
#[derive(Debug)]
struct Port {
    owner: Arc<Mutex<Owner>>,
    /// By address, with the port.
    listeners: BTreeMap<SocketAddr, Listener>,
}

/// What a port answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    service: ObjectName,
    /// By family; a family without a number is not listened on.
    local_endpoints: BTreeMap<Family, u32>,
}

/// The task of one listener, which ends with this value.
#[derive(Debug)]
struct Listener(JoinHandle<()>);

/// The health check port of a Service could not be opened, or not on all of its addresses. Tried again at the next sync.
#[derive(Debug, thiserror::Error)]
#[error("node {node} failed to start healthcheck \"{service}\" on port {port}: {source}")]
pub struct ListenFailure {
    /// The node.
    pub node: Box<str>,
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// The first address that failed, and why.
    #[source]
    pub source: ListenError,
}

impl ListenFailure {
    /// The Warning event that tells the user of the Service, as kube-proxy words it
    /// (kubernetes/pkg/proxy/healthcheck/service_health.go).
    #[must_use]
    pub fn event(&self) -> Event {
        Event::warning(
            Regarding::Service(self.service.clone()),
            "FailedToStartServiceHealthcheck",
            "Listen",
            self.to_string(),
        )
    }
}

impl ServiceHealth {
    /// No port is open yet. `node` is the node's name, for events.
    #[must_use]
    pub fn new(node: &str, state: Arc<HealthState>, addresses: HealthAddresses) -> Self {
        Self {
            node: node.into(),
            state,
            addresses,
            ports: BTreeMap::new(),
        }
    }

    /// Changes the addresses that ports listen on, from the next sync on.
    pub fn set_addresses(&mut self, addresses: HealthAddresses) {
        self.addresses = addresses;
    }

    /// How many ports are open on at least one address.
    #[must_use]
    pub fn open_ports(&self) -> usize {
        let open = |port: &&Port| !port.listeners.is_empty();
        self.ports.values().filter(open).count()
    }

    /// Makes exactly the wanted ports open and answer what is wanted, and returns what could not be opened.
    ///
    /// To be called after the kernel accepted the rules that the counts speak of, and not if it did not. All that is
    /// already as wanted is left alone. Needs a tokio runtime; what it opens is served on that.
    pub async fn sync(&mut self, wanted: &BTreeMap<ObjectName, HealthPlan>) -> Vec<ListenFailure> {
        let (owners, refused) = self.owners(wanted);
        self.close_all_but(&owners).await;
        let mut failures: Vec<_> = refused
            .into_iter()
            .map(|(port, owner)| self.taken(port, owner.service))
            .collect();
        for (port, owner) in owners {
            failures.extend(self.open(port, &owner));
        }
        failures
    }

    /// Who gets each port: of several that want it the one that has it, else the first by name. And who goes without.
    fn owners(
        &self,
        wanted: &BTreeMap<ObjectName, HealthPlan>,
    ) -> (BTreeMap<u16, Owner>, Vec<(u16, Owner)>) {
        let mut owners: BTreeMap<u16, Owner> = BTreeMap::new();
        let mut refused = Vec::new();
        for (service, plan) in wanted {
            let owner = Owner {
                service: service.clone(),
                local_endpoints: plan.local_endpoints.clone(),
            };
            match owners.entry(plan.port) {
                btree_map::Entry::Vacant(free) => {
                    free.insert(owner);
                }
                btree_map::Entry::Occupied(mut taken) => {
                    let has_it = |port: &Port| port.owner().service == owner.service;
                    let loser = if self.ports.get(&plan.port).is_some_and(has_it) {
                        taken.insert(owner)
                    } else {
                        owner
                    };
                    refused.push((plan.port, loser));
                }
            }
        }
        (owners, refused)
    }

    /// Closes what nobody wants any more, and waits until it is closed, so that the port is free for whoever wants it.
    async fn close_all_but(&mut self, owners: &BTreeMap<u16, Owner>) {
        let mut closing = Vec::new();
        self.ports.retain(|number, port| {
            let owner = owners.get(number);
            let keep = owner.is_some();
            let listeners = std::mem::take(&mut port.listeners);
            for (address, listener) in listeners {
                let address_kept = self.addresses.addresses.contains(&with_port(address, 0));
                let answered = owner.is_some_and(|owner| owner.answers_on(address));
                if answered && address_kept && !listener.0.is_finished() {
                    port.listeners.insert(address, listener);
                } else {
                    closing.push(listener);
                }
            }
            if !keep {
                tracing::debug!(port = number, service = %port.owner().service, "health check port closed");
            }
            keep
        });
        for mut listener in closing {
            listener.0.abort();
            let _ended = (&mut listener.0).await;
        }
    }

    /// Opens a port where it is not open yet, and gives it to its owner.
    fn open(&mut self, number: u16, owner: &Owner) -> Option<ListenFailure> {
        let port = self.ports.entry(number).or_insert_with(|| Port {
            owner: Arc::new(Mutex::new(owner.clone())),
            listeners: BTreeMap::new(),
        });
        port.set_owner(owner.clone());
        let mut failure = None;
        let addresses = self.addresses.addresses.iter();
        for address in addresses.filter(|address| owner.answers_on(**address)) {
            let address = with_port(*address, number);
            if port.listeners.contains_key(&address) {
                continue;
            }
            match server::listen(address) {
                Ok(listener) => {
                    let handler = handler(
                        Family::of(address.ip()),
                        Arc::clone(&port.owner),
                        Arc::clone(&self.state),
                    );
                    let task = tokio::spawn(server::answer(listener, handler));
                    port.listeners.insert(address, Listener(task));
                    tracing::debug!(%address, service = %port.owner().service, "health check port open");
                }
                // Not a failure of the port: the machine was built without the family.
                Err(error)
                    if server::lacks_ipv6(&error.source) && address.ip().is_unspecified() => {}
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        let service = port.owner().service;
        failure.map(|source| ListenFailure {
            node: self.node.clone(),
            service,
            port: number,
            source,
        })
    }

    /// The failure of a Service whose port another one has.
    fn taken(&self, port: u16, service: ObjectName) -> ListenFailure {
        let address = self.addresses.addresses.first();
        let address = address.copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let source = ListenError {
            address: with_port(address, port),
            source: nix::errno::Errno::EADDRINUSE.into(),
        };
        ListenFailure {
            node: self.node.clone(),
            service,
            port,
            source,
        }
    }
}

impl Owner {
    /// Whether the Service has the family of an address.
    fn answers_on(&self, address: SocketAddr) -> bool {
        self.local_endpoints.contains_key(&Family::of(address.ip()))
    }
}

impl Port {
    fn owner(&self) -> Owner {
        owner(&self.owner)
    }

    fn set_owner(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn owner(of: &Mutex<Owner>) -> Owner {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// Answers any path and any method.
fn handler(family: Family, of: Arc<Mutex<Owner>>, state: Arc<HealthState>) -> Handler {
    Arc::new(move |_| answer(&owner(&of), family, state.healthy()))
}

fn answer(owner: &Owner, family: Family, healthy: bool) -> Response<String> {
    let count = owner
        .local_endpoints
        .get(&family)
        .copied()
        .unwrap_or_default();
    let status = if count > 0 && healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = server::respond(status, "application/json", body(owner, count, healthy));
    let weight = HeaderValue::from(count);
    response.headers_mut().insert(WEIGHT, weight);
    response
}

/// The body, space by space as kube-proxy writes it: by tabs, and without a line end at its end
/// (kubernetes/pkg/proxy/healthcheck/service_health.go).
fn body(owner: &Owner, count: u32, healthy: bool) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\n\
         \t\"service\": {{\n\
         \t\t\"namespace\": {},\n\
         \t\t\"name\": {}\n\
         \t}},\n\
         \t\"localEndpoints\": {count},\n\
         \t\"serviceProxyHealthy\": {healthy}\n\
         }}",
        quoted(&owner.service.namespace),
        quoted(&owner.service.name),
    )
}

#[cfg(test)]
mod tests;
