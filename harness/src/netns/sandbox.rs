//! Entering the sandbox: user, mount, network and process namespaces of the run's own.
//!
//! [`enter`] is called first thing in `main`, while the process has one thread. It splits the
//! process in two. The outer one stays where it was, passes signals on, and exits with the inner
//! one's code. The inner one is process 1 of a new process namespace and goes on with the
//! program. When either dies, SIGKILL included, the kernel ends every process inside and removes
//! every namespace, interface and rule: there is no clean-up code that could fail to run.
//!
//! The inner process leads a process group of its own. A terminal's interrupt would otherwise
//! reach everything inside, the proxies under test included, while cases are still being judged.

#![expect(unsafe_code, reason = "clone and fork have no safe wrapper")]

use std::fs;
use std::io::{self, PipeReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, Uid, setpgid};

use crate::descriptors;
use crate::error::chain;

/// Why the sandbox could not be entered. Every text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel or the distribution forbids user namespaces.
    #[error("failed to create user, mount, network and process namespaces\n{advice}")]
    Namespaces {
        /// What the kernel answered.
        #[source]
        source: io::Error,
        /// Which setting forbids it, and what to do.
        advice: String,
    },
    /// The identity map of the user namespace was refused.
    #[error("failed to map user and group ids into the new user namespace")]
    IdMap(#[source] io::Error),
    /// A mount inside the sandbox was refused.
    #[error("failed to mount {what} inside the sandbox\n{advice}")]
    Mount {
        /// What was to be mounted.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
        /// What to do.
        advice: String,
    },
    /// What a trial came to, see [`check`].
    #[error("{0}")]
    Trial(String),
    /// Anything else, in words.
    #[error("failed to {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// Proof that this process is inside the sandbox, with what it brought along from outside.
#[derive(Debug)]
pub struct Sandbox {
    /// A listener on the machine's own loopback, made before entering: the one door through which
    /// a terminal outside reaches the API inside.
    pub door: Option<TcpListener>,
    /// The user id outside.
    pub outer_uid: u32,
    /// The process id outside, by which another process finds this one.
    pub outer_pid: i32,
}

/// Enters the sandbox. Returns in the inner process only.
///
/// With `door`, a listener on the machine's own loopback is made first and handed through.
///
/// # Errors
/// When namespaces are forbidden or incomplete on this machine; the text says which setting.
/// Errors come back in whichever process met them, so a caller prints them and exits with 2.
///
/// # Panics
/// When other threads already run, because only the calling one would be inside.
pub fn enter(door: bool) -> Result<Sandbox, SandboxError> {
    enter_with(door, Users::Own)
}

/// As [`enter`], but root keeps its user namespace, if it may make the others.
///
/// To root of a namespace of its own the kernel refuses a send buffer that holds a transaction of
/// thousands of rules (`SO_SNDBUFFORCE`), and programs of iptables and nftables fail with "message
/// too long". Without it, what runs inside may also change what is the machine's own.
///
/// # Errors
/// As [`enter`].
///
/// # Panics
/// As [`enter`].
pub fn enter_as_root() -> Result<Sandbox, SandboxError> {
    if Uid::effective().is_root() {
        match enter_with(false, Users::Kept) {
            // A container's root may not, and its user namespaces may all the same.
            Err(SandboxError::Namespaces { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied => {}
            done => return done,
        }
    }
    enter_with(false, Users::Own)
}

/// The user namespace of what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    /// A new one.
    Own,
    /// The one outside.
    Kept,
}

fn enter_with(door: bool, users: Users) -> Result<Sandbox, SandboxError> {
    assert_eq!(
        threads(),
        1,
        "the sandbox is entered before any thread starts"
    );
    let door = door
        .then(|| TcpListener::bind("127.0.0.1:0"))
        .transpose()
        .map_err(|source| system("listen on the loopback address", source))?;
    let outer_uid = Uid::effective().as_raw();
    let (mut ready_in, mut ready_out) =
        io::pipe().map_err(|source| system("make a pipe", source))?;

    match clone_into_namespaces(users)? {
        0 => {
            drop(ready_out);
            let mut pid = [0; 4];
            if ready_in.read_exact(&mut pid).is_err() {
                // The outer process failed to write the id maps and has said so.
                process::exit(2);
            }
            settle_inside(&ready_in)?;
            descriptors::make_room()
                .map_err(|source| system("make room for open files", source))?;
            let outer_pid = i32::from_le_bytes(pid);
            Ok(Sandbox {
                door,
                outer_uid,
                outer_pid,
            })
        }
        inner => {
            drop((ready_in, door));
            let inner = Pid::from_raw(inner);
            let signals = hold_signals()?;
            if users == Users::Own {
                write_id_maps(inner, outer_uid).map_err(SandboxError::IdMap)?;
            }
            ready_out
                .write_all(&inner.as_raw().to_le_bytes())
                .map_err(|source| system("start the inner process", source))?;
            process::exit(watch_over(inner, &signals))
        }
    }
}

/// Checks that the sandbox can be entered, and leaves this process where it is: a copy of it tries.
///
/// # Errors
/// What entering would have come to, as a text.
///
/// # Panics
/// When other threads already run, because the copy would have only the calling one.
pub fn check() -> Result<(), SandboxError> {
    assert_eq!(
        threads(),
        1,
        "the sandbox is tried before any thread starts"
    );
    let (mut said, mut say) = io::pipe().map_err(|source| system("make a pipe", source))?;
    // SAFETY: the process has one thread, so the copy is whole.
    let copy = unsafe { nix::unistd::fork() };
    match copy.map_err(|e| system("try the sandbox", e.into()))? {
        ForkResult::Child => {
            drop(said);
            let code = match enter(false) {
                Ok(_) => 0,
                Err(error) => {
                    // Whoever reads it is there until this process has ended.
                    let _ = say.write_all(chain(&error).as_bytes());
                    2
                }
            };
            process::exit(code)
        }
        ForkResult::Parent { child } => {
            drop(say);
            let mut text = String::new();
            let read = said.read_to_string(&mut text);
            read.map_err(|source| system("read what a trial of the sandbox said", source))?;
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                ended if text.is_empty() => Err(SandboxError::Trial(format!(
                    "a trial of the sandbox ended without a word: {ended:?}"
                ))),
                _ => Err(SandboxError::Trial(text)),
            }
        }
    }
}

/// Forks into new namespaces: 0 in the inner process, the inner process id in the outer one.
fn clone_into_namespaces(users: Users) -> Result<i32, SandboxError> {
    let users = match users {
        Users::Own => libc::CLONE_NEWUSER,
        Users::Kept => 0,
    };
    let flags = users | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: clone without CLONE_VM and with a null stack is fork(2) plus namespaces: the child
    // goes on with a copy of this address space and stack. The process has one thread (asserted
    // by the caller), so no lock can be held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_long, 0, 0, 0, 0) };
    if pid < 0 {
        let source = io::Error::last_os_error();
        return Err(SandboxError::Namespaces {
            source,
            advice: namespace_advice(),
        });
    }
    Ok(i32::try_from(pid).expect("a process id fits an i32"))
}

/// What stands in the way of user namespaces, as far as the machine tells.
fn namespace_advice() -> String {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|s| s.trim().to_owned())
            .unwrap_or_default()
    };
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        return "user namespaces are off: run 'sysctl user.max_user_namespaces=10000' as root"
            .to_owned();
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return "unprivileged user namespaces are off: run 'sysctl \
                kernel.unprivileged_userns_clone=1' as root, or run onehop as root"
            .to_owned();
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return "AppArmor restricts unprivileged user namespaces: run 'sysctl \
                kernel.apparmor_restrict_unprivileged_userns=0' as root, or run onehop as root"
            .to_owned();
    }
    "the lab needs Linux user namespaces; inside a container, start it with --privileged, or with \
     --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
        .to_owned()
}

