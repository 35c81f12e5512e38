//! One proxy in its lab: Services made, settled, asked and removed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use futures::future::{join_all, try_join_all};
use onehop_harness::agent::Kept;
use onehop_harness::case::{Backend, IpMode, Service, ServiceType, Target, node};
use onehop_harness::lab::{Allocated, Call, Calls, Lab, LabError, LabOptions, target_port};
use onehop_harness::probe::Outcome;
use onehop_harness::world::{Dual, Family, LOAD_BALANCER, Length, Protocol};

use crate::draw::Drawn;
use crate::flows::Flow;
use crate::seen::Seen;

/// The first port of the backends of drawn Services, and how many there are before they come
/// around: see `target_port`.
const FIRST_PORT: u16 = 20_000;
const PORTS: usize = 1000;

/// The port of the sentinels' backend, below all others.
const SENTINEL_PORT: u16 = FIRST_PORT - 1;
const SENTINEL_POD: &str = "web-0";

/// Connections of one call. The taps keep the packets of several such.
const CALL: usize = 384;

/// How often a question is asked again whose packets the taps have lost. That says nothing of any
/// proxy.
const BLIND: usize = 5;

/// A proxy and its lab.
pub(crate) struct Side {
    /// The lab.
    pub(crate) lab: Lab,
    _sentinel: Vec<Kept>,
}

/// A Service that is there, and its backends.
pub(crate) struct Placed {
    /// What the API has allocated.
    pub(crate) service: Allocated,
    ip_mode: IpMode,
    backends: Vec<(Dual, u16, Kept)>,
}

impl Placed {
    /// The backends in a family.
    fn listening(&self, family: Family) -> impl Iterator<Item = SocketAddr> {
        let backends = self.backends.iter();
        backends.map(move |(pod, port, _)| SocketAddr::new(pod.of(family), *port))
    }
}

impl Side {
    /// Builds a lab, and opens the sentinels' backend in it.
    pub(crate) async fn start(options: LabOptions) -> Result<Self, LabError> {
        let lab = Lab::start(options).await?;
        let sentinel = lab.listen(&[SENTINEL_POD], SENTINEL_PORT).await?;
        Ok(Self {
            lab,
            _sentinel: sentinel,
        })
    }

    /// Creates Services, and waits until every node serves all of them.
    ///
    /// A sentinel that is created last tells: a proxy learns of Services in the order of their
    /// changes, and of EndpointSlices too, and programs all that it has learnt at once. So where
    /// the sentinel is served, in a family, everything before it is programmed.
    pub(crate) async fn place(&self, group: &[Drawn]) -> Result<Vec<Placed>, LabError> {
        let placed = group.iter().map(|drawn| self.create(drawn));
        let mut placed = try_join_all(placed).await?;
        for (drawn, placed) in group.iter().zip(&mut placed) {
            if matches!(drawn.spec.kind, ServiceType::LoadBalancer(_)) {
                self.await_vip(drawn, placed).await?;
                self.set_ip_mode(drawn, placed).await?;
            }
        }
        let first = group.first().map_or(0, |drawn| drawn.number);
        self.settle(&format!("sentinel-{first}")).await?;
        Ok(placed)
    }

    async fn create(&self, drawn: &Drawn) -> Result<Placed, LabError> {
        let offset = u16::try_from(drawn.number % PORTS).expect("below the count");
        let first = FIRST_PORT + offset;
        let mut backends = Vec::new();
        for backend in &drawn.backends {
            for position in 0..drawn.spec.ports.len() {
                let port = target_port(first, position, backend.slice);
                let pod = self.lab.world().pod(&backend.pod).expect("a pod");
                let listening = self.lab.listen(&[&backend.pod], port).await?;
                backends.extend(listening.into_iter().map(|b| (pod.address, port, b)));
            }
        }
        let (objects, world) = (self.lab.objects(), self.lab.world());
        let created = objects
            .create_service(&drawn.name(), drawn.spec, world, &drawn.backends, first)
            .await;
        Ok(Placed {
            service: created.map_err(LabError::object(format!("create {drawn:?}")))?,
            ip_mode: drawn.ip_mode,
            backends,
        })
    }

    async fn await_vip(&self, drawn: &Drawn, placed: &mut Placed) -> Result<(), LabError> {
        let timing = self.lab.timing();
        let deadline = Instant::now() + timing.converge;
        while placed.service.vip.is_none() {
            if Instant::now() > deadline {
                let problems = self.lab.balancer_problems().await?.join("; ");
                return Err(LabError::NoVip { problems });
            }
            tokio::time::sleep(timing.converge_pause).await;
            let read = self.lab.objects().get_service(&drawn.name()).await;
            placed.service = read.map_err(LabError::object("read a Service"))?;
        }
        Ok(())
    }

    /// The load balancer gives every address with `ipMode` VIP.
    async fn set_ip_mode(&self, drawn: &Drawn, placed: &Placed) -> Result<(), LabError> {
        if drawn.ip_mode == IpMode::Vip {
            return Ok(());
        }
        let vip = placed.service.vip.expect("it was waited for");
        let (name, objects) = (drawn.name(), self.lab.objects());
        let set = objects.set_ip_mode(&name, vip, drawn.ip_mode).await;
        set.map(drop).map_err(LabError::object("set ipMode"))
    }

