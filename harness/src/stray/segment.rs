//! TCP segments, written and read. Pure.

use std::net::IpAddr;

use etherparse::{TcpHeader, TcpHeaderSlice};
use serde::{Deserialize, Serialize};

/// What matters of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Of the source and of the destination.
    pub(super) ports: (u16, u16),
    /// The number of its first octet.
    pub(super) sequence: u32,
    /// The number of the octet that its sender waits for; 0 without ACK.
    pub(super) acknowledged: u32,
    /// What it is for.
    pub(super) flags: Flags,
    /// How many octets it carries.
    pub(super) length: usize,
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Flags {
    /// It opens a connection.
    Syn,
    /// It is part of an open one.
    Ack,
    /// Anything else.
    Other,
}

/// The window that a segment offers. Nobody makes use of it.
const WINDOW: u16 = 1024;

impl Segment {
    /// Its octets, with their checksum. What it carries is zeros.
    ///
    /// # Panics
    /// If the addresses are not of one family.
    pub(super) fn write(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut header = TcpHeader::new(self.ports.0, self.ports.1, self.sequence, WINDOW);
        header.syn = self.flags == Flags::Syn;
        header.ack = self.flags == Flags::Ack;
        header.acknowledgment_number = self.acknowledged;
        let carried = vec![0; self.length];
        let checksum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &carried)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &carried)
            }
            _ => panic!("{source} and {destination} are of two families"),
        };
        header.checksum = checksum.expect("a short segment");
        let mut octets = header.to_bytes().to_vec();
        octets.extend(carried);
        octets
    }

    /// The segment in these octets, if it is whole.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let header = TcpHeaderSlice::from_slice(octets).ok()?;
        let closes = header.rst() || header.fin();
        Some(Self {
            ports: (header.source_port(), header.destination_port()),
            sequence: header.sequence_number(),
            acknowledged: header.acknowledgment_number(),
            flags: match (header.syn(), header.ack()) {
                _ if closes => Flags::Other,
                (true, false) => Flags::Syn,
                (false, true) => Flags::Ack,
                _ => Flags::Other,
            },
            length: octets.len() - header.slice().len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_its_checksum_is_right() {
        let segment = Segment {
            ports: (80, 40_000),
            sequence: u32::MAX,
            acknowledged: 7,
            flags: Flags::Ack,
            length: 3,
        };
        let octets = segment.write([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!(Segment::read(&octets), Some(segment));
        // With the pseudo header, everything sums up to all ones.
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 23];
        let sum: u32 = pseudo
            .iter()
            .chain(&octets)
            .chain(&[0])
            .copied()
            .collect::<Vec<u8>>()
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_segment_cut_anywhere_is_none_or_shorter() {
        let segment = Segment {
            ports: (80, 40_000),
            sequence: 1,
            acknowledged: 0,
            flags: Flags::Syn,
            length: 2,
        };
        let whole = segment.write([1; 16].into(), [2; 16].into());
        for length in 0..whole.len() {
            let read = Segment::read(&whole[..length]);
            assert!(read.is_none_or(|read| read.length < segment.length));
        }
    }
}
