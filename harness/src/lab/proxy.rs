//! The proxy under test: one process on each node, kept running as a kubelet would.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::error;
use crate::netns::{Namespace, start_in};
use crate::probe::{self, HttpOutcome};
use crate::profile::{Placeholders, Profile, ProfileError, Rendered};
use crate::timing::Timing;

/// Pause between two readiness requests.
const POLL: Duration = Duration::from_millis(20);

/// A proxy that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its profile cannot be rendered.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Its files cannot be written.
    #[error("failed to write the files of the proxy on {node} to {path}")]
    Files {
        /// The node.
        node: String,
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its program cannot be started.
    #[error("failed to start {program} on {node}")]
    Spawn {
        /// The node.
        node: String,
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its ready URL is not one that the lab can ask.
    #[error("the ready URL {url} is not of the form http://ADDRESS:PORT/PATH")]
    ReadyUrl {
        /// The URL.
        url: String,
    },
    /// It exits instead of getting ready.
    #[error(
        "the proxy on {node} exited {exits} times and was never ready, last with {status}; its \
         last lines:\n{said}"
    )]
    Exits {
        /// The node.
        node: String,
        /// How often.
        exits: u32,
        /// How it ended the last time.
        status: String,
        /// The end of its log.
        said: String,
    },
    /// It goes on after it was asked to end.
    #[error("the proxy on {node} was asked to end by SIGTERM, and still ran {seconds} s later")]
    DoesNotEnd {
        /// The node.
        node: String,
        /// How long it was given.
        seconds: u64,
    },
    /// It never got ready.
    #[error(
        "the proxy on {node} was not ready after {seconds} s ({answer}; {state}); its last \
         lines:\n{said}"
    )]
    NotReady {
        /// The node.
        node: String,
        /// How long it was given.
        seconds: u64,
        /// What its ready URL answered last.
        answer: String,
        /// Whether it runs, and how often it has exited.
        state: String,
        /// The end of its log.
        said: String,
    },
}

/// The proxy on one node. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct NodeProxy {
    node: String,
    log: PathBuf,
    host: Namespace,
    ready_url: String,
    record: Arc<Record>,
    supervisor: JoinHandle<()>,
}

/// A proxy that exited after it was ready. In a lab nothing makes it: whatever it programmed is
/// still there, so that cases pass which nobody serves any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy on {node} exited {exits} times after it was ready, last with {status}; its last \
     lines:\n{said}"
)]
pub struct UnexpectedExit {
    /// The node.
    pub node: String,
    /// How often.
    pub exits: u32,
    /// How it ended the last time.
    pub status: String,
    /// The end of its log at that time.
    pub said: String,
}

/// What became of a proxy's processes so far.
#[derive(Debug)]
struct Record {
    node: String,
    log: PathBuf,
    exits: Mutex<Exits>,
}

#[derive(Clone, Debug, Default)]
struct Exits {
    /// Whether it was ever ready.
    ready: bool,
    count: u32,
    last: String,
    restarts: u32,
    /// How many of those the lab has asked for.
    asked: u32,
    /// The process that runs.
    process: Option<u32>,
    /// The last exit after it was ready.
    unexpected: Option<UnexpectedExit>,
}

impl Record {
    fn exits(&self) -> Exits {
        self.lock().clone()
    }

    fn ready(&self) {
        self.lock().ready = true;
    }

    fn runs(&self, child: &Child) {
        self.lock().process = child.id();
    }

    fn restarted(&self) {
        self.lock().restarts += 1;
    }

    /// What follows is a start like the first one.
    fn is_ended(&self) -> Option<u32> {
        let mut exits = self.lock();
        (exits.ready, exits.count) = (false, 0);
        exits.asked += 1;
        exits.process
    }

