//! The loop that owns all state: events in, rules and views out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use onehop_nft::Netfilter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::installed::Installed;
use super::plan::{Forwarding, Plan, Target};
use super::pool::Pool;
use super::relay::Relay;
use super::tally::{Outcome, Rules, Tally};
use super::view::{NodeHealth, Shown, View};
use super::wanted::{HealthCheck, Wanted};
use super::{dataplane, health, watch as api};
use crate::case::BalancerMode;
use crate::error::chain;
use crate::netns::Namespace;
use crate::tap;
use crate::timing::Timing;
use crate::world::{AddressPlan, Dual, Family, Node, World};

/// How long more events are awaited after one: a change of the world comes as several.
const COALESCE: Duration = Duration::from_millis(3);

/// Pause before refused rules are tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The name of the problem that refused rules are.
const DATAPLANE: &str = "dataplane";

/// Something that the load balancer learns.
#[derive(Debug)]
pub(super) enum Event {
    /// A Service is new or changed.
    Apply(Box<Service>),
    /// A Service (`namespace/name`) is gone.
    Delete(String),
    /// These Services are all that exist.
    Listed(BTreeSet<String>),
    /// A node was checked for a Service.
    Checked {
        service: String,
        /// Which run of checks it belongs to: results of an older one are void.
        round: u64,
        family: Family,
        node: usize,
        /// When the check was begun, by the clock of the taps.
        begun: Duration,
        outcome: Outcome,
    },
    /// A part does not work, or works again.
    Problem { what: String, text: Option<String> },
}

impl Event {
    pub(super) fn problem(what: &str, text: Option<String>) -> Self {
        Self::Problem {
            what: what.to_owned(),
            text,
        }
    }
}

/// A Service that is served.
struct Served {
    wanted: Wanted,
    /// The numbers of its addresses, of which the first names its table; fewer than it wants while the pool is exhausted.
    numbers: Vec<u8>,
    /// The health of the nodes in each of its families.
    health: BTreeMap<Family, Health>,
    /// What accepts its connections in mode `proxy`.
    relays: BTreeMap<(Family, u16), Relay>,
    /// The write of its status that is under way, if any.
    writer: JoinSet<()>,
}

/// The health of nodes in one family of a Service.
struct Health {
    /// That of each, in the order of the world's nodes.
    nodes: Vec<Tally>,
    /// The checks, one task for each node.
    checks: JoinSet<()>,
    round: u64,
}

impl Health {
    /// Nodes that nobody has checked yet.
    fn unknown(nodes: usize, now: Duration) -> Self {
        Self {
            nodes: vec![Tally::new(now); nodes],
            checks: JoinSet::new(),
            round: 0,
        }
    }
}

impl Served {
    /// The addresses that its status should show.
    fn ingress(&self) -> Vec<IpAddr> {
        let vips = self.numbers.iter().map(|number| AddressPlan::vip(*number));
        let families = &self.wanted.families;
        vips.flat_map(|vip| families.iter().map(move |family| vip.of(*family)))
            .collect()
    }

    /// The weight of a node among the others.
    fn weight_of(&self, node: &Tally) -> u32 {
        match self.wanted.mode {
            BalancerMode::Weighted => node.weight(),
            BalancerMode::Vip | BalancerMode::NodePort | BalancerMode::Proxy => 1,
        }
    }

    /// The positions of the nodes that may get new connections of a family, each with its weight. One that announces no
    /// endpoint may not.
    fn chosen(&self, family: Family) -> impl Iterator<Item = (usize, u32)> {
        let known = self.health.get(&family);
        let healthy = known.into_iter().flat_map(|of| &of.nodes).enumerate();
        let healthy = healthy.filter(|(_, node)| node.healthy());
        let weighed = healthy.map(|(index, node)| (index, self.weight_of(node)));
        weighed.filter(|(_, weight)| *weight > 0)
    }

    fn status_is_right(&self) -> bool {
        let ingress = self.ingress();
        ingress.len() == self.wanted.ingress.len()
            && ingress
                .iter()
                .all(|ip| self.wanted.ingress.contains(&ip.to_string()))
    }
}

/// All state of the load balancer.
pub(super) struct Controller {
    namespace: Namespace,
    netfilter: Netfilter,
    nodes: Vec<Node>,
    /// The address by which nodes know the load balancer.
    own: Dual,
    timing: Timing,
    /// None where Services are given by hand.
    client: Option<kube::Client>,
    /// For the tasks that the controller starts.
    sender: UnboundedSender<Event>,
    shown: watch::Sender<Shown>,
    started: Instant,
    pool: Pool,
    services: BTreeMap<String, Served>,
    problems: BTreeMap<String, String>,
    /// Removals of statuses that are under way.
    farewells: JoinSet<()>,
    rounds: u64,
    /// The rules that the kernel has.
    installed: Installed,
}

