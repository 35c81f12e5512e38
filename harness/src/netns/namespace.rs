//! One network namespace, held by a file descriptor.

#![expect(
    unsafe_code,
    reason = "interface flags are set by ioctl, which has no safe wrapper"
)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

const OWN: &str = "/proc/thread-self/ns/net";

thread_local! {
    /// The namespace that this thread belongs to and comes back to.
    static HOME: File = File::open(OWN).expect("a thread can open its own network namespace");
}

/// A network namespace. It lives as long as a handle, a socket or a process in it does.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
    /// Whether it is this process's own, which every thread is in already: entering it would take a privilege.
    own: bool,
}

impl Namespace {
    /// Makes an empty namespace, with its loopback interface up.
    ///
    /// # Errors
    /// When the kernel refuses another network namespace.
    pub fn create(name: &str) -> io::Result<Self> {
        // A short thread of its own, because `unshare` moves the calling thread.
        let file = thread::scope(|scope| {
            let born = scope.spawn(|| -> io::Result<File> {
                unshare(CloneFlags::CLONE_NEWNET)?;
                loopback_up()?;
                File::open(OWN)
            });
            born.join().expect("the thread does not panic")
        })?;
        Ok(Self {
            name: name.into(),
            file: Arc::new(file),
            own: false,
        })
    }

    /// The namespace that a process has now, `/proc/PID/ns/net` or the like, as that of a host of
    /// this name.
    ///
    /// # Errors
    /// When it cannot be opened: the process is gone, or somebody else's.
    pub fn open(name: &str, path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            name: name.into(),
            file: Arc::new(file),
            own: false,
        })
    }

    /// The namespace of this process, as that of a host of this name.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn own(name: &str) -> io::Result<Self> {
        Ok(Self {
            own: true,
            ..Self::open(name, Path::new(OWN))?
        })
    }

    /// The name of the host whose namespace this is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside this namespace, on this thread, and comes back.
    ///
    /// Sockets stay in the namespace that they were made in, so a socket made here may be used
    /// anywhere afterwards. `work` must not await: the task could wake on another thread.
    ///
    /// # Errors
    /// When the kernel refuses to enter; `work` has not run then.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        struct Return;
        impl Drop for Return {
            fn drop(&mut self) {
                // Going on in a stranger's namespace would send packets from the wrong place.
                HOME.with(|home| setns(home, CloneFlags::CLONE_NEWNET))
                    .expect("a thread can return to its own network namespace");
            }
        }
        if self.own {
            return Ok(work());
        }
        HOME.with(|_| ());
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        let _return = Return;
        Ok(work())
    }

    /// Sets kernel parameters, given by their paths below `/proc/sys`.
    ///
    /// # Errors
    /// When one cannot be written; the text names it.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> io::Result<()> {
        self.within(|| {
            settings.iter().try_for_each(|(key, value)| {
                fs::write(format!("/proc/sys/{key}"), value)
                    .map_err(|e| io::Error::new(e.kind(), format!("set {key} to {value}: {e}")))
            })
        })?
    }

    /// The index of an interface of this namespace.
    ///
    /// # Errors
    /// When there is no interface of this name.
    pub fn interface_index(&self, interface: &str) -> io::Result<u32> {
        Ok(self.within(|| nix::net::if_::if_nametoindex(interface))??)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Brings the loopback interface of the calling thread's namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    // SAFETY: socket(2) returns a new descriptor or -1, checked before it is owned.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(raw)
    };
    // SAFETY: an all-zero ifreq is valid: a name of NULs and a union of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is a valid ifreq that outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
