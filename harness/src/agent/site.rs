//! Where a host is: in this process's reach, or in that of an agent elsewhere.

use std::net::{IpAddr, SocketAddr};

use super::client::Remote;
use super::error::AgentError;
use super::local::Agent;
use super::wire::Request;
use crate::probe::{Backend, Batch, Connection, HttpOutcome, OpenFlows};
use crate::stray::{Caller, EchoBackend, FencePort, Opened, Outcome, Sent};
use crate::tap::Seen;
use crate::world::Pod;

/// Hosts, and who acts on them.
#[derive(Debug)]
pub enum Site {
    /// This process does.
    Here(Box<Agent>),
    /// An agent elsewhere does.
    There(Remote),
}

/// Something that lasts until it is dropped: backends that listen, a port that is kept.
#[derive(Debug)]
pub enum Kept {
    /// Backends in this process.
    Backends(Vec<Backend>),
    /// Backends in this process that say back what they are told.
    Echoes(Vec<EchoBackend>),
    /// A port of this process.
    FencePort(FencePort),
    /// Something that an agent elsewhere keeps.
    There(There),
}

/// Flows that are kept open.
#[derive(Debug)]
pub enum Flows {
    /// By this process.
    Here(OpenFlows),
    /// By an agent elsewhere.
    There(There),
}

/// A connection of which a stray segment is to be sent.
#[derive(Debug)]
pub enum StrayCaller {
    /// Of this process.
    Here(Box<Caller>),
    /// Of an agent elsewhere.
    There(There),
}

/// What an agent elsewhere keeps by a number.
#[derive(Debug)]
pub struct There {
    remote: Remote,
    number: u64,
}

impl Drop for There {
    fn drop(&mut self) {
        self.remote.release(self.number);
    }
}

impl There {
    fn new(remote: &Remote, number: u64) -> Self {
        let remote = remote.clone();
        Self { remote, number }
    }
}

/// The two may not be of different sites: what one keeps, only it can use.
const OTHER_SITE: &str = "a site is asked for what it keeps itself";

impl Site {
    /// Has a node's agent act on further pods of a run, see [`Remote::adopt`].
    ///
    /// # Errors
    /// When a pod does not run there; and always in this process, where no pods come by themselves.
    pub async fn adopt(&self, run: &str, pods: &[String]) -> Result<(), AgentError> {
        match self {
            Self::Here(_) => Err(AgentError::Unknown(format!("pods {pods:?}"))),
            Self::There(remote) => remote.adopt(run, pods).await,
        }
    }

    /// Makes these calls from a host, see [`crate::probe::call`].
    ///
    /// # Errors
    /// When the probe cannot be carried out.
    pub async fn call(&self, host: &str, batch: Batch) -> Result<Vec<Connection>, AgentError> {
        match self {
            Self::Here(agent) => agent.call(host, batch).await,
            Self::There(remote) => {
                let host = host.to_owned();
                remote.ask(Request::Call { host, batch }).await
            }
        }
    }

    /// Makes these calls from a host, and keeps them open.
    ///
    /// # Errors
    /// When the probe cannot be carried out.
    pub async fn open(
        &self,
        host: &str,
        batch: Batch,
    ) -> Result<(Vec<Connection>, Flows), AgentError> {
        match self {
            Self::Here(agent) => {
                let (connections, flows) = agent.open(host, batch).await?;
                Ok((connections, Flows::Here(flows)))
            }
            Self::There(remote) => {
                let host = host.to_owned();
                let opened = remote.ask(Request::Open { host, batch }).await;
                let (connections, number) = opened?;
                Ok((connections, Flows::There(There::new(remote, number))))
            }
        }
    }

    /// Asks once more over each of these flows, which this site has opened from that host.
    ///
    /// # Errors
    /// When the probe cannot be carried out; the flows are gone then.
    ///
    /// # Panics
    /// When another site has opened them.
    pub async fn ask(
        &self,
        host: &str,
        flows: Flows,
    ) -> Result<(Vec<Connection>, Flows), AgentError> {
        match (self, flows) {
            (Self::Here(agent), Flows::Here(flows)) => {
                let (connections, flows) = agent.ask(host, flows).await?;
                Ok((connections, Flows::Here(flows)))
            }
            (Self::There(remote), Flows::There(kept)) => {
                let request = Request::Ask {
                    host: host.to_owned(),
                    flows: kept.number,
                };
                Ok((remote.ask(request).await?, Flows::There(kept)))
            }
            _ => panic!("{OTHER_SITE}"),
        }
    }

