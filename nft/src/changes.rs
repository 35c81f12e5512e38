//! Noticing that somebody changed nftables, and which tables.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};

use crate::batch::{NFTABLES, operation};
use crate::decode::{self, Generation, Object};
use crate::error::Error;
use crate::netlink::{Malformed, Message, NetlinkError, Socket, kind, messages};
use crate::object::Family;

/// The bit of the group that hears of changes (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 1 << (7 - 1);

sockopt_impl!(
    /// A program that decides which messages a socket receives.
    AttachFilter,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_ATTACH_FILTER,
    libc::sock_fprog
);

/// What was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction was carried out. It may be one's own: see [`Generation::port`].
    Generation(Generation),
    /// A transaction changed something in a table: see [`Changes::report_tables_but_of`].
    Table {
        /// Its family; `None` for one that this crate does not know.
        family: Option<Family>,
        /// Its name.
        name: String,
    },
    /// Changes came faster than they were read, and some were lost: nobody knows whose.
    Lost,
}

impl Change {
    /// What a message reports, if anything.
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        match message.of_subsystem(NFTABLES) {
            None => Ok(None),
            Some(operation::NEW_GENERATION) => Ok(match decode::message(message)? {
                Object::Generation(generation) => Some(Self::Generation(generation)),
                _ => None,
            }),
            Some(_) => decode::table_of(message)
                .map(|found| found.map(|(family, name)| Self::Table { family, name })),
        }
    }
}

/// Every transaction in the network namespace in which this was opened, one's own included.
///
/// While anybody listens, the kernel reports each object of each transaction, which makes
/// transactions of many elements slower. This receives the reports' ends alone, unless
/// [`Changes::report_tables_but_of`] says more.
#[derive(Debug)]
pub struct Changes {
    socket: Socket,
    pending: VecDeque<Change>,
}

impl Changes {
    /// Begins to listen in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// If the kernel has no netfilter, or refuses.
    pub fn subscribe() -> Result<Self, Error> {
        let socket = Socket::with_groups(GROUP)?;
        filter(&socket, &mut only_generations())?;
        Ok(Self {
            socket,
            pending: VecDeque::new(),
        })
    }

    /// From now on also reports which tables a transaction changed, unless it is made by the socket
    /// of this port: one's own may be so large that its reports would overflow the buffer.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn report_tables_but_of(&mut self, port: u32) -> Result<(), Error> {
        filter(&self.socket, &mut all_but_of(port))
    }

    /// The next change, without waiting; `None` if there is none yet. The descriptor is readable
    /// when there is one; read until `None`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or a report is malformed.
    pub fn read(&mut self) -> Result<Option<Change>, Error> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(Some(change));
            }
            let bytes = match self.socket.receive(false) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(None),
                Err(NetlinkError::Lost) => return Ok(Some(Change::Lost)),
                Err(error) => return Err(error.into()),
            };
            for message in messages(bytes) {
                let change = Change::of(&message?)?;
                // A transaction mostly changes many objects of one table.
                if change != self.pending.back().cloned() {
                    self.pending.extend(change);
                }
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

/// Where a message's header has its type, and the port of the socket that made the change.
const TYPE_AT: u32 = 4;
const PORT_AT: u32 = 12;

/// Lets nothing through but new generations.
fn only_generations() -> Vec<libc::sock_filter> {
    vec![
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, TYPE_AT),
        step(EQUAL, 1, generation_type()),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
    ]
}

/// Lets everything through, and of this port's transactions new generations only.
fn all_but_of(port: u32) -> Vec<libc::sock_filter> {
    vec![
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, PORT_AT),
        // The filter reads big-endian numbers, the header's are the machine's.
        step(EQUAL, 2, port.to_be()),
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, TYPE_AT),
        step(EQUAL, 1, generation_type()),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
    ]
}

const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;

fn generation_type() -> u32 {
    kind::of(NFTABLES, operation::NEW_GENERATION).to_be().into()
}

fn step(code: u32, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt: 0,
        jf: jump_false,
        k,
    }
}

/// Decides what the kernel delivers: what nobody reads would overflow the buffer.
fn filter(socket: &Socket, program: &mut [libc::sock_filter]) -> Result<(), Error> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    let attached = setsockopt(&socket.as_fd(), AttachFilter, &program);
    attached.map_err(|errno| NetlinkError::Open(errno.into()).into())
}
