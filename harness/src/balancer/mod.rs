//! The cloud load balancer: a network load balancer that knows nodes, and never pods.
//!
//! It is a controller on the Kubernetes API, as a cloud's is. It serves Services of `type:
//! LoadBalancer` whose `spec.loadBalancerClass` is that of a [`BalancerMode`](crate::case::BalancerMode): gives
//! each a pair of addresses, writes them to its status, checks the health of every node in each family
//! of the Service, because a proxy may serve one before the other, and
//! spreads new connections over the healthy ones: evenly, or by the weights that they announce. It
//! never touches a source address, and an established connection stays on its node. In mode `proxy`
//! alone, it answers TCP connections itself and opens its own to nodes, which see its address.
//!
//! Its host must be the gateway of the node network, so that it sees both directions; everything
//! that is not addressed to one of its addresses it routes untouched. A flow whose answer does
//! not come back through it is thus not served: a client on the node network itself, whose node
//! would answer it directly. Clouds that preserve the client's address have the same limit, and in
//! mode `proxy`, as with theirs that do not, there is none.
//!
//! ```text
//! watch ─► wanted ─┐                      ┌─► plan ─► dataplane (nftables)
//!                  ├─► controller (state) ┼─► relay (mode proxy)
//! health ─► tally ─┘                      ├─► status (API)
//!                                         └─► view
//! ```
//! `installed` leads the kernel from one plan to the next. It and `wanted`, `tally`, `pool` and `plan` are pure.

mod controller;
mod dataplane;
mod health;
mod installed;
mod plan;
mod pool;
mod relay;
mod tally;
mod view;
mod wanted;
mod watch;

use k8s_openapi::api::core::v1::Service;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch as latest;
use tokio::task::JoinSet;

pub use dataplane::RulesError;
pub(crate) use dataplane::mark;
pub(crate) use plan::table_family;
pub use view::{NodeHealth, View};
pub use wanted::HealthCheck;

use crate::netns::{Host, NetworkError};
use crate::timing::Timing;
use crate::world::World;
use controller::{Controller, Event};
use view::Shown;

/// Why the load balancer could not start.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// Its routes were refused.
    #[error("failed to prepare the load balancer's routes")]
    Routes(#[from] NetworkError),
    /// The kernel refused its rules, or has no nftables.
    #[error("failed to prepare the load balancer's rules")]
    Rules(#[from] RulesError),
}

/// A running load balancer. Dropped, it stops to watch and to check; the rules that it made stay
/// with its host, and the next one on the same host replaces them.
#[derive(Debug)]
pub struct Balancer {
    events: UnboundedSender<Event>,
    shown: latest::Receiver<Shown>,
    /// The watch and the controller; with them end the checks that the controller started.
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Starts on `host`, for the nodes of a world and the Services of this API. Must be called on a Tokio
    /// runtime. An API that cannot be reached is no error here: it is a [problem](Self::problems)
    /// until it can be.
    ///
    /// # Errors
    /// When the kernel refuses a route, or has no nftables.
    pub async fn start(
        host: &Host,
        world: &World,
        client: kube::Client,
        timing: &Timing,
    ) -> Result<Self, BalancerError> {
        Self::launch(host, world, Some(client), timing).await
    }

    /// Starts without a Kubernetes API: Services come by [`Balancer::apply`] alone, and no status
    /// is written.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub async fn start_by_hand(
        host: &Host,
        world: &World,
        timing: &Timing,
    ) -> Result<Self, BalancerError> {
        Self::launch(host, world, None, timing).await
    }

    async fn launch(
        host: &Host,
        world: &World,
        client: Option<kube::Client>,
        timing: &Timing,
    ) -> Result<Self, BalancerError> {
        dataplane::prepare(host, &world.nodes).await?;
        let (events, received) = unbounded_channel();
        let (show, shown) = latest::channel(Shown::default());
        let namespace = host.namespace().clone();
        // First of all: where the kernel has no nftables, that is known before any Service.
        let netfilter = dataplane::open(&namespace)?;
        let controller = Controller::new(
            (namespace, netfilter),
            world,
            timing.clone(),
            client.clone(),
            events.clone(),
            show,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(controller.run(received));
        if let Some(client) = client {
            tasks.spawn(watch::watch(client, events.clone()));
        }
        Ok(Self {
            events,
            shown,
            _tasks: tasks,
        })
    }

    /// Takes a Service in as if the API had announced it.
    pub fn apply(&self, service: Service) {
        self.send(Event::Apply(Box::new(service)));
    }

    /// Takes a Service (`namespace/name`) out as if the API had announced that it is gone.
    pub fn delete(&self, service: &str) {
        self.send(Event::Delete(service.to_owned()));
    }

    /// How a Service (`namespace/name`) is served, as of the last rules that the kernel has;
    /// nothing if it is not.
    pub fn view(&self, service: &str) -> Option<View> {
        self.shown.borrow().services.get(service).cloned()
    }

    /// What does not work at present, with the reason, one line each: the API's watch, a status
    /// that it refuses, rules that the kernel refuses, an exhausted pool. While there is any, a
    /// failed case may be the load balancer's fault. Each vanishes when that part works again.
    pub fn problems(&self) -> Vec<String> {
        let shown = self.shown.borrow();
        let problems = shown.problems.iter();
        problems
            .map(|(what, text)| format!("{what}: {text}"))
            .collect()
    }

    fn send(&self, event: Event) {
        self.events
            .send(event)
            .expect("the controller runs as long as the load balancer does");
    }
}