/// Writes the inner process's id maps, from outside, where the privilege to do so is.
///
/// Root keeps all of its ids, so that files of other users stay readable and writable as they
/// were; an ordinary user becomes root inside and nobody else.
fn write_id_maps(inner: Pid, uid: u32) -> io::Result<()> {
    let path = |file: &str| format!("/proc/{inner}/{file}");
    if uid == 0
        && fs::write(path("uid_map"), identity_map("/proc/self/uid_map")?).is_ok()
        && fs::write(path("gid_map"), identity_map("/proc/self/gid_map")?).is_ok()
    {
        return Ok(());
    }
    let gid = nix::unistd::Gid::effective().as_raw();
    fs::write(path("uid_map"), format!("0 {uid} 1"))?;
    // The kernel refuses a group map by an unprivileged process that could still drop groups.
    fs::write(path("setgroups"), "deny")?;
    fs::write(path("gid_map"), format!("0 {gid} 1"))
}

/// The map that gives a child namespace every id that this one has, unchanged.
fn identity_map(own: &str) -> io::Result<String> {
    let map = fs::read_to_string(own)?;
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{start} {start} {count}\n"))
    });
    Ok(lines.collect())
}

/// The first steps inside: die with the outer process, private mounts, own `/proc`, loopback up.
fn settle_inside(outer: &PipeReader) -> Result<(), SandboxError> {
    let tied = |e: nix::Error| system("tie the inner process to the outer one", e.into());
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(tied)?;
    // The outer process holds its end of the pipe as long as it lives. If it died before the tie,
    // no signal will come.
    let mut end = [PollFd::new(outer.as_fd(), PollFlags::POLLIN)];
    if poll(&mut end, PollTimeout::ZERO).map_err(tied)? > 0 {
        process::exit(2);
    }
    let this = Pid::from_raw(0);
    setpgid(this, this).map_err(|e| system("lead a process group", e.into()))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| mount_error("private mounts", e))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).map_err(|e| mount_error("/proc", e))?;
    super::namespace::loopback_up().map_err(|e| system("bring the loopback interface up", e))
}

