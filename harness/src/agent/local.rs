//! An agent in this process: hosts whose namespaces are at hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::error::AgentError;
use crate::descriptors;
use crate::netns::Namespace;
use crate::probe::{self, Backend, Batch, Connection, HttpOutcome, OpenFlows, ProbeError};
use crate::stray::{self, Caller, EchoBackend, FencePort, Opened, Sent};
use crate::tap::{Seen, Taps};
use crate::timing::Timing;
use crate::world::Pod;

/// Hosts that this process reaches, and the taps on all of them.
#[derive(Debug)]
pub struct Agent {
    hosts: BTreeMap<String, Namespace>,
    taps: Taps,
    timing: Timing,
}

impl Agent {
    /// Acts on these hosts, and taps every interface that those of them have now that are to be
    /// `tapped`. Sightings count their time since `epoch`, a time by [`crate::tap::now`].
    ///
    /// # Errors
    /// When the kernel refuses a tap, or the descriptors that a lab holds open.
    pub fn new(
        hosts: impl IntoIterator<Item = Namespace>,
        tapped: impl Fn(&str) -> bool,
        epoch: Duration,
        timing: Timing,
    ) -> Result<Self, AgentError> {
        let no_room = AgentError::host("this machine", "make room for open files");
        descriptors::make_room().map_err(no_room)?;
        let named = hosts.into_iter().map(|host| (host.name().to_owned(), host));
        let hosts: BTreeMap<_, _> = named.collect();
        let taps = Taps::on(hosts.values().filter(|host| tapped(host.name())), epoch)?;
        Ok(Self {
            hosts,
            taps,
            timing,
        })
    }

    /// Acts on these hosts, too, and taps every interface that has come to any host since.
    ///
    /// # Errors
    /// When the kernel refuses a tap.
    pub fn adopt(&mut self, hosts: Vec<Namespace>) -> Result<(), AgentError> {
        let named = hosts.into_iter().map(|host| (host.name().to_owned(), host));
        self.hosts.extend(named);
        Ok(self.taps.extend(self.hosts.values())?)
    }

    /// The names of its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    /// Makes these calls, see [`probe::call`].
    ///
    /// # Errors
    /// When the probe cannot be carried out.
    pub async fn call(&self, host: &str, batch: Batch) -> Result<Vec<Connection>, AgentError> {
        let (host, timing) = (self.host(host)?.clone(), self.timing.clone());
        blocking(move || probe::call(&host, &batch, &timing)).await
    }

    /// Makes these calls, and keeps them open.
    ///
    /// # Errors
    /// When the probe cannot be carried out.
    pub async fn open(
        &self,
        host: &str,
        batch: Batch,
    ) -> Result<(Vec<Connection>, OpenFlows), AgentError> {
        let (host, timing) = (self.host(host)?.clone(), self.timing.clone());
        blocking(move || probe::open(&host, &batch, &timing)).await
    }

    /// Asks once more over each of these flows.
    ///
    /// # Errors
    /// When the probe cannot be carried out; the flows are gone then.
    pub async fn ask(
        &self,
        host: &str,
        mut flows: OpenFlows,
    ) -> Result<(Vec<Connection>, OpenFlows), AgentError> {
        let (host, timing) = (self.host(host)?.clone(), self.timing.clone());
        blocking(move || Ok::<_, ProbeError>((flows.ask(&host, &timing)?, flows))).await
    }

    /// What the taps have seen of these numbers.
    ///
    /// # Errors
    /// When a tap cannot be read.
    pub fn seen(&self, sequences: &[u32]) -> Result<Seen, AgentError> {
        Ok(self.taps.seen(sequences)?)
    }

    /// Gets `path` from a server.
    ///
    /// # Errors
    /// When no socket can be made.
    pub async fn get(
        &self,
        host: &str,
        server: SocketAddr,
        path: &str,
    ) -> Result<HttpOutcome, AgentError> {
        let got = probe::get(self.host(host)?, server, path, self.timing.answer).await;
        got.map_err(AgentError::host(host, format!("ask {server} by HTTP")))
    }

    /// Opens a backend in a pod on each of these ports.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn listen(&self, pod: &Pod, ports: &[u16]) -> Result<Vec<Backend>, AgentError> {
        let host = self.host(&pod.name)?;
        let listen = |port: &u16| Ok(Backend::listen(host, pod, *port)?);
        ports.iter().map(listen).collect()
    }

    /// Opens a backend that says back what it is told, in a pod on each of these ports.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn echo(&self, pod: &str, ports: &[u16]) -> Result<Vec<EchoBackend>, AgentError> {
        let host = self.host(pod)?;
        let listen = |port: &u16| Ok(EchoBackend::listen(host, *port)?);
        ports.iter().map(listen).collect()
    }

    /// Opens a connection of which a stray segment is to be sent, see [`Caller::open`].
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub async fn open_for_stray(
        &self,
        host: &str,
        remote: SocketAddr,
        backend: IpAddr,
    ) -> Result<Result<(Caller, Opened), String>, AgentError> {
        let (host, timing) = (self.host(host)?.clone(), self.timing.clone());
        blocking(move || Caller::open(&host, remote, backend, &timing)).await
    }

    /// Sends a stray segment, see [`stray::send`].
    ///
    /// # Errors
    /// When a socket cannot be made or used.
    pub fn send_stray(
        &self,
        host: &str,
        address: SocketAddr,
        opened: &Opened,
    ) -> Result<(Sent, FencePort), AgentError> {
        Ok(stray::send(self.host(host)?, address, opened)?)
    }

    /// Waits until it is known what became of a stray segment, see [`Caller::outcome`].
    ///
    /// # Errors
    /// When what was sent after it did not come either.
    pub async fn outcome_of_stray(
        &self,
        mut caller: Caller,
        sent: Sent,
    ) -> Result<stray::Outcome, AgentError> {
        let timing = self.timing.clone();
        blocking(move || caller.outcome(&sent, &timing)).await
    }

    fn host(&self, name: &str) -> Result<&Namespace, AgentError> {
        let unknown = || AgentError::Unknown(format!("host {name}"));
        self.hosts.get(name).ok_or_else(unknown)
    }
}

async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, AgentError>
where
    T: Send + 'static,
    E: Send + 'static + Into<AgentError>,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("a probe does not panic").map_err(Into::into)
}