impl Controller {
    /// A controller of the nftables in this namespace.
    pub(super) fn new(
        (namespace, netfilter): (Namespace, Netfilter),
        world: &World,
        timing: Timing,
        client: Option<kube::Client>,
        sender: UnboundedSender<Event>,
        shown: watch::Sender<Shown>,
    ) -> Self {
        Self {
            namespace,
            netfilter,
            nodes: world.nodes.clone(),
            own: world.balancer,
            timing,
            client,
            sender,
            shown,
            started: Instant::now(),
            pool: Pool::default(),
            services: BTreeMap::new(),
            problems: BTreeMap::new(),
            farewells: JoinSet::new(),
            rounds: 0,
            installed: Installed::default(),
        }
    }

    /// Gives the kernel the rules of the present state.
    fn program(&mut self) -> Result<(), onehop_nft::Error> {
        self.direct_relays();
        let now = self.started.elapsed();
        let (mut changes, installed) = self.installed.change_to(&self.plan(), now);
        if changes.is_empty() {
            return Ok(());
        }
        let committed = self.netfilter.commit(&mut changes);
        self.installed = match committed {
            Ok(()) => installed,
            // Whether it was made is not always known.
            Err(_) => std::mem::take(&mut self.installed).doubted(),
        };
        committed
    }

    /// Runs until every sender of events is gone, which never happens by itself, because the
    /// controller holds one: whoever spawned it aborts it.
    pub(super) async fn run(mut self, mut events: UnboundedReceiver<Event>) {
        let mut retry = None;
        loop {
            let due = self.installed.due().map(|due| self.started + due);
            let first = match retry.or(due) {
                Some(time) => timeout_at(time, events.recv()).await.ok(),
                None => Some(events.recv().await),
            };
            let mut changed = first.is_none();
            if let Some(first) = first {
                let Some(first) = first else { return };
                changed |= self.handle(first);
                let deadline = Instant::now() + COALESCE;
                while let Ok(Some(event)) = timeout_at(deadline, events.recv()).await {
                    changed |= self.handle(event);
                }
            }
            if !changed {
                continue;
            }
            let programmed = self.program();
            if programmed.is_ok() {
                self.note_programmed();
            }
            retry = programmed.is_err().then(|| Instant::now() + RETRY);
            let problem = programmed.err().map(|error| chain(&error));
            self.set_problem(DATAPLANE.to_owned(), problem);
            self.write_statuses();
            self.show(retry.is_none());
        }
    }

