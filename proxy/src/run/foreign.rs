//! Changes of nftables that somebody else makes.

use std::io;

use onehop_nft::{Change, Changes};
use tokio::io::unix::AsyncFd;

use super::RunError;

/// Listens to every transaction in the network namespace in which it was opened.
pub(super) struct Foreign {
    changes: AsyncFd<Changes>,
}

/// Who changed nftables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The ports of the sockets that did.
    pub(super) by: Vec<u32>,
    /// Others may have been missed.
    pub(super) lost: bool,
}

impl Changed {
    /// Whether somebody else than the owner of a port may have been among them.
    pub(super) fn by_others_than(&self, own: u32) -> bool {
        self.lost || self.by.iter().any(|port| *port != own)
    }
}

impl Foreign {
    /// Begins to listen. To be called within a runtime.
    pub(super) fn subscribe() -> Result<Self, RunError> {
        let changes = Changes::subscribe().map_err(RunError::Foreign)?;
        let changes = register(changes).map_err(|source| RunError::System {
            what: "wait for changes of nftables",
            source,
        })?;
        Ok(Self { changes })
    }

    /// Waits for changes, and gives all that wait.
    pub(super) async fn changed(&mut self) -> Changed {
        loop {
            let Ok(mut ready) = self.changes.readable_mut().await else {
                // The runtime ends.
                return std::future::pending().await;
            };
            let mut changed = Changed::default();
            loop {
                match ready.get_inner_mut().read() {
                    Ok(Some(Change::Generation(generation))) => changed.by.push(generation.port),
                    Ok(Some(Change::Lost)) => changed.lost = true,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!("{}", super::chain(&error));
                        changed.lost = true;
                        break;
                    }
                }
            }
            let nothing = |_: &mut _| Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _cleared = ready.try_io(nothing);
            if changed != Changed::default() {
                return changed;
            }
        }
    }
}

/// Waits for changes; for ever while nobody listens.
pub(super) async fn changed(foreign: &mut Option<Foreign>) -> Changed {
    match foreign {
        Some(foreign) => foreign.changed().await,
        None => std::future::pending().await,
    }
}

#[expect(
    unsafe_code,
    reason = "tokio cannot know that a descriptor stays the same while it is registered"
)]
fn register(changes: Changes) -> io::Result<AsyncFd<Changes>> {
    // SAFETY: the value owns its socket for as long as it lives, and never exchanges it.
    unsafe { AsyncFd::register(changes) }.map_err(Into::into)
}
