//! The signals that ask a command to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every signal that asks a command to end, from now on. A closed terminal is one of them: nobody
/// is left to interrupt what goes on without it.
pub(crate) fn ends() -> io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ])
}

/// Waits for the first of them.
///
/// # Errors
/// When the kernel refuses a handler.
pub(crate) fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let [mut interrupt, mut terminate, mut hangup] = ends()?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
