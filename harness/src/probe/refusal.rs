//! Telling an ICMP refusal from a TCP reset.
//!
//! Both end a `connect` with "connection refused". With `IP_RECVERR` the kernel also puts the
//! ICMP message on the socket's error queue; a reset leaves the queue empty.

#![expect(
    unsafe_code,
    reason = "the error queue is read by recvmsg with ancillary data"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::Socket;

use super::outcome::Refusal;

/// Asks the kernel to keep the ICMP errors of this socket.
pub(super) fn keep_icmp_errors(socket: &Socket, remote: SocketAddr) -> io::Result<()> {
    let (level, option) = match remote {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The ICMP message that ended this socket's connect, if one did.
pub(super) fn refusal_of(socket: &Socket) -> io::Result<Option<Refusal>> {
    // The quoted packet goes to `data`, the error and its sender to `control`.
    let mut data = [0_u8; 512];
    let mut control = [0_u64; 64];
    let mut slice = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: an all-zero msghdr is valid; its pointers are set to live buffers below.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control);
    // SAFETY: all buffers of the message live until the end of this function.
    let received = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut message,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if received < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock {
            Ok(None)
        } else {
            Err(error)
        };
    }
    // SAFETY: the message was filled in by the kernel, and `control` is aligned for a cmsghdr.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header in `control`.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        let is_error = (level == libc::SOL_IP && kind == libc::IP_RECVERR)
            || (level == libc::SOL_IPV6 && kind == libc::IPV6_RECVERR);
        if is_error {
            // SAFETY: the kernel puts a sock_extended_err there, followed by a socket address.
            let error = unsafe {
                libc::CMSG_DATA(header)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned()
            };
            let icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6];
            if icmp.contains(&error.ee_origin) {
                // SAFETY: as above; the sender's address follows the error.
                let from = unsafe { offender(header) };
                let (kind, code) = (error.ee_type, error.ee_code);
                return Ok(Some(Refusal::Icmp { kind, code, from }));
            }
        }
        // SAFETY: as for the first header.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(None)
}

/// The address that follows the error in a control message.
///
/// # Safety
/// The header must be one that the kernel filled in for `IP_RECVERR` or `IPV6_RECVERR`.
unsafe fn offender(header: *const libc::cmsghdr) -> IpAddr {
    // SAFETY: the caller says that the error and an address of its family are there.
    unsafe {
        let address = libc::CMSG_DATA(header).add(mem::size_of::<libc::sock_extended_err>());
        match i32::from(address.cast::<libc::sa_family_t>().read_unaligned()) {
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Ipv6Addr::from(v6.sin6_addr.s6_addr).into()
            }
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into()
            }
            _ => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}
