//! Taps on every interface of the lab, and the journeys of connections read from them.
//!
//! NAT rewrites addresses and ports but keeps the initial sequence number of a TCP connection, so
//! that number joins everything seen of one SYN, and of what answered it, into one [`Journey`]:
//! where it entered, where each address was rewritten, and where that was undone. The datagrams of
//! probes carry such a number in their payload, behind a [`DatagramHeader`]'s magic.
//!
//! - A tap sees a packet before the host's rules on its way in, and after them on its way out.
//!   What a host does to a packet is therefore the difference between two sightings. What it does
//!   to a packet of its own lies between the address that was called and the first sighting.
//! - A journey is complete or an error: packets that the kernel could not hand over are counted,
//!   and a journey of that time is [`TapError::Lost`].
//! - Only what begins or ends a connection is captured: SYN, SYN-ACK, RST, the datagrams of
//!   probes, and the ICMP errors that answer either. The filter runs in the kernel, so data costs next to nothing.

mod capture;
mod datagram;
mod display;
mod filter;
mod journey;
mod packet;
mod ring;
mod sample;
mod seen;
mod sequence;
mod store;

pub use capture::{TapError, TapStatistics, Taps, now};
pub use datagram::{DatagramHeader, Purpose};
pub use display::JourneyDisplay;
pub use journey::{Call, Half, Journey, Rewrite, What};
pub use packet::{Direction, Kind, Sighting};
pub use sample::Sample;
pub use seen::{Clocks, Loss, Seen};
pub use sequence::{SequenceError, choose_sequence};
