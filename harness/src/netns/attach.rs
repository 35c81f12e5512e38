//! Finding a lab from another process, and running commands inside it.
//!
//! A lab that is up writes a state file: its process, and for each host the descriptor of its
//! namespace in that process. Another process of the same user enters by these, as `nsenter` does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde::{Deserialize, Serialize};

use super::{Host, Sandbox};

/// How long a lab may take to end.
const END: Duration = Duration::from_secs(10);

/// No lab, or one that cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No lab of this user is up.
    #[error("no lab is up; onehop lab up brings one up")]
    NoLab,
    /// The lab has no such host.
    #[error("the lab has no host {host}; its hosts are {known}")]
    NoHost {
        /// What was asked for.
        host: String,
        /// What there is.
        known: String,
    },
    /// The state file was written by somebody else, and would lead into their namespaces.
    #[error("{path} belongs to another user and names no lab of yours; remove it")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The lab was asked to end, and has not.
    #[error("the lab (process {pid}) was asked to end and still runs after {seconds} s")]
    StillUp {
        /// Its process.
        pid: i32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The state file or a namespace cannot be read.
    #[error("failed to {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A lab that is up, as its state file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// The process inside, by its id outside.
    pub pid: i32,
    /// When that process started, in clock ticks: an id alone may by now be a stranger's.
    pub started: u64,
    /// The descriptor of each host's network namespace in that process.
    pub hosts: BTreeMap<String, i32>,
    /// The kubeconfig for use inside.
    pub kubeconfig: PathBuf,
}

/// Removes the state file when the lab ends.
#[derive(Debug)]
pub struct Announcement {
    path: PathBuf,
    text: Vec<u8>,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Another lab may have come up since, and is the one that is found from then on.
        if fs::read(&self.path).is_ok_and(|now| now != self.text) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the state file stays behind");
        }
    }
}

/// Writes the state file of a lab. A lab that is already up stays reachable by its own command
/// only: the last one is the one that is found.
///
/// # Errors
/// When the file cannot be written.
pub fn announce<'a>(
    sandbox: &Sandbox,
    hosts: impl Iterator<Item = &'a Host>,
    kubeconfig: &Path,
) -> Result<Announcement, AttachError> {
    let state = LabState {
        pid: sandbox.outer_pid,
        started: start_time("self").map_err(io_error("read", Path::new("/proc/self/stat")))?,
        hosts: hosts
            .map(|host| (host.name().to_owned(), host.namespace().as_fd().as_raw_fd()))
            .collect(),
        kubeconfig: kubeconfig.to_owned(),
    };
    let path = state_file(sandbox.outer_uid);
    let text = serde_json::to_vec_pretty(&state).expect("a state is plain data");
    // Renamed into place, so that it is never half written, and no link of somebody else's in a
    // directory that all may write to is followed.
    let directory = path.parent().unwrap_or(Path::new("/"));
    tempfile::NamedTempFile::new_in(directory)
        .and_then(|mut file| {
            file.write_all(&text)?;
            Ok(file.persist(&path)?)
        })
        .map_err(io_error("write", &path))?;
    Ok(Announcement { path, text })
}

/// The lab of this user that is up.
///
/// # Errors
/// When there is none, or its state file cannot be read.
pub fn find() -> Result<LabState, AttachError> {
    let path = state_file(Uid::effective().as_raw());
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AttachError::NoLab),
        file => file.map_err(io_error("open", &path))?,
    };
    let owner = file.metadata().map_err(io_error("read", &path))?.uid();
    if owner != Uid::effective().as_raw() {
        return Err(AttachError::Foreign { path });
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(io_error("read", &path))?;
    let state: LabState = serde_json::from_slice(&text).map_err(|_| AttachError::NoLab)?;
    // A lab that was killed left its file.
    if state.is_up() {
        Ok(state)
    } else {
        Err(AttachError::NoLab)
    }
}

/// When a process started, in clock ticks since the machine did: field 22 of its `stat`, counted
/// from behind the program's name, which may contain anything.
fn start_time(process: &str) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let started = fields.split_whitespace().nth(19).map(str::parse);
    match started {
        Some(Ok(started)) => Ok(started),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl LabState {
    /// Runs a command on a host of the lab, with `KUBECONFIG` set, and waits for it. This process
    /// stays in the lab, and so must have one thread.
    ///
    /// # Errors
    /// When there is no such host, or it cannot be entered or the command cannot be started.
    pub fn run(&self, host: &str, command: &[String]) -> Result<ExitStatus, AttachError> {
        let Some(descriptor) = self.hosts.get(host) else {
            let known: Vec<_> = self.hosts.keys().map(String::as_str).collect();
            return Err(AttachError::NoHost {
                host: host.to_owned(),
                known: known.join(", "),
            });
        };
        self.enter(*descriptor)?;
        Command::new(&command[0])
            .args(&command[1..])
            .env("KUBECONFIG", &self.kubeconfig)
            .status()
            .map_err(io_error("run", Path::new(&command[0])))
    }

    /// Moves this process to a host of the lab; its children are also in the lab's process
    /// namespace, without which the lab's `/proc` would have nothing about them.
    fn enter(&self, descriptor: i32) -> Result<(), AttachError> {
        let open = |name: &str| {
            let path = PathBuf::from(format!("/proc/{}/{name}", self.pid));
            let file = File::open(&path).map_err(io_error("open", &path))?;
            Ok((file, path))
        };
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let user = open("ns/user")?;
        let others = [
            (open("ns/pid")?, CloneFlags::CLONE_NEWPID),
            (open(&format!("fd/{descriptor}"))?, CloneFlags::CLONE_NEWNET),
            (open("ns/mnt")?, CloneFlags::CLONE_NEWNS),
        ];
        match setns(&user.0, CloneFlags::CLONE_NEWUSER) {
            // This process may be in that user namespace already.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(error) => return Err(io_error("enter", &user.1)(error.into())),
        }
        for ((namespace, path), kind) in others {
            setns(&namespace, kind).map_err(|error| io_error("enter", &path)(error.into()))?;
        }
        // Entering a mount namespace moves the process to its root.
        nix::unistd::chdir(&directory)
            .map_err(|error| io_error("go back to", &directory)(error.into()))
    }

    /// Asks the lab to end, and waits until it has.
    ///
    /// # Errors
    /// When it is already gone, or does not end.
    pub fn end(&self) -> Result<(), AttachError> {
        kill(Pid::from_raw(self.pid), Signal::SIGTERM).map_err(|_| AttachError::NoLab)?;
        let deadline = Instant::now() + END;
        while self.is_up() {
            if Instant::now() > deadline {
                return Err(AttachError::StillUp {
                    pid: self.pid,
                    seconds: END.as_secs(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Whether its process runs.
    fn is_up(&self) -> bool {
        start_time(&self.pid.to_string()).is_ok_and(|started| started == self.started)
    }
}

fn state_file(uid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("onehop-lab-{uid}.json"))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AttachError {
    let path = path.to_owned();
    move |source| AttachError::Io { what, path, source }
}
