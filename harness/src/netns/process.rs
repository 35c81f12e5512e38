//! Processes inside a host of the lab.

#![expect(unsafe_code, reason = "code between fork and exec has no safe wrapper")]

use std::io;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::process::Command;

use super::Namespace;

/// Makes a command start in a host's network namespace, with mounts of its own and an empty
/// `/run`, as it would find on a machine of its own. iptables, for one, takes a lock there.
pub fn start_in(command: &mut Command, host: &Namespace) {
    let host = host.clone();
    let prepare = move || -> io::Result<()> {
        setns(&host, CloneFlags::CLONE_NEWNET)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            Some("mode=755"),
        )?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only and allocates nothing: nix passes short paths
    // from the stack.
    unsafe {
        command.pre_exec(prepare);
    }
}
