//! Backends that say who they are and send back what they get, by TCP and by UDP.

use std::io;
use std::net::{Ipv6Addr, TcpListener as StdListener, UdpSocket as StdUdp};

use onehop_harness::netns::Namespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The longest name of a pod, and the bytes of a number.
pub(crate) const NAME: usize = 16;
pub(crate) const NUMBER: usize = 4;

/// Opens both in a pod.
pub(crate) fn open(
    pod: &Namespace,
    (tcp, udp): (u16, u16),
    tasks: &mut JoinSet<()>,
) -> io::Result<()> {
    let any = Ipv6Addr::UNSPECIFIED;
    let (listener, socket) = pod.within(|| -> io::Result<_> {
        Ok((StdListener::bind((any, tcp))?, StdUdp::bind((any, udp))?))
    })??;
    listener.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    let name = padded(pod.name());
    tasks.spawn(serve_tcp(TcpListener::from_std(listener)?, name));
    tasks.spawn(serve_udp(UdpSocket::from_std(socket)?, name));
    Ok(())
}

fn padded(name: &str) -> [u8; NAME] {
    let mut padded = [b' '; NAME];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// The name that an answer begins with.
pub(crate) fn name(answer: &[u8]) -> String {
    String::from_utf8_lossy(&answer[..NAME]).trim().to_owned()
}

async fn serve_tcp(listener: TcpListener, name: [u8; NAME]) {
    let mut streams = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            streams.spawn(answer(stream, name));
        }
        while streams.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, name: [u8; NAME]) -> io::Result<()> {
    stream.write_all(&name).await?;
    let mut number = [0; NUMBER];
    loop {
        stream.read_exact(&mut number).await?;
        stream.write_all(&number).await?;
    }
}

async fn serve_udp(socket: UdpSocket, name: [u8; NAME]) {
    let mut buffer = [0; NAME + NUMBER];
    buffer[..NAME].copy_from_slice(&name);
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer[NAME..]).await else {
            // An ICMP error of an earlier answer.
            continue;
        };
        let _ = socket.send_to(&buffer[..NAME + length], peer).await;
    }
}
