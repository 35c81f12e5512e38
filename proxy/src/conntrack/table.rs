//! The kernel's table of UDP flows, of the network namespace in which the socket was opened.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::libc;
use onehop_nft::netlink::{Message, NetlinkError, Socket};

use super::message::{self, COUNT, DELETE, Entry, GET};
use super::{Flow, Serving};
use crate::model::Family;

/// `AF_UNSPEC`, of which a list is of every family.
const ALL_FAMILIES: u8 = 0;
/// As many entries are sent sooner than the kernel walks through its table once more.
const FEW: u32 = 10_000;

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

/// What a clean-up of a family did.
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

    /// Removes the flows that are stale: see [`Serving::is_stale`]. That is asked once more of each right before it is
    /// removed, with `serving` locked until it is: what is withheld is not touched from then on.
    ///
    /// What was done, by family, of those that something is said of.
    ///
    /// # Errors
    /// When flows cannot be listed, or some cannot be removed; all others are removed nevertheless.
    pub fn clean(
        &mut self,
        serving: &Mutex<Serving>,
        node_addresses: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<Family, Removed>, ConntrackError> {
        let serving = || serving.lock().expect("no holder panics");
        let families = serving().families();
        let none = families.iter().map(|family| (*family, Removed::default()));
        let done = RefCell::new(none.collect::<BTreeMap<_, _>>());
        let stale = |flow: &Flow| {
            let mut done = done.borrow_mut();
            done.entry(flow.family()).or_default().listed += 1;
            serving().is_stale(flow, node_addresses)
        };
        let entries = self.list(&families, stale).map_err(ConntrackError::List)?;
        let mut done = done.into_inner();
        let mut failed = None;
        for entry in &entries {
            let serving = serving();
            if serving.is_stale(&entry.flow, node_addresses) {
                let family = entry.flow.family();
                match self.remove(family, entry) {
                    Ok(was_there) => {
                        done.entry(family).or_default().removed += usize::from(was_there);
                    }
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
        Ok(done)
    }

    /// The UDP flows of these families that are wanted. The others are not kept while the kernel lists.
    ///
    /// The kernel walks through the table of the whole machine, however little of it is this namespace's: ten milliseconds,
    /// in which it could send some ten thousand entries. It leaves out what is not UDP in one family at a time only.
    fn list(
        &mut self,
        families: &BTreeSet<Family>,
        wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<Entry>, NetlinkError> {
        let read = |message: &Message<'_>| {
            Ok(message::entry(message)?.filter(|entry| wanted(&entry.flow)))
        };
        match (self.count()?, families.len()) {
            (Some(0), _) => return Ok(Vec::new()),
            (Some(..=FEW), 2..) => return self.socket.dump(GET, ALL_FAMILIES, |_| (), read),
            _ => {}
        }
        let mut entries = Vec::new();
        for family in families {
            let family = number(*family);
            entries.extend(self.socket.dump(GET, family, message::only_udp, read)?);
        }
        Ok(entries)
    }

    /// How many entries there are, of all families and protocols; `None` if the kernel does not say.
    fn count(&mut self) -> Result<Option<u32>, NetlinkError> {
        let mut count = None;
        let asked = self.socket.request(
            COUNT,
            0,
            ALL_FAMILIES,
            |_| (),
            |message| {
                count = message::count(message)?;
                Ok(())
            },
        );
        match asked {
            Err(error) if error.refused().is_some() => Ok(None),
            asked => asked.map(|()| count),
        }
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
