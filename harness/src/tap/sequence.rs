//! Choosing the initial sequence number of a connection, so that its journey is found by it.

#![expect(unsafe_code, reason = "TCP_REPAIR has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The kernel let the initial sequence number of a socket not be chosen.
#[derive(Debug, thiserror::Error)]
#[error("failed to choose the initial sequence number {sequence}")]
pub struct SequenceError {
    /// The number asked for.
    pub sequence: u32,
    /// What the kernel answered.
    #[source]
    pub source: io::Error,
}

const REPAIR_ON: libc::c_int = 1;
/// Off, without the window probe that a restored connection sends.
const REPAIR_OFF: libc::c_int = -1;
const SEND_QUEUE: libc::c_int = 2;

/// Makes the TCP socket, which is not connected yet, begin its next connection with this number.
///
/// A node may rewrite both the destination and the source port of its own calls before they reach
/// the first interface (kube-proxy masquerades them to random ports). Nothing at the interface then
/// tells which socket a SYN came from, except its sequence number. It works in the lab, whose
/// namespaces belong to the run; it takes `CAP_NET_ADMIN`. Numbers must not be reused within the
/// time that the taps remember; 0 cannot be chosen.
///
/// # Errors
/// When the socket is connected, or the capability is missing.
pub fn choose_sequence(socket: &impl AsFd, sequence: u32) -> Result<(), SequenceError> {
    let set = |name: libc::c_int, value: libc::c_int| set_option(socket, name, value);
    let chosen = set(libc::TCP_REPAIR, REPAIR_ON).and_then(|()| {
        let chosen = set(libc::TCP_REPAIR_QUEUE, SEND_QUEUE)
            .and_then(|()| set(libc::TCP_QUEUE_SEQ, sequence.cast_signed()));
        // A socket left in repair mode would send nothing at all.
        chosen.and(set(libc::TCP_REPAIR, REPAIR_OFF))
    });
    chosen.map_err(|source| SequenceError { sequence, source })
}

fn set_option(socket: &impl AsFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an int of the length given, and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if set < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
