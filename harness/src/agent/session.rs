//! One session: what somebody elsewhere has an agent do, and what it keeps for them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, RwLock};

use super::error::AgentError;
use super::frame::encode;
use super::kubeconfig::client_of;
use super::local::Agent;
use super::machine;
use super::node::Changed;
use super::outside::Outside;
use super::pods;
use super::wire::{Hello, Request};
use crate::balancer::Balancer;
use crate::netns::{Host, Namespace};
use crate::probe::{self, Backend, OpenFlows};
use crate::stray::{Caller, EchoBackend, FencePort};
use crate::timing::Timing;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    epoch: Duration,
    timing: Timing,
    changed: Mutex<Option<Changed>>,
    /// What the agent has become. Fields are dropped in this order: what uses the network goes first.
    role: RwLock<Role>,
    kept: Mutex<KeptThings>,
}

#[derive(Debug, Default)]
struct Role {
    balancer: Option<Balancer>,
    agent: Option<Agent>,
    outside: Option<Outside>,
}

/// What is kept, by its number.
#[derive(Debug, Default)]
struct KeptThings {
    next: u64,
    things: BTreeMap<u64, Thing>,
}

/// Something that lasts until it is released.
#[derive(Debug)]
enum Thing {
    Backends(#[expect(dead_code, reason = "listening until dropped")] Vec<Backend>),
    Echoes(#[expect(dead_code, reason = "listening until dropped")] Vec<EchoBackend>),
    Flows(OpenFlows),
    Caller(Caller),
    FencePort(#[expect(dead_code, reason = "bound until dropped")] FencePort),
}

impl KeptThings {
    fn keep(&mut self, thing: Thing) -> u64 {
        self.next += 1;
        self.things.insert(self.next, thing);
        self.next
    }

    fn take<T>(
        &mut self,
        number: u64,
        expected: impl FnOnce(Thing) -> Option<T>,
    ) -> Result<T, AgentError> {
        let thing = self.things.remove(&number).and_then(expected);
        thing.ok_or_else(|| AgentError::Unknown(format!("open thing number {number}")))
    }
}

impl Session {
    pub(super) fn new(hello: &Hello) -> Self {
        probe::share_numbers(hello.number);
        Self {
            epoch: hello.epoch,
            timing: hello.timing.clone(),
            changed: Mutex::default(),
            role: RwLock::default(),
            kept: Mutex::default(),
        }
    }

    /// Does what is asked. The octets of the answer are what the request's documentation says.
    pub(super) async fn answer(&self, request: Request) -> Result<Vec<u8>, AgentError> {
        match request {
            Request::Hello(_) => Err(AgentError::Unknown("second beginning".to_owned())),
            Request::Settle(settings) => {
                let mut changed = self.changed.lock().await;
                if let Some(before) = changed.take() {
                    before.undo().await;
                }
                // It is kept before anything is changed: this request may be abandoned half-way.
                changed.insert(Changed::none()?).make(settings).await?;
                done()
            }
            Request::Node { node, run, pods } => said(&self.become_node(&node, &run, &pods).await?),
            Request::Adopt { run, pods } => {
                let found = pods::find(&run, &pods).await?;
                let mut role = self.role.write().await;
                let agent = role.agent.as_mut().ok_or_else(|| no("hosts yet"))?;
                agent.adopt(found)?;
                done()
            }
            Request::Outside(world) => {
                let outside = Outside::build(*world).await?;
                let hosts = outside.hosts().cloned();
                let mut role = self.role.write().await;
                role.agent = Some(self.agent(hosts)?);
                role.outside = Some(outside);
                done()
            }
            Request::Balance(kubeconfig) => {
                let client = client_of(&kubeconfig).await?;
                let mut role = self.role.write().await;
                let outside = role.outside.as_ref();
                let outside = outside.ok_or_else(|| no("load balancer's host"))?;
                role.balancer = Some(outside.balance(client, &self.timing).await?);
                done()
            }
            Request::View(service) => {
                let role = self.role.read().await;
                said(&role.balancer.as_ref().and_then(|b| b.view(&service)))
            }
            Request::Problems => {
                let role = self.role.read().await;
                let problems = role.balancer.as_ref().map(Balancer::problems);
                said(&problems.unwrap_or_default())
            }
            Request::Release(number) => {
                let released = self.kept.lock().await.things.remove(&number);
                drop(released);
                done()
            }
            other => self.act(other).await,
        }
    }

    /// Does what is asked of a host.
    async fn act(&self, request: Request) -> Result<Vec<u8>, AgentError> {
        let role = self.role.read().await;
        let agent = role.agent.as_ref().ok_or_else(|| no("hosts yet"))?;
        match request {
            Request::Call { host, batch } => said(&agent.call(&host, batch).await?),
            Request::Open { host, batch } => {
                let (connections, flows) = agent.open(&host, batch).await?;
                said(&(connections, self.keep(Thing::Flows(flows)).await))
            }
            Request::Ask { host, flows } => {
                let taken = self.kept.lock().await.take(flows, |thing| match thing {
                    Thing::Flows(flows) => Some(flows),
                    _ => None,
                })?;
                let (connections, taken) = agent.ask(&host, taken).await?;
                let mut kept = self.kept.lock().await;
                kept.things.insert(flows, Thing::Flows(taken));
                said(&connections)
            }
            Request::Seen(sequences) => said(&agent.seen(&sequences)?),
            Request::Get { host, server, path } => said(&agent.get(&host, server, &path).await?),
            Request::Listen { pod, ports } => {
                let backends = agent.listen(&pod, &ports)?;
                said(&self.keep(Thing::Backends(backends)).await)
            }
            Request::Echo { pod, ports } => {
                let backends = agent.echo(&pod, &ports)?;
                said(&self.keep(Thing::Echoes(backends)).await)
            }
            Request::OpenForStray {
                host,
                remote,
                backend,
            } => match agent.open_for_stray(&host, remote, backend).await? {
                Ok((caller, opened)) => {
                    let number = self.keep(Thing::Caller(caller)).await;
                    said(&Ok::<_, String>((number, opened)))
                }
                Err(why) => said(&Err::<(u64, crate::stray::Opened), _>(why)),
            },
            Request::SendStray {
                host,
                address,
                opened,
            } => {
                let (sent, port) = agent.send_stray(&host, address, &opened)?;
                said(&(self.keep(Thing::FencePort(port)).await, sent))
            }
            Request::OutcomeOfStray { caller, sent } => {
                let caller = self.kept.lock().await.take(caller, |thing| match thing {
                    Thing::Caller(caller) => Some(caller),
                    _ => None,
                })?;
                said(&agent.outcome_of_stray(caller, sent).await?)
            }
            _ => Err(no("answer to what is asked of a session")),
        }
    }

    async fn become_node(
        &self,
        node: &str,
        run: &str,
        pods: &[String],
    ) -> Result<(Vec<IpAddr>, String), AgentError> {
        let own = Namespace::own(node).map_err(AgentError::host(node, "enter the network"))?;
        let addresses = Host::of(own.clone())?.addresses().await?;
        let mut hosts = pods::find(run, pods).await?;
        hosts.push(own);
        let agent = self.agent(hosts)?;
        self.role.write().await.agent = Some(agent);
        Ok((addresses, machine()))
    }

    fn agent(&self, hosts: impl IntoIterator<Item = Namespace>) -> Result<Agent, AgentError> {
        Agent::new(hosts, |_| true, self.epoch, self.timing.clone())
    }

    async fn keep(&self, thing: Thing) -> u64 {
        self.kept.lock().await.keep(thing)
    }

    /// Undoes what must be undone in so many words; the rest is dropped.
    pub(super) async fn end(&self) {
        if let Some(changed) = self.changed.lock().await.take() {
            changed.undo().await;
        }
    }
}

fn no(what: &str) -> AgentError {
    AgentError::Unknown(what.to_owned())
}

fn done() -> Result<Vec<u8>, AgentError> {
    said(&())
}

fn said<T: Serialize>(answer: &T) -> Result<Vec<u8>, AgentError> {
    Ok(encode(answer))
}
