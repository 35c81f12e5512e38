//! The kernel's table of UDP flows, of the network namespace in which the socket was opened.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::message::{self, Answer, Entry};
use super::{Flow, Serving};
use crate::model::Family;

/// Room for one datagram of a dump: the kernel fills at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// Deletions in one datagram. Their acknowledgements must fit into the socket's buffer.
const BATCH: usize = 64;
/// How long the kernel may take for an answer. It answers at once, or never.
const PATIENCE_SECONDS: i64 = 5;
/// How often a dump is repeated during which entries came and went.
const ATTEMPTS: u32 = 5;

/// A failure to read or change the table.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// There is no such socket, or it broke.
    #[error("failed to talk to the kernel's connection tracking")]
    Socket(#[source] io::Error),
    /// The kernel refuses to list flows.
    #[error("failed to list UDP flows")]
    List(#[source] io::Error),
    /// The kernel refuses to remove a flow.
    #[error("failed to remove {count} UDP flows, the first from {} to {}", .flow.source, .flow.destination)]
    Remove {
        /// How many.
        count: usize,
        /// The first of them.
        flow: Flow,
        /// Why not.
        #[source]
        source: io::Error,
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
    socket: OwnedFd,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Table {
    /// Opens a socket. It needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// When the kernel has no netfilter over netlink.
    pub fn open() -> Result<Self, ConntrackError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(broken)?;
        let patience = TimeVal::seconds(PATIENCE_SECONDS);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(broken)?;
        Ok(Self {
            socket,
            sequence: 0,
            datagram: vec![0; DATAGRAM],
        })
    }

    /// Removes the flows that are stale, of one family.
    ///
    /// # Errors
    /// When flows cannot be listed or removed; others are removed nevertheless.
    pub fn clean(
        &mut self,
        family: Family,
        serving: &Serving,
        node_addresses: &BTreeSet<IpAddr>,
    ) -> Result<Removed, ConntrackError> {
        let mut done = Removed::default();
        let stale = self.list(family, |flow| {
            done.listed += 1;
            serving.is_stale(flow, node_addresses)
        })?;
        done.removed = self.remove(&stale)?;
        Ok(done)
    }

    /// The UDP flows of a family that are wanted.
    fn list(
        &mut self,
        family: Family,
        mut wanted: impl FnMut(&Flow) -> bool,
    ) -> Result<Vec<Entry>, ConntrackError> {
        let mut found = Vec::new();
        for _ in 0..ATTEMPTS {
            found.clear();
            if self.dump(family, &mut found, &mut wanted)? {
                break;
            }
            // Some were missed. After the last attempt those that were found are better than none.
        }
        Ok(found)
    }

    /// Collects flows once; whether the table stood still meanwhile.
    fn dump(
        &mut self,
        family: Family,
        found: &mut Vec<Entry>,
        wanted: &mut impl FnMut(&Flow) -> bool,
    ) -> Result<bool, ConntrackError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&message::dump_request(family, sequence))?;
        let mut consistent = true;
        loop {
            let length = self.receive()?;
            for message in message::messages(&self.datagram[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= !message.interrupted;
                match message.answer {
                    Answer::Entry(body) => {
                        found.extend(message::entry(body).filter(|entry| wanted(&entry.flow)));
                    }
                    Answer::Done(0) => return Ok(consistent),
                    Answer::Done(error) => {
                        return Err(ConntrackError::List(io::Error::from_raw_os_error(error)));
                    }
                }
            }
        }
    }

    /// Removes flows; how many were still there.
    fn remove(&mut self, entries: &[Entry]) -> Result<usize, ConntrackError> {
        let mut removed = 0;
        let mut failed: Option<(usize, Flow, i32)> = None;
        for batch in entries.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut request = Vec::new();
            for entry in batch {
                self.sequence = self.sequence.wrapping_add(1);
                message::delete_request(&mut request, entry, self.sequence);
            }
            self.send(&request)?;
            let mut answered = 0;
            while answered < batch.len() {
                let length = self.receive()?;
                for message in message::messages(&self.datagram[..length]) {
                    let index = message.sequence.wrapping_sub(first) as usize;
                    let (Some(entry), Answer::Done(error)) = (batch.get(index), message.answer)
                    else {
                        continue;
                    };
                    answered += 1;
                    match Errno::from_raw(error) {
                        _ if error == 0 => removed += 1,
                        // It ended by itself.
                        Errno::ENOENT => {}
                        _ => failed.get_or_insert((0, entry.flow, error)).0 += 1,
                    }
                }
            }
        }
        match failed {
            None => Ok(removed),
            Some((count, flow, error)) => Err(ConntrackError::Remove {
                count,
                flow,
                source: io::Error::from_raw_os_error(error),
            }),
        }
    }

    fn send(&self, request: &[u8]) -> Result<(), ConntrackError> {
        send(self.socket.as_raw_fd(), request, MsgFlags::empty()).map_err(broken)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, ConntrackError> {
        loop {
            match recv(
                self.socket.as_raw_fd(),
                &mut self.datagram,
                MsgFlags::empty(),
            ) {
                Err(Errno::EINTR) => {}
                received => return received.map_err(broken),
            }
        }
    }
}

fn broken(errno: Errno) -> ConntrackError {
    ConntrackError::Socket(errno.into())
}
