//! The health check ports of Services (`healthCheckNodePort`), which load balancers ask whether a node has endpoints.

use std::collections::{BTreeMap, btree_map};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::task::JoinHandle;

use super::HealthAddresses;
use super::HealthState;
use crate::events::{Event, Regarding};
use crate::model::{Family, ObjectName};
use crate::plan::HealthPlan;
use crate::server::{self, Handler, ListenError};

/// How many ready endpoints of the Service the node has. A load balancer may weigh nodes by it (KEP-1669).
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The open health check ports of all Services.
///
/// A port is kept by its number and not by its Service: one that passes from a Service to another in one sync never
/// closes, and answers for its new owner from then on. The families are apart, as if they were different ports: each has
/// its own count. Dropping this closes all of them.
#[derive(Debug)]
pub struct ServiceHealth {
    node: Box<str>,
    state: Arc<HealthState>,
    addresses: HealthAddresses,
    ports: BTreeMap<Number, Port>,
}

/// A port of one family.
type Number = (Family, u16);

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
    local_endpoints: u32,
}

/// The task of one listener, which ends with this value.
#[derive(Debug)]
struct Listener(JoinHandle<()>);

/// The health check port of a Service could not be opened, or not on all of its addresses. To be tried again:
/// by then the port may be free, or the address usable.
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
            .filter_map(|(number, owner)| self.taken(number, owner.service))
            .collect();
        for (number, owner) in owners {
            failures.extend(self.open(number, owner));
        }
        failures
    }

    /// Who gets each port: of several that want it the one that has it, else the first by name. And who goes without.
    fn owners(
        &self,
        wanted: &BTreeMap<ObjectName, HealthPlan>,
    ) -> (BTreeMap<Number, Owner>, Vec<(Number, Owner)>) {
        let mut owners: BTreeMap<Number, Owner> = BTreeMap::new();
        let mut refused = Vec::new();
        let wanted = wanted.iter().flat_map(|(service, plan)| {
            let counts = plan.local_endpoints.iter();
            counts.map(move |(family, count)| ((*family, plan.port), service, *count))
        });
        for (number, service, local_endpoints) in wanted {
            let owner = Owner {
                service: service.clone(),
                local_endpoints,
            };
            match owners.entry(number) {
                btree_map::Entry::Vacant(free) => {
                    free.insert(owner);
                }
                btree_map::Entry::Occupied(mut taken) => {
                    let has_it = |port: &Port| port.owner().service == owner.service;
                    let loser = if self.ports.get(&number).is_some_and(has_it) {
                        taken.insert(owner)
                    } else {
                        owner
                    };
                    refused.push((number, loser));
                }
            }
        }
        (owners, refused)
    }

    /// Closes what nobody wants any more, and waits until it is closed, so that the port is free for whoever wants it.
    async fn close_all_but(&mut self, owners: &BTreeMap<Number, Owner>) {
        let mut closing = Vec::new();
        self.ports.retain(|number, port| {
            let keep = owners.contains_key(number);
            let listeners = std::mem::take(&mut port.listeners);
            for (address, listener) in listeners {
                let address_kept = self.addresses.addresses.contains(&with_port(address, 0));
                if keep && address_kept && !listener.0.is_finished() {
                    port.listeners.insert(address, listener);
                } else {
                    closing.push(listener);
                }
            }
            if !keep {
                tracing::debug!(port = number.1, service = %port.owner().service, "health check port closed");
            }
            keep
        });
        for mut listener in closing {
            listener.0.abort();
            let _ended = (&mut listener.0).await;
        }
    }

    /// Opens a port where it is not open yet, and gives it to its owner.
    fn open(&mut self, number: Number, owner: Owner) -> Option<ListenFailure> {
        let port = self.ports.entry(number).or_insert_with(|| Port {
            owner: Arc::new(Mutex::new(owner.clone())),
            listeners: BTreeMap::new(),
        });
        port.set_owner(owner);
        let mut failure = None;
        for address in self.addresses.of(number.0) {
            let address = with_port(address, number.1);
            if port.listeners.contains_key(&address) {
                continue;
            }
            match server::listen(address) {
                Ok(listener) => {
                    let handler = handler(Arc::clone(&port.owner), Arc::clone(&self.state));
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
            port: number.1,
            source,
        })
    }

    /// The failure of a Service whose port another one has. There is none where nobody listens anyway.
    fn taken(&self, (family, port): Number, service: ObjectName) -> Option<ListenFailure> {
        let address = self.addresses.of(family).next()?;
        let source = ListenError {
            address: with_port(address, port),
            source: nix::errno::Errno::EADDRINUSE.into(),
        };
        Some(ListenFailure {
            node: self.node.clone(),
            service,
            port,
            source,
        })
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
fn handler(of: Arc<Mutex<Owner>>, state: Arc<HealthState>) -> Handler {
    Arc::new(move |_request| {
        let response = answer(&owner(&of), state.healthy());
        #[cfg(feature = "faults")]
        let response = crate::faults::answer(_request.uri().path(), response);
        response
    })
}

fn answer(owner: &Owner, healthy: bool) -> Response<String> {
    let count = owner.local_endpoints;
    let status = if count > 0 && healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = server::respond(status, "application/json", body(owner, healthy));
    let weight = HeaderValue::from(count);
    response.headers_mut().insert(WEIGHT, weight);
    response
}

/// The body, space by space as kube-proxy writes it: by tabs, and without a line end at its end
/// (kubernetes/pkg/proxy/healthcheck/service_health.go).
fn body(owner: &Owner, healthy: bool) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\n\
         \t\"service\": {{\n\
         \t\t\"namespace\": {},\n\
         \t\t\"name\": {}\n\
         \t}},\n\
         \t\"localEndpoints\": {},\n\
         \t\"serviceProxyHealthy\": {healthy}\n\
         }}",
        quoted(&owner.service.namespace),
        quoted(&owner.service.name),
        owner.local_endpoints,
    )
}

#[cfg(test)]
mod tests;