fn mount_error(what: &'static str, errno: nix::Error) -> SandboxError {
    SandboxError::Mount {
        what,
        source: errno.into(),
        advice: namespace_advice(),
    }
}

fn system(what: &'static str, source: io::Error) -> SandboxError {
    SandboxError::System { what, source }
}

/// Blocks the signals that the outer process waits for: those that ask a program to stop, and the
/// one that says that the inner process ended. None is lost between two waits.
fn hold_signals() -> Result<SigSet, SandboxError> {
    let signals = SigSet::from_iter([
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]);
    let held = signals.thread_block();
    held.map_err(|e| system("wait for signals", e.into()))?;
    Ok(signals)
}

/// Passes signals on until the inner process has ended; its exit code, or 2 with a message when a
/// signal ended it.
fn watch_over(inner: Pid, signals: &SigSet) -> i32 {
    let mut asked = None;
    loop {
        match waitpid(inner, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                let signal = asked.unwrap_or(signal);
                eprintln!("onehop: ended by {signal}; everything inside is gone");
                return 2;
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => {
                eprintln!("onehop: failed to wait for the inner process: {error}");
                return 2;
            }
        }
        match signals.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) if handles(inner, signal) => {
                // It may be gone by now, which the next wait tells.
                let _ = kill(inner, signal);
            }
            // Process 1 of a process namespace is not ended by a signal that it does not handle,
            // and whoever interrupts a command wants it to end.
            Ok(signal) => {
                asked = Some(signal);
                let _ = kill(inner, Signal::SIGKILL);
            }
        }
    }
}

/// Whether a process has a handler for a signal.
fn handles(process: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    fs::read_dir(Path::new("/proc/self/task")).map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_map_keeps_every_range() {
        let own = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(
            own.path(),
            "         0          0       1000\n      1000     100000      65536\n",
        )
        .expect("written");
        let map = identity_map(own.path().to_str().expect("a plain path")).expect("read");
        assert_eq!(map, "0 0 1000\n1000 1000 65536\n");
    }
}