    /// Takes an event in. True if anything that is visible from outside may have changed.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Apply(service) => self.apply(&service),
            Event::Delete(name) => self.remove(&name).is_some(),
            Event::Listed(names) => {
                let known: Vec<_> = self.services.keys().cloned().collect();
                let gone = known.iter().filter(|name| !names.contains(*name));
                gone.map(|name| self.remove(name)).count() > 0
            }
            Event::Checked {
                service,
                round,
                family,
                node,
                begun,
                outcome,
            } => {
                let now = self.started.elapsed();
                let rules = Rules::of(&self.timing);
                self.services
                    .get_mut(&service)
                    .and_then(|served| served.health.get_mut(&family))
                    .filter(|of| of.round == round)
                    .is_some_and(|of| of.nodes[node].record(begun, outcome, now, rules))
            }
            Event::Problem { what, text } => self.set_problem(what, text),
        }
    }

    fn apply(&mut self, service: &Service) -> bool {
        let name = super::wanted::name_of(service);
        let Some(wanted) = Wanted::of(service) else {
            return self.dismiss(&name, service);
        };
        let other = |served: &Served| served.wanted.uid != wanted.uid;
        if self.services.get(&name).is_some_and(other) {
            // A Service of the same name that replaced it while the watch was down.
            self.remove(&name);
        }
        let served = self.services.entry(name.clone()).or_insert_with(|| Served {
            wanted: Wanted {
                check: None,
                ..wanted.clone()
            },
            numbers: Vec::new(),
            health: BTreeMap::new(),
            relays: BTreeMap::new(),
            writer: JoinSet::new(),
        });
        let is_checked_anew = served.wanted.check != wanted.check;
        served.wanted = wanted;
        self.check_nodes(&name, is_checked_anew);
        self.accept(&name);
        self.give_addresses();
        true
    }

    /// Has the nodes checked in each family of a Service, and no longer in others. What checks them already goes on, unless
    /// they are to be checked anew.
    fn check_nodes(&mut self, name: &str, anew: bool) {
        let now = self.started.elapsed();
        let served = self.services.get_mut(name).expect("the Service is served");
        let families = served.wanted.families.clone();
        served.health.retain(|family, _| families.contains(family));
        let mut begun = Vec::new();
        for family in families {
            match served.health.entry(family) {
                Entry::Vacant(free) => {
                    free.insert(Health::unknown(self.nodes.len(), now));
                    begun.push(family);
                }
                Entry::Occupied(mut known) if anew => {
                    known
                        .get_mut()
                        .nodes
                        .iter_mut()
                        .for_each(|node| node.begin(now));
                    begun.push(family);
                }
                Entry::Occupied(_) => {}
            }
        }
        for family in begun {
            self.start_checks(name, family);
        }
    }

    /// Listens for what a Service wants to be accepted, and no longer for what it wanted before.
    fn accept(&mut self, name: &str) {
        let served = self.services.get_mut(name).expect("the Service is served");
        let wanted = served.wanted.accepted();
        served.relays.retain(|port, _| wanted.contains(port));
        let mut refused = None;
        for (family, port) in wanted {
            let Entry::Vacant(free) = served.relays.entry((family, port)) else {
                continue;
            };
            match Relay::start(&self.namespace, self.own.of(family)) {
                Ok(relay) => {
                    free.insert(relay);
                }
                Err(error) => refused = Some(chain(&error)),
            }
        }
        self.set_problem(listener_problem(name), refused);
    }

    /// Tells what accepts connections which nodes they may go to now.
    fn direct_relays(&self) {
        for served in self.services.values() {
            for ((family, number), relay) in &served.relays {
                let node_port = served.wanted.tcp_node_port(*number);
                let node = |(index, _): (usize, u32)| {
                    Some(SocketAddr::new(
                        self.nodes[index].address.of(*family),
                        node_port?,
                    ))
                };
                relay.send_to(served.chosen(*family).filter_map(node).collect());
            }
        }
    }

    /// Starts the checks that a Service wants in a family in place of those that run.
    fn start_checks(&mut self, name: &str, family: Family) {
        self.rounds += 1;
        let round = self.rounds;
        let served = self.services.get_mut(name).expect("the Service is served");
        // It is about the node as a whole, and kube-proxy's own port may be one of IPv4 alone.
        let asked = match (served.wanted.check, &served.wanted.families[..]) {
            (Some(HealthCheck::ProxyHealth), [first, ..]) => *first,
            _ => family,
        };
        let health = served.health.get_mut(&family).expect("one of its families");
        health.round = round;
        health.checks = JoinSet::new();
        let Some(check) = served.wanted.check else {
            return;
        };
        for (index, node) in self.nodes.iter().enumerate() {
            let (namespace, sender) = (self.namespace.clone(), self.sender.clone());
            let service = name.to_owned();
            let found = move |begun, outcome| {
                let event = Event::Checked {
                    service: service.clone(),
                    round,
                    family,
                    node: index,
                    begun,
                    outcome,
                };
                sender.send(event).is_ok()
            };
            let address = node.address.of(asked);
            let timing = self.timing.clone();
            health.checks.spawn(check_again_and_again(
                namespace, address, check, timing, found,
            ));
        }
    }

    /// Gives an address to every Service that has none yet.
    fn give_addresses(&mut self) {
        for (name, served) in &mut self.services {
            let lacking = served.wanted.addresses.saturating_sub(served.numbers.len());
            served
                .numbers
                .extend((0..lacking).map_while(|_| self.pool.take()));
            let what = format!("address of {name}");
            if served.numbers.len() >= served.wanted.addresses {
                self.problems.remove(&what);
            } else {
                self.problems
                    .insert(what, "all load-balancer addresses are in use".to_owned());
            }
        }
    }

    /// Forgets a Service: its checks end, its address is free.
    fn remove(&mut self, name: &str) -> Option<Served> {
        let removed = self.services.remove(name)?;
        self.problems.remove(&format!("address of {name}"));
        self.problems.remove(&api::status_problem(name));
        self.problems.remove(&listener_problem(name));
        for number in &removed.numbers {
            self.pool.release(*number);
        }
        self.give_addresses();
        Some(removed)
    }

    /// Forgets a Service that lives on and is no longer this load balancer's, and takes its
    /// addresses out of its status.
    fn dismiss(&mut self, name: &str, service: &Service) -> bool {
        let Some(removed) = self.remove(name) else {
            return false;
        };
        let lives = service.metadata.deletion_timestamp.is_none();
        if let (true, Some(client)) = (lives && !removed.wanted.ingress.is_empty(), &self.client) {
            let (client, sender) = (client.clone(), self.sender.clone());
            let none = (Vec::new(), removed.wanted.mode.ip_mode());
            let write = api::write_status(client, name.to_owned(), none, sender);
            self.farewells.spawn(write);
        }
        while self.farewells.try_join_next().is_some() {}
        true
    }

    /// Starts to write each status that does not show the Service's addresses. One that shows
    /// them is left alone, so that a case may set another `ipMode` beside them.
    fn write_statuses(&mut self) {
        let Some(client) = &self.client else { return };
        for (name, served) in &mut self.services {
            while served.writer.try_join_next().is_some() {}
            if !served.numbers.is_empty() && served.writer.is_empty() && !served.status_is_right() {
                let (client, sender) = (client.clone(), self.sender.clone());
                let ingress = (served.ingress(), served.wanted.mode.ip_mode());
                let write = api::write_status(client, name.clone(), ingress, sender);
                served.writer.spawn(write);
            }
        }
    }

    /// True if that is news.
    fn set_problem(&mut self, what: String, text: Option<String>) -> bool {
        match text {
            Some(text) => {
                if self.problems.get(&what) == Some(&text) {
                    return false;
                }
                tracing::warn!(what, text, "the load balancer has a problem");
                self.problems.insert(what, text);
                true
            }
            None => self.problems.remove(&what).is_some(),
        }
    }

    /// The nodes that may get new connections of a family.
    fn targets(&self, served: &Served, family: Family) -> Vec<Target> {
        let target = |(index, weight)| Target {
            mark: dataplane::mark(index),
            address: self.nodes[index].address.of(family),
            weight,
        };
        served.chosen(family).map(target).collect()
    }

    fn plan(&self) -> Plan {
        let services = self.services.values().filter_map(|served| {
            let listeners = served.relays.iter();
            Some(Forwarding {
                service: served.wanted.name.clone(),
                number: *served.numbers.first()?,
                mode: served.wanted.mode,
                addresses: served.ingress(),
                ports: served.wanted.ports.clone(),
                targets: served
                    .health
                    .keys()
                    .map(|family| (*family, self.targets(served, *family)))
                    .collect(),
                listeners: listeners
                    .map(|(port, relay)| (*port, relay.listener()))
                    .collect(),
            })
        });
        Plan {
            services: services.collect(),
        }
    }

    fn shown_nodes(&self, served: &Served, tallies: &[Tally]) -> BTreeMap<String, NodeHealth> {
        let shown = |(node, tally): (&Node, &Tally)| {
            let weight = served.weight_of(tally);
            (node.name.clone(), shown_health(tally, weight))
        };
        std::iter::zip(&self.nodes, tallies).map(shown).collect()
    }

    /// Takes in that the kernel has the rules of the present state.
    fn note_programmed(&mut self) {
        let now = tap::now();
        let known = self.services.values_mut();
        let known = known.flat_map(|served| served.health.values_mut());
        for node in known.flat_map(|health| &mut health.nodes) {
            node.program(now);
        }
    }

    /// Shows the present state; of the Services only if the kernel has their rules, because
    /// whoever waits for a view sends packets next.
    fn show(&self, programmed: bool) {
        let view = |served: &Served| View {
            vip: served
                .numbers
                .first()
                .map(|number| AddressPlan::vip(*number)),
            mode: served.wanted.mode,
            check: served.wanted.check,
            nodes: served
                .health
                .iter()
                .map(|(family, health)| (*family, self.shown_nodes(served, &health.nodes)))
                .collect(),
        };
        self.shown.send_modify(|shown| {
            shown.problems.clone_from(&self.problems);
            if programmed {
                let services = self.services.iter();
                shown.services = services.map(|(name, s)| (name.clone(), view(s))).collect();
            }
        });
    }
}

/// Checks a node until nobody wants to know any more what was found.
async fn check_again_and_again(
    namespace: Namespace,
    node: IpAddr,
    check: HealthCheck,
    timing: Timing,
    found: impl Fn(Duration, Outcome) -> bool,
) {
    loop {
        let begun = tap::now();
        let outcome = health::check(&namespace, node, check, timing.health_check_timeout).await;
        if !found(begun, outcome) {
            return;
        }
        sleep(timing.health_check_interval).await;
    }
}

/// The name of the problem that a Service has whose connections cannot be accepted.
fn listener_problem(service: &str) -> String {
    format!("listeners of {service}")
}

fn shown_health(tally: &Tally, weight: u32) -> NodeHealth {
    NodeHealth {
        healthy: tally.healthy(),
        weight,
        since: tally.since(),
        passed: tally.passed(),
        settled: tally.settled(),
        last: tally.last().to_owned(),
    }
}