    async fn settle(&self, name: &str) -> Result<(), LabError> {
        let (objects, world) = (self.lab.objects(), self.lab.world());
        let backends = [Backend::ready(SENTINEL_POD)];
        let spec = Service::cluster_ip();
        let created = objects.create_service(name, spec, world, &backends, SENTINEL_PORT);
        let service = created
            .await
            .map_err(LabError::object("create a sentinel"))?;
        let timing = self.lab.timing();
        let deadline = Instant::now() + timing.converge;
        for from in world.nodes.iter().map(|n| node(&n.name)) {
            for family in Family::ALL {
                let to = self.lab.resolve(&Target::ClusterIp, &service, family);
                let to = to.expect("a ClusterIP of each family");
                loop {
                    let calls = Calls {
                        from: &from,
                        by: None,
                        protocol: Protocol::Tcp,
                        length: Length::Brief,
                        remotes: &[to],
                        backends: &[],
                    };
                    let calls = self.call(calls).await?;
                    if calls.iter().all(Call::is_reached) {
                        break;
                    }
                    if Instant::now() > deadline {
                        return Err(LabError::Unsettled {
                            seconds: timing.converge.as_secs(),
                            last: format!("{from} does not serve {name}: {calls:?}"),
                        });
                    }
                    tokio::time::sleep(timing.converge_pause).await;
                }
            }
        }
        let deleted = objects.delete_service(name).await;
        deleted.map_err(LabError::object("delete a sentinel"))
    }

    /// Opens connections to each of these flows, as many as it says, and adds what was seen.
    pub(crate) async fn ask(
        &self,
        placed: &[Placed],
        asks: &mut [(usize, &Flow, usize, &mut Seen)],
    ) -> Result<(), LabError> {
        let mut callers: BTreeMap<_, Vec<(SocketAddr, usize)>> = BTreeMap::new();
        for (index, (service, flow, count, seen)) in asks.iter_mut().enumerate() {
            let service = &placed[*service].service;
            // A flow is drawn only to an address that the Service has by its spec.
            let to = self
                .lab
                .resolve_port(&flow.to, flow.port, service, flow.family);
            let Some(to) = to else {
                **seen = Seen::without_address();
                continue;
            };
            let by = flow.by().map(str::to_owned);
            let caller = callers
                .entry((flow.from.clone(), by, flow.family, flow.protocol))
                .or_default();
            caller.extend(std::iter::repeat_n((to, index), *count));
        }
        let calls = callers.iter().flat_map(|(caller, connections)| {
            let (from, by, family, protocol) = caller;
            let chunks = connections.chunks(CALL);
            chunks.map(async |chunk| {
                let remotes: Vec<_> = chunk.iter().map(|(to, _)| *to).collect();
                let backends = placed.iter().flat_map(|placed| placed.listening(*family));
                let calls = Calls {
                    from,
                    by: by.as_deref(),
                    protocol: *protocol,
                    length: Length::Brief,
                    remotes: &remotes,
                    backends: &backends.collect::<Vec<_>>(),
                };
                Ok::<_, LabError>((chunk, self.call(calls).await?))
            })
        });
        for (chunk, calls) in try_join_all(calls).await? {
            for ((_, index), call) in chunk.iter().zip(&calls) {
                let (service, flow, _, seen) = &mut asks[*index];
                let left = placed[*service].ip_mode == IpMode::Proxy
                    && matches!(flow.to, Target::Vip | Target::VipAt(_));
                if left && is_left_alone(call) {
                    seen.add_left_alone();
                } else {
                    seen.add(call, self.lab.world());
                }
            }
        }
        Ok(())
    }

    async fn call(&self, calls: Calls<'_>) -> Result<Vec<Call>, LabError> {
        let mut blind = 0;
        loop {
            match self.lab.call_each(calls).await {
                Err(error) if error.is_blindness() && blind < BLIND => blind += 1,
                answer => return answer,
            }
        }
    }

    /// Deletes Services. Nobody waits until they are gone: the next sentinel tells.
    pub(crate) async fn remove(&self, group: &[Drawn]) -> Result<(), LabError> {
        let names = group.iter().map(Drawn::name);
        let deleted =
            names.map(async |name| self.lab.objects().delete_service(name.as_str()).await);
        let deleted: Result<(), kube::Error> = join_all(deleted).await.into_iter().collect();
        deleted.map_err(LabError::object("delete a Service"))
    }
}

/// Whether a connection to a load-balancer address came to the load balancer, reached nobody, and no node touched it. Where it came to then is the
/// doing of the load balancer, and of its choice of a node.
fn is_left_alone(call: &Call) -> bool {
    let trip = &call.observed.trip;
    let outcome = &call.observed.connection.outcome;
    matches!(outcome, Outcome::Refused(_) | Outcome::Dropped)
        && trip.crossed.contains(LOAD_BALANCER)
        && trip.destination_rewritten_by.is_empty()
        && trip.source_rewritten_by.is_empty()
}
