//! A backend's responder: it answers every datagram of a probe, in the order in which they came, by
//! the address that it was asked at.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::netns::Namespace;
use crate::probe::outcome::Identity;
use crate::tap::{DatagramHeader, Purpose};

/// Room for the datagrams of all waves that may be under way at once. The kernel gives as much of
/// it as the machine allows; that it was not enough is told by [`Said::lost`].
const BUFFER: usize = 1 << 20;

/// What an answer says, behind its header.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::probe) struct Said {
    /// Who answers, and what it saw.
    #[serde(flatten)]
    pub(in crate::probe) identity: Identity,
    /// How many datagrams have come so far and were not answered, for want of room or because
    /// sending failed. No proxy has dropped those.
    pub(in crate::probe) lost: u32,
}

/// A responder that answers until it is dropped.
#[derive(Debug)]
pub(super) struct Responder {
    /// Shared with the task, so that the port is free as soon as this is dropped.
    socket: Arc<Mutex<Option<UdpSocket>>>,
    task: JoinHandle<()>,
}

impl Responder {
    /// Listens on the template's port, and answers with the template filled in.
    pub(super) fn open(host: &Namespace, template: Identity) -> io::Result<Self> {
        let socket = host.within(|| telling_socket(template.port))??;
        let socket = UdpSocket::from_std(socket.into())?;
        let socket = Arc::new(Mutex::new(Some(socket)));
        let task = tokio::spawn({
            let socket = Arc::clone(&socket);
            async move {
                let mut failed = 0;
                poll_fn(|context| poll_answer(&socket, &template, &mut failed, context)).await;
            }
        });
        Ok(Self { socket, task })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
        drop(lock(&self.socket).take());
    }
}

fn lock(socket: &Mutex<Option<UdpSocket>>) -> MutexGuard<'_, Option<UdpSocket>> {
    // A panic elsewhere leaves the socket as it was.
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what has come; ready when there is no socket any more. `failed` counts the answers that
/// could not be sent.
fn poll_answer(
    socket: &Mutex<Option<UdpSocket>>,
    template: &Identity,
    failed: &mut u32,
    context: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let guard = lock(socket);
        let Some(socket) = &*guard else {
            return Poll::Ready(());
        };
        let asked = match ready!(socket.poll_recv_ready(context)) {
            Ok(()) => socket.try_io(Interest::READABLE, || receive(socket)),
            Err(error) => Err(error),
        };
        let answered = match asked {
            Ok(Some(asked)) => asked.answer(socket, template, *failed),
            Ok(None) => Ok(()),
            // Nothing more has come: the next turn waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            *failed += 1;
            tracing::warn!(%error, pod = template.pod, "a backend failed to answer");
        }
    }
}

/// A datagram of a probe, and what the kernel said of it.
struct Asked {
    nonce: u32,
    /// How many octets it had behind its UDP header.
    octets: usize,
    peer: SockaddrIn6,
    at: Ipv6Addr,
    ttl: u8,
    overflowed: u32,
}

impl Asked {
    fn answer(&self, socket: &UdpSocket, template: &Identity, failed: u32) -> io::Result<()> {
        let said = Said {
            identity: Identity {
                peer: SocketAddr::from((self.peer.ip(), self.peer.port())),
                ttl: self.ttl,
                ..template.clone()
            },
            lost: self.overflowed.saturating_add(failed),
        };
        let (purpose, nonce) = (Purpose::Answer, self.nonce);
        let header = DatagramHeader { purpose, nonce }.to_bytes();
        let mut said = serde_json::to_vec(&said)?;
        // As long as the question: what is longer than any answer asks whether the way carries as much. JSON may end with
        // blanks.
        let rest = self.octets.saturating_sub(header.len());
        said.resize(rest.max(said.len()), b' ');
        let from = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: self.at.octets(),
            },
            ipi6_ifindex: 0,
        };
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(&header), IoSlice::new(&said)],
            &[ControlMessage::Ipv6PacketInfo(&from)],
            MsgFlags::empty(),
            Some(&self.peer),
        )?;
        Ok(())
    }
}

/// The next datagram, of which the header is read; `None` of one that is no probe's.
fn receive(socket: &UdpSocket) -> io::Result<Option<Asked>> {
    let mut payload = [0; DatagramHeader::LENGTH];
    let mut slices = [IoSliceMut::new(&mut payload)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int, u32);
    let received = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        // With the second, the kernel tells the length that it came with.
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
    )?;
    let (mut at, mut ttl, mut overflowed) = (None, None, 0);
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                at = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                ttl = u8::try_from(value).ok();
            }
            ControlMessageOwned::RxqOvfl(count) => overflowed = count,
            _ => {}
        }
    }
    let (peer, octets) = (received.address, received.bytes);
    let Some(DatagramHeader {
        purpose: Purpose::Ask,
        nonce,
    }) = DatagramHeader::parse(&payload[..octets.min(payload.len())])
    else {
        return Ok(None);
    };
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "the kernel did not say enough");
    Ok(Some(Asked {
        nonce,
        octets,
        peer: peer.ok_or_else(missing)?,
        at: at.ok_or_else(missing)?,
        ttl: ttl.ok_or_else(missing)?,
        overflowed,
    }))
}

/// A socket that tells of each datagram its destination and its TTL or hop limit, and how many were
/// lost. Those of IPv4 come with mapped addresses.
fn telling_socket(port: u16) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.set_recv_buffer_size(BUFFER)?;
    setsockopt(&socket.as_fd(), sockopt::Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket.as_fd(), sockopt::Ipv6RecvHopLimit, &true)?;
    setsockopt(&socket.as_fd(), sockopt::RxqOvfl, &1)?;
    setsockopt(&socket.as_fd(), sockopt::Ipv4RecvTtl, &true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}
