//! Asking an agent elsewhere.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::AgentError;
use super::frame::{self, Reader, Writer, decode, encode};
use super::node::NodeSettings;
use super::wire::{Answer, Hello, Request, VERSION};
use crate::balancer::View;
use crate::error::chain;
use crate::timing::Timing;
use crate::world::World;

/// Requests that wait to be sent; more make whoever asks wait.
const WAITING: usize = 64;

/// How long any answer may take: a batch of a thousand calls that are all dropped takes a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// An agent elsewhere. Everything that it has opened ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Remote {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The machine of the agent, for people.
    name: String,
    next: AtomicU64,
    requests: mpsc::Sender<(u64, Vec<u8>)>,
    open: Arc<Mutex<Open>>,
    _tasks: JoinSet<()>,
}

/// Who waits for an answer; and once none can come any more, why.
#[derive(Debug, Default)]
struct Open {
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    gone: Option<String>,
}

impl Remote {
    /// Begins a session with the agent at the other end of a stream. `number` is one that no other
    /// agent of the lab has.
    ///
    /// # Errors
    /// When the agent is of another version, expects another token, or goes away.
    pub async fn begin<S>(
        stream: S,
        name: &str,
        token: &str,
        number: u8,
        epoch: Duration,
        timing: &Timing,
    ) -> Result<Self, AgentError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = frame::split(stream);
        let (requests, to_send) = mpsc::channel(WAITING);
        let open = Arc::new(Mutex::new(Open::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(send_all(writer, to_send, Arc::clone(&open)));
        tasks.spawn(receive_all(reader, Arc::clone(&open)));
        let remote = Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                next: AtomicU64::new(0),
                requests,
                open,
                _tasks: tasks,
            }),
        };
        let hello = Hello {
            version: VERSION.to_owned(),
            token: token.to_owned(),
            number,
            epoch,
            timing: timing.clone(),
        };
        remote.ask::<()>(Request::Hello(Box::new(hello))).await?;
        Ok(remote)
    }

    /// The machine of the agent, for people.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Asks, and waits for the answer, whose type is in the documentation of the request.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, AgentError> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut open = lock(&self.shared.open);
            if let Some(why) = &open.gone {
                return Err(self.gone(why.clone()));
            }
            open.waiting.insert(number, sender);
        }
        let sent = self.shared.requests.send((number, encode(&request))).await;
        let answer = match sent {
            Ok(()) => match timeout(PATIENCE, answer).await {
                Ok(answer) => answer.ok(),
                Err(_) => return Err(self.gone(format!("no answer within {PATIENCE:?}"))),
            },
            Err(_) => None,
        };
        let Some(answer) = answer else {
            let why = lock(&self.shared.open).gone.clone();
            return Err(self.gone(why.unwrap_or_else(|| "its stream ended".to_owned())));
        };
        let octets = answer.map_err(|failure| AgentError::There {
            agent: self.shared.name.clone(),
            blind: failure.blind,
            said: failure.said,
        })?;
        decode(&octets).map_err(|error| self.gone(format!("it answered {error}")))
    }

    /// Changes the machine's own network, until the session ends.
    ///
    /// # Errors
    /// When the kernel refuses a change; those before it are undone.
    pub async fn settle(&self, settings: NodeSettings) -> Result<(), AgentError> {
        self.ask(Request::Settle(settings)).await
    }

    /// Has the agent act on a node, its own machine, and on these pods of a run there. The addresses of
    /// the node's interfaces, and which machine it is.
    ///
    /// # Errors
    /// When a pod does not run there, or the kernel refuses a tap.
    pub async fn become_node(
        &self,
        node: &str,
        run: &str,
        pods: &[String],
    ) -> Result<(Vec<IpAddr>, String), AgentError> {
        let (node, run, pods) = (node.to_owned(), run.to_owned(), pods.to_vec());
        self.ask(Request::Node { node, run, pods }).await
    }

    /// Has the agent of a node act on further pods of a run, too, which have come there since.
    ///
    /// # Errors
    /// When a pod does not run there, or the kernel refuses a tap.
    pub async fn adopt(&self, run: &str, pods: &[String]) -> Result<(), AgentError> {
        let (run, pods) = (run.to_owned(), pods.to_vec());
        self.ask(Request::Adopt { run, pods }).await
    }

    /// Has the agent be everything outside of a cluster.
    ///
    /// # Errors
    /// When the kernel refuses a part.
    pub async fn become_outside(&self, world: &World) -> Result<(), AgentError> {
        self.ask(Request::Outside(Box::new(world.clone()))).await
    }

    /// Has the agent that is everything outside start the load balancer, which reaches the API by this
    /// kubeconfig.
    ///
    /// # Errors
    /// When the kernel refuses a rule, or the kubeconfig cannot be used.
    pub async fn balance(&self, kubeconfig: &str) -> Result<(), AgentError> {
        self.ask(Request::Balance(kubeconfig.to_owned())).await
    }

    /// How a Service (`namespace/name`) is served by the agent's load balancer.
    ///
    /// # Errors
    /// When the agent is gone.
    pub async fn view(&self, service: &str) -> Result<Option<View>, AgentError> {
        self.ask(Request::View(service.to_owned())).await
    }

    /// What does not work of the agent's load balancer.
    ///
    /// # Errors
    /// When the agent is gone.
    pub async fn problems(&self) -> Result<Vec<String>, AgentError> {
        self.ask(Request::Problems).await
    }

    /// Has something closed by and by, without waiting for it.
    pub(super) fn release(&self, number: u64) {
        let own = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let request = encode(&Request::Release(number));
        // Who cannot be told, because the stream has ended, has closed it already; and a full queue
        // is worth a task.
        if let Err(mpsc::error::TrySendError::Full(message)) =
            self.shared.requests.try_send((own, request))
        {
            let requests = self.shared.requests.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { requests.send(message).await });
            }
        }
    }

    fn gone(&self, why: String) -> AgentError {
        let agent = self.shared.name.clone();
        AgentError::Gone { agent, why }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // A panic elsewhere leaves the map as it was between two answers.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets everybody who waits know that no answer will come.
fn end(open: &Mutex<Open>, why: String) {
    let mut open = lock(open);
    open.gone.get_or_insert(why);
    open.waiting.clear();
}

async fn send_all<S>(
    mut writer: Writer<S>,
    mut requests: mpsc::Receiver<(u64, Vec<u8>)>,
    open: Arc<Mutex<Open>>,
) where
    S: AsyncRead + AsyncWrite + Send,
{
    while let Some((number, request)) = requests.recv().await {
        if let Err(error) = frame::send(&mut writer, number, &request).await {
            return end(&open, chain(&error));
        }
    }
}

async fn receive_all<S>(mut reader: Reader<S>, open: Arc<Mutex<Open>>)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let received = async {
        while let Some((number, answer)) = frame::next(&mut reader).await? {
            let answer: Answer = decode(&answer)?;
            let waiting = lock(&open).waiting.remove(&number);
            // Nobody waits for the answer to a release.
            if let Some(waiting) = waiting {
                // Nor does somebody who was cancelled.
                let _ = waiting.send(answer);
            }
        }
        Ok::<_, io::Error>(())
    };
    let why = match received.await {
        Ok(()) => "its stream ended".to_owned(),
        Err(error) => chain(&error),
    };
    end(&open, why);
}