    fn exited(&self, status: String) {
        let mut exits = self.lock();
        exits.count += 1;
        if exits.ready {
            let before = exits.unexpected.as_ref().map_or(0, |exit| exit.exits);
            exits.unexpected = Some(UnexpectedExit {
                node: self.node.clone(),
                exits: before + 1,
                status: status.clone(),
                // Read now: the next process writes to the same file.
                said: last_lines(&self.log),
            });
        }
        exits.last = status;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Exits> {
        self.exits.lock().expect("no holder panics")
    }
}

impl NodeProxy {
    /// Writes the proxy's files and starts it.
    ///
    /// # Errors
    /// When its files cannot be written or its program cannot be started.
    pub fn start(
        profile: &Profile,
        values: &Placeholders,
        host: &Namespace,
        timing: &Timing,
    ) -> Result<Self, ProxyError> {
        let node = values.node.clone();
        let rendered = profile.render(values)?;
        let dir = PathBuf::from(&values.dir);
        write_files(&dir, &rendered).map_err(|(path, source)| ProxyError::Files {
            node: node.clone(),
            path,
            source,
        })?;
        let log = dir.join("proxy.log");
        let spawn = {
            let (rendered, log, host) = (rendered.clone(), log.clone(), host.clone());
            move || spawn(&rendered, &log, &host)
        };
        let first = spawn().map_err(|source| ProxyError::Spawn {
            node: node.clone(),
            program: rendered.command[0].clone(),
            source,
        })?;
        let record = Arc::new(Record {
            node: node.clone(),
            log: log.clone(),
            exits: Mutex::default(),
        });
        record.runs(&first);
        let supervised = supervise(first, spawn, timing.clone(), record.clone());
        let supervisor = tokio::spawn(supervised);
        Ok(Self {
            node,
            log,
            host: host.clone(),
            ready_url: rendered.ready_url,
            record,
            supervisor,
        })
    }

