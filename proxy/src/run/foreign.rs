//! Changes of nftables that somebody else makes.

use std::io;
use std::thread;

use onehop_nft::{Change, Changes};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::RunError;
use super::comparing::Cause;
use crate::dataplane::TABLE;

/// Listens to the transactions of others in the network namespace in which it was opened.
///
/// It does so on a thread of its own: while the proxy reads or writes tables of many elements, a busy neighbour would
/// overflow the socket's buffer, and nobody would know whether the proxy's own tables were among what was changed.
pub(super) struct Foreign {
    told: UnboundedReceiver<Cause>,
    /// The port of the proxy's own socket, whose transactions are left out.
    pub(super) own: u32,
}

impl Foreign {
    /// Begins to listen to all transactions but those of the socket of this port.
    pub(super) fn subscribe(own: u32) -> Result<Self, RunError> {
        let mut changes = Changes::subscribe().map_err(RunError::Foreign)?;
        let reporting = changes.report_tables_but_of(own);
        reporting.map_err(RunError::Foreign)?;
        let system = |source| RunError::System {
            what: "wait for changes of nftables",
            source,
        };
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(system)?;
        let changes = {
            let _entered = runtime.enter();
            register(changes).map_err(system)?
        };
        let (tell, told) = unbounded_channel();
        let listening = move || runtime.block_on(listen(changes, tell));
        let thread = thread::Builder::new().name("nftables".to_owned());
        thread.spawn(listening).map_err(system)?;
        Ok(Self { told, own })
    }

    /// Waits until somebody changed the proxy's tables, or may have. `None`: this hears no more.
    async fn changed(&mut self) -> Option<Cause> {
        let mut cause = self.told.recv().await?;
        while let Ok(another) = self.told.try_recv() {
            cause = cause.max(another);
        }
        Some(cause)
    }
}

/// Waits for changes; for ever while nobody listens. One that hears no more is gone afterwards.
pub(super) async fn changed(foreign: &mut Option<Foreign>) -> Cause {
    let Some(listener) = foreign else {
        return std::future::pending().await;
    };
    let cause = listener.changed().await;
    cause.unwrap_or_else(|| {
        tracing::warn!("changes of nftables are not heard any more; listening anew");
        *foreign = None;
        Cause::Suspected
    })
}

/// Tells of transactions until nobody wants to know any more.
async fn listen(mut changes: AsyncFd<Changes>, tell: UnboundedSender<Cause>) {
    let mut transaction = Transaction::default();
    loop {
        let readable = tokio::select! {
            () = tell.closed() => return,
            readable = changes.readable_mut() => readable,
        };
        let Ok(mut ready) = readable else { return };
        loop {
            let cause = match ready.get_inner_mut().read() {
                Ok(Some(change)) => transaction.reported(&change),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("{}", super::chain(&error));
                    let _gone = tell.send(Cause::Suspected);
                    break;
                }
            };
            if let Some(cause) = cause {
                let _gone = tell.send(cause);
            }
        }
        let nothing = |_: &mut _| Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _cleared = ready.try_io(nothing);
    }
}

/// What was reported of the transaction that is being reported.
#[derive(Debug, Default)]
struct Transaction {
    concerns: bool,
}

impl Transaction {
    /// Takes a report, and says what follows from the transaction if that was its last one: a comparison before would
    /// be told of the rest of it afterwards, and compare again in vain.
    fn reported(&mut self, change: &Change) -> Option<Cause> {
        if let Change::Table { name, .. } = change {
            self.concerns |= name == TABLE;
            return None;
        }
        let known = std::mem::take(&mut self.concerns).then_some(Cause::Known);
        let suspected = matches!(change, Change::Lost).then_some(Cause::Suspected);
        known.or(suspected)
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

#[cfg(test)]
mod tests {
    use onehop_nft::{Family, Generation};

    use super::*;

    fn table(name: &str) -> Change {
        Change::Table {
            family: Some(Family::Ip6),
            name: name.to_owned(),
        }
    }

    fn end() -> Change {
        Change::Generation(Generation {
            id: 1,
            process: None,
            process_name: None,
            port: 0,
        })
    }

    fn causes(changes: &[Change]) -> Vec<Cause> {
        let mut transaction = Transaction::default();
        let reported = changes.iter();
        reported
            .filter_map(|change| transaction.reported(change))
            .collect()
    }

    #[test]
    fn a_transaction_in_the_proxys_tables_is_told_once_at_its_end() {
        assert_eq!(causes(&[table(TABLE), table("x"), table(TABLE)]), []);
        let whole = [table(TABLE), table("x"), table(TABLE), end()];
        assert_eq!(causes(&whole), [Cause::Known]);
    }

    #[test]
    fn what_others_do_in_their_own_tables_is_not_told() {
        let one_after_the_other = [table(TABLE), end(), table("x"), end(), end()];
        assert_eq!(causes(&one_after_the_other), [Cause::Known]);
    }

    #[test]
    fn what_was_lost_is_suspected_unless_it_is_known() {
        assert_eq!(causes(&[Change::Lost, end()]), [Cause::Suspected]);
        let known = [table(TABLE), Change::Lost, end()];
        assert_eq!(causes(&known), [Cause::Known]);
    }
}
