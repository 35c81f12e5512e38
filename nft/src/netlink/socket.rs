//! A netlink socket of netfilter.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SndBuf, SndBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    getsockopt, recvmsg, send, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use nix::{libc, setsockopt_impl, sockopt_impl};

use super::build::{Builder, flags, kind};
use super::parse::{Acknowledgement, Malformed, Message, acknowledgement, messages};

/// How many bytes one reception can take. The kernel makes the parts of a dump as large as the
/// receiver's buffer is, up to 32 KiB.
const RECEPTION: usize = 64 * 1024;

/// How long an answer is waited for. The kernel answers before a send returns, so this never
/// passes unless something is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a socket's send buffer must have beyond the data (`netlink_sendmsg`).
const OVERHEAD: usize = 32;

/// How often a dump is begun anew because the state changed while it ran.
const DUMP_ATTEMPTS: usize = 100;

sockopt_impl!(
    /// Acknowledgements carry the kernel's explanation.
    ExtendedAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_EXT_ACK,
    bool
);
sockopt_impl!(
    /// Errors do not carry the request that they are about.
    CappedAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_CAP_ACK,
    bool
);

/// Why the kernel could not be asked, or what it said.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be made.
    #[error("failed to open a netlink socket of netfilter")]
    Open(#[source] io::Error),
    /// A request could not be sent.
    #[error("failed to send to netfilter")]
    Send(#[source] io::Error),
    /// A request is larger than the socket's send buffer may become.
    #[error(
        "a request of {size} bytes is larger than the limit of {limit} bytes; raise net.core.wmem_max \
         or run with CAP_NET_ADMIN in the initial user namespace"
    )]
    TooLarge {
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// An answer could not be received.
    #[error("failed to receive from netfilter")]
    Receive(#[source] io::Error),
    /// Answers or events were lost, because they came faster than they were read (`ENOBUFS`).
    #[error("answers of netfilter were lost, because they exceeded the receive buffer")]
    Lost,
    /// No answer came.
    #[error("netfilter did not answer")]
    NoAnswer,
    /// A dump never ended without a change of the state.
    #[error("the state of netfilter changed during each of many dumps")]
    Unsteady,
    /// The kernel refused.
    #[error("{}", refusal(.0))]
    Refused(Acknowledgement),
    /// An answer could not be understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl NetlinkError {
    /// The number of the error that the kernel refused with.
    #[must_use]
    pub fn refused(&self) -> Option<i32> {
        match self {
            Self::Refused(answer) => Some(answer.errno),
            _ => None,
        }
    }
}

/// An error's text: the kernel's words if there are any, and the meaning of its number.
pub(crate) fn refusal(answer: &Acknowledgement) -> String {
    let errno = Errno::from_raw(answer.errno);
    match &answer.text {
        Some(text) => format!("{text} ({errno})"),
        None => errno.to_string(),
    }
}

/// A socket of the network namespace in which it was made. It may be used from any thread.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    port: u32,
    sequence: u32,
    reception: Vec<u8>,
    request: Builder,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// If the kernel has no netfilter, or refuses.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::with_groups(0)
    }

    /// Opens a socket that also receives events: bit N-1 is that of group N.
    ///
    /// # Errors
    ///
    /// As [`Socket::open`], and without `CAP_NET_ADMIN`.
    pub fn with_groups(groups: u32) -> Result<Self, NetlinkError> {
        Self::prepared(groups).map_err(|errno| NetlinkError::Open(errno.into()))
    }

    fn prepared(groups: u32) -> nix::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        setsockopt(&socket, ExtendedAck, &true)?;
        setsockopt(&socket, CappedAck, &true)?;
        let patience = i64::try_from(PATIENCE.as_secs()).expect("some seconds");
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(patience, 0))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let port = getsockname::<NetlinkAddr>(socket.as_raw_fd())?.pid();
        Ok(Self {
            socket,
            port,
            sequence: 0,
            reception: vec![0; RECEPTION],
            request: Builder::new(),
        })
    }

    /// The number by which events name this socket as the one that made a change.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// How many bytes one send may have at most, after the buffer was made as large as is wanted
    /// and allowed.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn capacity(&self, wanted: usize) -> Result<usize, NetlinkError> {
        let limit = || -> nix::Result<usize> {
            Ok(getsockopt(&self.socket, SndBuf)?.saturating_sub(OVERHEAD))
        };
        let failed = |errno: Errno| NetlinkError::Send(errno.into());
        if limit().map_err(failed)? < wanted {
            // The kernel doubles the number. What it does not allow shows in the second look.
            let forced = setsockopt(&self.socket, SndBufForce, &(wanted + OVERHEAD));
            if forced.is_err() {
                setsockopt(&self.socket, SndBuf, &(wanted + OVERHEAD)).map_err(failed)?;
            }
        }
        limit().map_err(failed)
    }

    /// Sends messages, as one piece.
    ///
    /// # Errors
    ///
    /// If they are too large, or the kernel refuses to take them.
    pub fn send(&mut self, messages: &[u8]) -> Result<(), NetlinkError> {
        let limit = self.capacity(messages.len())?;
        let too_large = NetlinkError::TooLarge {
            size: messages.len(),
            limit,
        };
        if limit < messages.len() {
            return Err(too_large);
        }
        loop {
            return match send(self.socket.as_raw_fd(), messages, MsgFlags::empty()) {
                Ok(_) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(Errno::EMSGSIZE) => Err(too_large),
                Err(errno) => Err(NetlinkError::Send(errno.into())),
            };
        }
    }

    /// Receives some messages; `None` if there are none and it should not wait.
    ///
    /// # Errors
    ///
    /// If some were lost, if none came in time, or if the kernel refuses.
    pub fn receive(&mut self, wait: bool) -> Result<Option<&[u8]>, NetlinkError> {
        // With MSG_TRUNC the length is the message's own, also where the buffer is shorter.
        let mut how = MsgFlags::MSG_TRUNC;
        how.set(MsgFlags::MSG_DONTWAIT, !wait);
        let length = loop {
            let mut buffer = [IoSliceMut::new(&mut self.reception)];
            match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer, None, how) {
                // Other processes can send to this port as well. Only the kernel is believed.
                Ok(received) if received.address.is_some_and(|sender| sender.pid() != 0) => {}
                Ok(received) => break received.bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if wait => return Err(NetlinkError::NoAnswer),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::ENOBUFS) => return Err(NetlinkError::Lost),
                Err(errno) => return Err(NetlinkError::Receive(errno.into())),
            }
        };
        let answer = self.reception.get(..length);
        answer
            .map(Some)
            .ok_or(Malformed("an answer longer than the buffer").into())
    }

    /// Throws away what was received and not read.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn drain(&mut self) -> Result<(), NetlinkError> {
        loop {
            match self.receive(false) {
                Ok(None) => return Ok(()),
                Ok(Some(_)) | Err(NetlinkError::Lost | NetlinkError::Malformed(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks one thing, and waits for the acknowledgement. Messages that answer come first, and go to
    /// `each`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or the answer is malformed.
    pub fn request(
        &mut self,
        kind: u16,
        message_flags: u16,
        family: u8,
        body: impl FnOnce(&mut Builder),
        each: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), NetlinkError> {
        self.ask(kind, message_flags | flags::ACK, family, body)?;
        self.answers(each).map(|_| ())
    }

    /// Asks for all objects of a kind: each message goes to `each`, and the results are given. It
    /// begins anew if the kernel says that the state changed meanwhile.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, an answer is malformed, or the state never stays the same.
    pub fn dump<T>(
        &mut self,
        kind: u16,
        family: u8,
        body: impl Fn(&mut Builder),
        each: impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let (all, false) = self.dump_once(kind, family, &body, &each)? {
                return Ok(all);
            }
        }
        Err(NetlinkError::Unsteady)
    }

    /// The same, once. Also whether the kernel says that the state changed meanwhile.
    pub(crate) fn dump_once<T>(
        &mut self,
        kind: u16,
        family: u8,
        body: impl Fn(&mut Builder),
        each: impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<(Vec<T>, bool), NetlinkError> {
        let mut all = Vec::new();
        self.ask(kind, flags::DUMP, family, body)?;
        let interrupted = self.answers(|message| {
            all.extend(each(message)?);
            Ok(())
        })?;
        Ok((all, interrupted))
    }

    fn ask(
        &mut self,
        kind: u16,
        message_flags: u16,
        family: u8,
        body: impl FnOnce(&mut Builder),
    ) -> Result<(), NetlinkError> {
        self.drain()?;
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        request.message(kind, message_flags, self.sequence, (family, 0), body);
        let sent = self.send(request.as_bytes());
        self.request = request;
        sent
    }

    /// Reads the answers to the last request to their end. True if the state changed meanwhile.
    fn answers(
        &mut self,
        mut each: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, NetlinkError> {
        let sequence = self.sequence;
        let mut interrupted = false;
        loop {
            let bytes = self.receive(true)?.unwrap_or_default();
            for message in messages(bytes) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & flags::DUMP_INTERRUPTED != 0;
                match acknowledgement(&message)? {
                    Some(answer) if answer.errno != 0 => return Err(NetlinkError::Refused(answer)),
                    Some(_) => return Ok(interrupted),
                    None if message.kind == kind::DONE => return Ok(interrupted),
                    None => each(&message)?,
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
