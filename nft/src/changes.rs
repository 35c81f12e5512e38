//! Noticing that somebody changed nftables.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};

use crate::batch::{NFTABLES, operation};
use crate::decode::{self, Generation, Object};
use crate::error::Error;
use crate::netlink::{NetlinkError, Socket, kind, messages};

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
    /// Changes came faster than they were read, and some were lost: nobody knows whose.
    Lost,
}

/// Every transaction in the network namespace in which this was opened, one's own included.
///
/// While anybody listens, the kernel reports each object of each transaction, which makes
/// transactions of many elements slower. This receives the reports' ends alone.
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
        only_generations(&socket)?;
        Ok(Self {
            socket,
            pending: VecDeque::new(),
        })
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
                if let Object::Generation(generation) = decode::message(&message?)? {
                    self.pending.push_back(Change::Generation(generation));
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

/// Makes the kernel deliver nothing but new generations: the reports of a large transaction's
/// elements would overflow the buffer, and nobody reads them.
fn only_generations(socket: &Socket) -> Result<(), Error> {
    // The filter reads big-endian numbers, the header's are the machine's.
    let wanted = kind::of(NFTABLES, operation::NEW_GENERATION).to_be();
    let step = |code: u32, jump_false: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt: 0,
        jf: jump_false,
        k,
    };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 4),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            u32::from(wanted),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    let attached = setsockopt(&socket.as_fd(), AttachFilter, &program);
    attached.map_err(|errno| NetlinkError::Open(errno.into()).into())
}