    /// Waits until its ready URL answers 200.
    ///
    /// # Errors
    /// When it does not in time, or exits too often before; with the end of its log.
    pub async fn ready(&self, timing: &Timing) -> Result<(), ProxyError> {
        let url = || ProxyError::ReadyUrl {
            url: self.ready_url.clone(),
        };
        let (server, path) = split_url(&self.ready_url).ok_or_else(url)?;
        let deadline = Instant::now() + timing.proxy_ready;
        loop {
            let answer = probe::get(&self.host, server, path, timing.answer).await;
            let answer = match answer {
                Ok(HttpOutcome::Answered(answer)) if answer.status == 200 => {
                    self.record.ready();
                    return Ok(());
                }
                Ok(HttpOutcome::Answered(answer)) => {
                    format!("{} says {}", self.ready_url, answer.status)
                }
                Ok(other) => format!("{} is {other:?}", self.ready_url).to_lowercase(),
                Err(error) => error.to_string(),
            };
            let exits = self.record.exits();
            if exits.count >= timing.start_attempts {
                return Err(ProxyError::Exits {
                    node: self.node.clone(),
                    exits: exits.count,
                    status: exits.last,
                    said: last_lines(&self.log),
                });
            }
            if Instant::now() > deadline {
                let state = match exits.count {
                    0 => "it runs".to_owned(),
                    count => format!("it has exited {count} times, last with {}", exits.last),
                };
                return Err(ProxyError::NotReady {
                    node: self.node.clone(),
                    seconds: timing.proxy_ready.as_secs(),
                    answer,
                    state,
                    said: last_lines(&self.log),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks its process to end, as an update of it does, and waits until the next one is ready.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub(crate) async fn restart(&self, timing: &Timing) -> Result<(), ProxyError> {
        let deadline = Instant::now() + timing.proxy_ready;
        if let Some(process) = self.record.is_ended() {
            let process = Pid::from_raw(process.cast_signed());
            // One that has just exited of its own accord is started again as well.
            let _ = kill(process, Signal::SIGTERM);
            while self.record.exits().count == 0 {
                if Instant::now() > deadline {
                    return Err(ProxyError::DoesNotEnd {
                        node: self.node.clone(),
                        seconds: timing.proxy_ready.as_secs(),
                    });
                }
                tokio::time::sleep(POLL).await;
            }
        }
        self.ready(timing).await
    }

    /// The node that it runs on.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where everything that it prints is kept.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The id of its process, as of the last start.
    pub fn process(&self) -> Option<u32> {
        self.record.exits().process
    }

    /// Stops its process, or lets it go on. One that has exited since is found out by its supervisor.
    ///
    /// # Errors
    /// It has no process, or the process cannot be stopped.
    pub fn stop(&self, stopped: bool) -> io::Result<()> {
        let process = self.process().and_then(|id| i32::try_from(id).ok());
        let process = process.ok_or(io::ErrorKind::NotFound)?;
        let signal = if stopped {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        Ok(kill(Pid::from_raw(process), signal)?)
    }

    /// How often it has exited, whether it was ready by then or not; how it did the last time, and
    /// what it said.
    pub fn exits(&self) -> Option<UnexpectedExit> {
        let exits = self.record.exits();
        (exits.count > 0).then(|| UnexpectedExit {
            node: self.node.clone(),
            exits: exits.count,
            status: exits.last,
            said: last_lines(&self.log),
        })
    }

    /// How often it has exited of its own accord and was started again.
    pub fn restarts(&self) -> u32 {
        let exits = self.record.exits();
        exits.restarts.saturating_sub(exits.asked)
    }

    /// Its exits after it was ready, if there were any.
    pub fn unexpected_exit(&self) -> Option<UnexpectedExit> {
        self.record.exits().unexpected
    }
}

impl Drop for NodeProxy {
    fn drop(&mut self) {
        // The supervisor owns the child, which is killed when dropped.
        self.supervisor.abort();
    }
}

/// Starts the proxy again whenever it exits, with growing pauses, as a kubelet does. kube-proxy
/// 1.37 exits on purpose, for one, when its Node's addresses change.
async fn supervise(
    mut child: Child,
    spawn: impl Fn() -> io::Result<Child>,
    timing: Timing,
    record: Arc<Record>,
) {
    let mut pause = timing.restart_backoff;
    loop {
        let status = child.wait().await;
        record.exited(match &status {
            Ok(status) => status.to_string(),
            Err(error) => format!("an unknown status ({error})"),
        });
        tracing::warn!(
            ?status,
            "the proxy exited and is started again in {pause:?}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(timing.restart_backoff_limit);
        record.restarted();
        match spawn() {
            Ok(next) => {
                record.runs(&next);
                child = next;
            }
            Err(error) => {
                tracing::error!(%error, "the proxy cannot be started again");
                record.exited(format!("a failed restart ({error})"));
                return;
            }
        }
    }
}

fn spawn(rendered: &Rendered, log: &Path, host: &Namespace) -> io::Result<Child> {
    let out = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(&rendered.command[0]);
    command
        .args(&rendered.command[1..])
        .envs(&rendered.env)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .kill_on_drop(true);
    start_in(&mut command, host);
    command.spawn()
}

fn write_files(dir: &Path, rendered: &Rendered) -> Result<(), (PathBuf, io::Error)> {
    fs::create_dir_all(dir).map_err(|e| (dir.to_owned(), e))?;
    for (name, text) in &rendered.files {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|e| (parent.to_owned(), e))?;
        fs::write(&path, text).map_err(|e| (path.clone(), e))?;
    }
    Ok(())
}

/// The address and the path of `http://ADDRESS:PORT/PATH`.
fn split_url(url: &str) -> Option<(std::net::SocketAddr, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (server, path) = rest.split_at(rest.find('/')?);
    Some((server.parse().ok()?, path))
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|e| format!("(no log: {e})"));
    error::last_lines(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_url_is_split_into_address_and_path() {
        let (server, path) = split_url("http://172.18.0.11:10256/healthz").expect("valid");
        assert_eq!((server.port(), path), (10256, "/healthz"));
        assert!(split_url("http://[fd00::1]:80/").is_some());
        assert!(split_url("https://172.18.0.11/").is_none());
        assert!(split_url("http://node:80/").is_none());
    }
}