    /// What the taps of its hosts have seen of these numbers.
    ///
    /// # Errors
    /// When a tap cannot be read.
    pub async fn seen(&self, sequences: &[u32]) -> Result<Seen, AgentError> {
        match self {
            Self::Here(agent) => agent.seen(sequences),
            Self::There(remote) => remote.ask(Request::Seen(sequences.to_vec())).await,
        }
    }

    /// Gets `path` from a server, from a host.
    ///
    /// # Errors
    /// When no socket can be made.
    pub async fn get(
        &self,
        host: &str,
        server: SocketAddr,
        path: &str,
    ) -> Result<HttpOutcome, AgentError> {
        match self {
            Self::Here(agent) => agent.get(host, server, path).await,
            Self::There(remote) => {
                let (host, path) = (host.to_owned(), path.to_owned());
                remote.ask(Request::Get { host, server, path }).await
            }
        }
    }

    /// Opens a backend in a pod on each of these ports.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn listen(&self, pod: &Pod, ports: &[u16]) -> Result<Kept, AgentError> {
        match self {
            Self::Here(agent) => Ok(Kept::Backends(agent.listen(pod, ports)?)),
            Self::There(remote) => {
                let (pod, ports) = (pod.clone(), ports.to_vec());
                let number = remote.ask(Request::Listen { pod, ports }).await?;
                Ok(Kept::There(There::new(remote, number)))
            }
        }
    }

    /// Opens a backend that says back what it is told, in a pod on each of these ports.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn echo(&self, pod: &str, ports: &[u16]) -> Result<Kept, AgentError> {
        match self {
            Self::Here(agent) => Ok(Kept::Echoes(agent.echo(pod, ports)?)),
            Self::There(remote) => {
                let (pod, ports) = (pod.to_owned(), ports.to_vec());
                let number = remote.ask(Request::Echo { pod, ports }).await?;
                Ok(Kept::There(There::new(remote, number)))
            }
        }
    }

    /// Opens a connection from a host of which a stray segment is to be sent, see
    /// [`Caller::open`].
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub async fn open_for_stray(
        &self,
        host: &str,
        remote: SocketAddr,
        backend: IpAddr,
    ) -> Result<Result<(StrayCaller, Opened), String>, AgentError> {
        match self {
            Self::Here(agent) => {
                let opened = agent.open_for_stray(host, remote, backend).await?;
                Ok(opened.map(|(caller, opened)| (StrayCaller::Here(Box::new(caller)), opened)))
            }
            Self::There(agent) => {
                let request = Request::OpenForStray {
                    host: host.to_owned(),
                    remote,
                    backend,
                };
                let opened: Result<(u64, Opened), String> = agent.ask(request).await?;
                Ok(opened.map(|(number, opened)| {
                    (StrayCaller::There(There::new(agent, number)), opened)
                }))
            }
        }
    }

    /// Has the host of a backend send a stray segment, see [`crate::stray::send`].
    ///
    /// # Errors
    /// When a socket cannot be made or used.
    pub async fn send_stray(
        &self,
        host: &str,
        address: SocketAddr,
        opened: &Opened,
    ) -> Result<(Sent, Kept), AgentError> {
        match self {
            Self::Here(agent) => {
                let (sent, port) = agent.send_stray(host, address, opened)?;
                Ok((sent, Kept::FencePort(port)))
            }
            Self::There(remote) => {
                let request = Request::SendStray {
                    host: host.to_owned(),
                    address,
                    opened: opened.clone(),
                };
                let (number, sent) = remote.ask(request).await?;
                Ok((sent, Kept::There(There::new(remote, number))))
            }
        }
    }

    /// Waits until it is known what became of a stray segment.
    ///
    /// # Errors
    /// When what was sent after it did not come either.
    ///
    /// # Panics
    /// When another site has opened the connection.
    pub async fn outcome_of_stray(
        &self,
        caller: StrayCaller,
        sent: Sent,
    ) -> Result<Outcome, AgentError> {
        match (self, caller) {
            (Self::Here(agent), StrayCaller::Here(caller)) => {
                agent.outcome_of_stray(*caller, sent).await
            }
            (Self::There(remote), StrayCaller::There(kept)) => {
                let caller = kept.number;
                remote.ask(Request::OutcomeOfStray { caller, sent }).await
            }
            _ => panic!("{OTHER_SITE}"),
        }
    }
}
