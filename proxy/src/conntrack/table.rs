//! The kernel's table of UDP flows, of the network namespace in which the socket was opened.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::libc;
use onehop_nft::netlink::{NetlinkError, Socket};

use super::message::{self, DELETE, Entry, GET};
use super::{Flow, Serving};
use crate::model::Family;

/// A failure to read or change the table.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// There is no such socket.
    #[error("failed to open the kernel's connection tracking")]
    Open(#[source] NetlinkError),
    /// Flows cannot be listed.
    #[error("failed to list UDP flows")]
    List(#[source] NetlinkError),
    /// Flows cannot be removed.
    #[error("failed to remove {count} UDP flows, the first from {} to {}", .flow.source, .flow.destination)]
    Remove {
        /// How many.
        count: usize,
        /// The first of them.
        flow: Box<Flow>,
        /// Why not.
        #[source]
        source: NetlinkError,
    },
}

/// What a clean-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// UDP flows that were looked at.
    pub listed: usize,
    /// Those that were removed.
    pub removed: usize,
}

/// A socket to the kernel's connection tracking.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
}

impl Table {
    /// Opens a socket in the calling thread's network namespace. It needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// When the kernel has no netfilter over netlink.
    pub fn open() -> Result<Self, ConntrackError> {
        let socket = Socket::open().map_err(ConntrackError::Open)?;
        Ok(Self { socket })
    }

    /// Removes the flows of one family that are stale: see [`Serving::is_stale`]. That is asked once more of each
    /// right before it is removed, with `serving` locked until it is: what is withheld is not touched from then on.
    ///
    /// # Errors
    /// When flows cannot be listed, or some cannot be removed; all others are removed nevertheless.
    pub fn clean(
        &mut self,
        family: Family,
        serving: &Mutex<Serving>,
        node_addresses: &BTreeSet<IpAddr>,
    ) -> Result<Removed, ConntrackError> {
        let listed = Cell::new(0);
        let serving = || serving.lock().expect("no holder panics");
        let stale = |flow: &Flow| {
            listed.set(listed.get() + 1);
            serving().is_stale(flow, node_addresses)
        };
        let entries = self.list(family, stale).map_err(ConntrackError::List)?;
        let (mut removed, mut failed) = (0, None);
        for entry in &entries {
            let serving = serving();
            if serving.is_stale(&entry.flow, node_addresses) {
                match self.remove(family, entry) {
                    Ok(was_there) => removed += usize::from(was_there),
                    Err(error) => failed.get_or_insert((0, entry.flow, error)).0 += 1,
                }
            }
        }
        if let Some((count, flow, source)) = failed {
            let flow = Box::new(flow);
            return Err(ConntrackError::Remove {
                count,
                flow,
                source,
            });
        }
        Ok(Removed {
            listed: listed.get(),
            removed,
        })
    }

    /// The UDP flows of a family that are wanted. The others are not kept while the kernel lists.
    fn list(
        &mut self,
        family: Family,
        wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<Entry>, NetlinkError> {
        self.socket
            .dump(GET, number(family), message::only_udp, |message| {
                Ok(message::entry(message)?.filter(|entry| wanted(&entry.flow)))
            })
    }

    /// Removes a flow. Returns whether it was still there.
    fn remove(&mut self, family: Family, entry: &Entry) -> Result<bool, NetlinkError> {
        let name = |out: &mut _| message::put_entry(out, entry);
        let deleted = self
            .socket
            .request(DELETE, 0, number(family), name, |_| Ok(()));
        match deleted {
            Ok(()) => Ok(true),
            // It ended by itself.
            Err(error) if error.refused() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The number of a family in netlink's messages.
fn number(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    u8::try_from(number).expect("a small number")
}
