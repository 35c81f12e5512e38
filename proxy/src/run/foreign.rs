//! Changes of nftables that somebody else makes.

use std::collections::BTreeSet;
use std::io;

use onehop_nft::{Change, Changes};
use tokio::io::unix::AsyncFd;

use super::RunError;

/// Listens to the transactions of others in the network namespace in which it was opened.
pub(super) struct Foreign {
    changes: AsyncFd<Changes>,
    /// The port of the proxy's own socket, whose transactions are left out.
    own: u32,
}

/// What others changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// In tables of these names, of whatever family.
    tables: BTreeSet<String>,
    /// Other tables may have been missed.
    lost: bool,
}

impl Changed {
    /// Whether tables of a name may have been changed.
    pub(super) fn may_concern(&self, name: &str) -> bool {
        self.lost || self.tables.contains(name)
    }
}

impl Foreign {
    /// Begins to listen. To be called within a runtime.
    pub(super) fn subscribe(own: u32) -> Result<Self, RunError> {
        let mut changes = Changes::subscribe().map_err(RunError::Foreign)?;
        let reporting = changes.report_tables_but_of(own);
        reporting.map_err(RunError::Foreign)?;
        let changes = register(changes).map_err(|source| RunError::System {
            what: "wait for changes of nftables",
            source,
        })?;
        Ok(Self { changes, own })
    }

    /// From now on leaves out the transactions of the socket of this port, and of no other.
    pub(super) fn leave_out(&mut self, own: u32) -> Result<(), RunError> {
        if self.own != own {
            let reporting = self.changes.get_mut().report_tables_but_of(own);
            reporting.map_err(RunError::Foreign)?;
            self.own = own;
        }
        Ok(())
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
                    // That of a transaction whose tables were reported, or of an own one.
                    Ok(Some(Change::Generation(_))) => {}
                    Ok(Some(Change::Table { name, .. })) => {
                        changed.tables.insert(name);
                    }
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
