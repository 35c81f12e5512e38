//! One tap: a packet socket on one interface, with a ring of frames shared with the kernel.
//!
//! A ring rather than a receive queue, for three reasons. Its size is not limited by
//! `net.core.rmem_max`, which a user namespace can neither raise nor override. The kernel stamps
//! each frame when it writes it. And looking whether something came is a read of memory, where a
//! queue takes a system call per interface.

#![expect(
    unsafe_code,
    reason = "the ring is memory shared with the kernel, and its options have no safe wrapper"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::filter;

/// Octets of one frame: the kernel's headers of 80, and the packet's first octets.
const FRAME: usize = 256;
/// Octets of one block of frames: a whole number of pages with any page size up to 64 KiB.
const BLOCK: usize = 64 * 1024;
/// The frames of one block.
pub(super) const FRAMES_PER_BLOCK: usize = BLOCK / FRAME;

const PACKET_RX_RING: libc::c_int = 5;
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VERSION: libc::c_int = 10;
const TPACKET_V2: libc::c_int = 1;
const STATUS_KERNEL: u32 = 0;
const STATUS_USER: u32 = 1;
const OUTGOING: u8 = 4;

/// `struct tpacket_req`.
#[repr(C)]
struct Request {
    block_size: libc::c_uint,
    block_count: libc::c_uint,
    frame_size: libc::c_uint,
    frame_count: libc::c_uint,
}

/// `struct tpacket_stats`. Reading it sets the kernel's counters to zero.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    /// Packets that passed the filter, dropped ones included.
    packets: libc::c_uint,
    drops: libc::c_uint,
}

/// `struct tpacket2_hdr`, and the `sockaddr_ll` that follows it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    status: u32,
    length: u32,
    snapshot: u32,
    link_offset: u16,
    network_offset: u16,
    seconds: u32,
    nanoseconds: u32,
    vlan: [u16; 2],
    padding: [u8; 4],
    link: libc::sockaddr_ll,
}

/// A packet as the kernel handed it over.
pub(super) struct Frame<'a> {
    /// From the IP header on, at most [`filter::SNAPSHOT`] octets.
    pub(super) data: &'a [u8],
    /// Whether the host sent it by this interface, rather than received it.
    pub(super) outgoing: bool,
    /// When, by the clock of the machine, since the epoch.
    pub(super) stamp: Duration,
}

/// A packet socket and its ring.
#[derive(Debug)]
pub(super) struct Ring {
    socket: Socket,
    memory: NonNull<u8>,
    frames: usize,
    next: usize,
    /// Frames that the kernel is known to have reserved, less those read: what is still to come.
    /// Negative when more was read than was known of.
    pending: i64,
}

// SAFETY: the memory belongs to this value alone, and to the kernel, until it is unmapped on drop.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens a tap in the calling thread's network namespace, on the interface with this index.
    pub(super) fn open(interface: u32, blocks: usize) -> io::Result<Self> {
        // Protocol 0 receives nothing: no packet comes in before the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
        socket.attach_filter(&filter::program())?;
        set_option(&socket, PACKET_VERSION, &TPACKET_V2)?;
        let unsigned = |n: usize| libc::c_uint::try_from(n).expect("a ring has few blocks");
        let frames = blocks * FRAMES_PER_BLOCK;
        let request = Request {
            block_size: unsigned(BLOCK),
            block_count: unsigned(blocks),
            frame_size: unsigned(FRAME),
            frame_count: unsigned(frames),
        };
        set_option(&socket, PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of the ring just made.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                blocks * BLOCK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = Self {
            socket,
            memory: NonNull::new(memory.cast()).expect("a mapping is never at address 0"),
            frames,
            next: 0,
            pending: 0,
        };
        ring.bind(interface)?;
        Ok(ring)
    }

    fn bind(&self, interface: u32) -> io::Result<()> {
        // SAFETY: an all-zero sockaddr_ll is valid: integers and an array of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        // Only a tap of all protocols is shown what the host itself sends.
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface.cast_signed();
        // SAFETY: the address is a valid sockaddr_ll of the length given, and outlives the call.
        let bound = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if bound < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Hands over the frames that are ready, at most one turn of the ring.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&Frame<'_>)) {
        for _ in 0..self.frames {
            // SAFETY: `next` is below `frames`, so the frame lies inside the mapping.
            let frame = unsafe { self.memory.add(self.next * FRAME) };
            // SAFETY: a frame begins with its status word, aligned to 16 octets, which the kernel
            // and this program hand back and forth; it is only ever used as an atomic here.
            let status = unsafe { AtomicU32::from_ptr(frame.as_ptr().cast()) };
            if status.load(Ordering::Acquire) & STATUS_USER == 0 {
                return;
            }
            // SAFETY: the status says that the kernel has written the frame and leaves it alone
            // until it gets it back.
            let header: Header = unsafe { frame.cast().read() };
            let offset = usize::from(header.network_offset).min(FRAME);
            let length = (header.snapshot as usize).min(FRAME - offset);
            // SAFETY: offset and length stay inside the frame, by the two lines above.
            let data = unsafe { std::slice::from_raw_parts(frame.as_ptr().add(offset), length) };
            each(&Frame {
                data,
                outgoing: header.link.sll_pkttype == OUTGOING,
                stamp: Duration::new(header.seconds.into(), header.nanoseconds),
            });
            status.store(STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.frames;
            self.pending -= 1;
        }
    }

    /// Asks the kernel how many packets it has taken since the last time. Returns how many of
    /// them found the ring full and are lost.
    pub(super) fn account(&mut self) -> io::Result<u32> {
        let mut statistics = Statistics::default();
        let mut length = size_of::<Statistics>() as libc::socklen_t;
        // SAFETY: the buffer is a tpacket_stats, of the length given, and outlives the call.
        let got = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        self.pending += i64::from(statistics.packets) - i64::from(statistics.drops);
        Ok(statistics.drops)
    }

    /// Whether frames are known to be on their way that [`Self::drain`] has not handed over.
    ///
    /// Frames are reserved in order but written by several processors, so a finished one can sit
    /// behind one that is still being written.
    pub(super) fn is_behind(&self) -> bool {
        self.pending > 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping of this length was made when the ring was opened, and nothing
        // borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.frames * FRAME) };
    }
}

fn set_option<T>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value is a valid T of the length given, and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if set < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
