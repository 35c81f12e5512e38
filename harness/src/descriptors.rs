//! Room for what a lab holds open.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;

/// Descriptors that a lab may hold open: the suite on the world of the story takes two thousand.
const ROOM: u64 = 16_384;

/// Raises the number of files that this process may open, where it may, and has the kernel make room for them now.
///
/// The usual limit, 1024, is half of what a run takes. And when the table of a process with threads is full, the kernel waits until
/// no processor looks at the old one any more (`synchronize_rcu` in `expand_files`), with every thread that opens something: on
/// busy nodes, whose rules are exchanged all the time, for more than three seconds. Backends were silent for so long, and a proxy was
/// blamed. A table does not shrink, and a process without other threads does not wait.
///
/// # Errors
/// When a limit or a descriptor cannot be had.
pub(crate) fn make_room() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < ROOM && soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, ROOM.min(hard), hard)?;
    }
    let last = i32::try_from(ROOM.min(hard) - 1).expect("a small number");
    let any = File::open("/dev/null")?;
    let last = fcntl(any.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(last))?;
    Ok(close(last)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_once_and_before_it_is_needed() {
        make_room().expect("room");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        assert!(soft >= ROOM.min(hard), "{soft} of {hard}");
        let status = std::fs::read_to_string("/proc/self/status").expect("its status");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = size.expect("a size").trim().parse().expect("a number");
        assert!(size >= ROOM.min(hard), "{size} of {hard}");
        make_room().expect("as before");
    }
}
