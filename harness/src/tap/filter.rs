//! The packet filter that runs in the kernel: what a tap hands over at all.

use socket2::SockFilter;

use super::datagram::DatagramHeader;

/// How many octets of a packet are kept: an IPv6 header, an ICMPv6 header, the IPv6 header that it
/// quotes and the TCP header in there are 108, and so they are with a UDP header and that of a
/// probe, and 8 more where that is a fragment.
pub(super) const SNAPSHOT: u32 = 128;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD_INDEXED: u16 = 0x40;
const LOAD_BYTE_INDEXED: u16 = 0x50;
const LOAD_INDEX_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The offset by which a filter asks for the packet's type (to us, from us, to somebody else).
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
/// A frame for another machine, which a bridge floods to every port while it does not know where
/// that machine is. The host ignores it, and so does its tap.
const OTHER_HOST: u32 = 3;

const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMP: u32 = 1;
const FRAGMENT: u32 = 44;
const ICMP6: u32 = 58;
const SYN: u32 = 0x02;
const RST: u32 = 0x04;

/// Where a row goes on: at the next one, or at one of two others.
enum Then {
    Next,
    Jump { yes: usize, no: usize },
}
use Then::{Jump, Next};

const ACCEPT: usize = 44;
const DROP: usize = 45;
/// The last question about a packet.
const DECIDE: Then = Jump {
    yes: ACCEPT,
    no: DROP,
};

/// Offsets count from the IP header. Jumps name rows of this table, by their position.
#[rustfmt::skip]
const ROWS: [(u16, u32, Then); 46] = [
    /*  0 */ (LOAD_WORD, PACKET_TYPE, Next),
    /*  1 */ (JUMP_EQUAL, OTHER_HOST, Jump { yes: DROP, no: 2 }),
    /*  2 */ (LOAD_BYTE, 0, Next),
    /*  3 */ (AND, 0xf0, Next),
    /*  4 */ (JUMP_EQUAL, 0x40, Jump { yes: 5, no: 22 }),
    // IPv4. A later fragment has no transport header to look at.
    /*  5 */ (LOAD_HALF, 6, Next),
    /*  6 */ (JUMP_BITS, 0x1fff, Jump { yes: DROP, no: 7 }),
    /*  7 */ (LOAD_INDEX_HEADER_LENGTH, 0, Next),
    /*  8 */ (LOAD_BYTE, 9, Next),
    /*  9 */ (JUMP_EQUAL, TCP, Jump { yes: 10, no: 15 }),
    /* 10 */ (LOAD_BYTE_INDEXED, 13, Next),
    /* 11 */ (JUMP_BITS, SYN, Jump { yes: ACCEPT, no: 12 }),
    /* 12 */ (JUMP_BITS, RST, Jump { yes: 13, no: DROP }),
    /* 13 */ (LOAD_WORD_INDEXED, 4, Next),
    /* 14 */ (JUMP_EQUAL, 0, DECIDE),
    /* 15 */ (JUMP_EQUAL, UDP, Jump { yes: 16, no: 18 }),
    /* 16 */ (LOAD_WORD_INDEXED, 8, Next),
    /* 17 */ (JUMP_EQUAL, DatagramHeader::MAGIC, DECIDE),
    /* 18 */ (JUMP_EQUAL, ICMP, Jump { yes: 19, no: DROP }),
    /* 19 */ (LOAD_BYTE_INDEXED, 0, Next),
    /* 20 */ (JUMP_EQUAL, 3, Jump { yes: ACCEPT, no: 21 }),
    /* 21 */ (JUMP_EQUAL, 11, DECIDE),
    // IPv6. Of the ICMPv6 errors, 2 ("packet too big") never answers a call.
    /* 22 */ (JUMP_EQUAL, 0x60, Jump { yes: 23, no: DROP }),
    /* 23 */ (LOAD_BYTE, 6, Next),
    /* 24 */ (JUMP_EQUAL, TCP, Jump { yes: 25, no: 30 }),
    /* 25 */ (LOAD_BYTE, 40 + 13, Next),
    /* 26 */ (JUMP_BITS, SYN, Jump { yes: ACCEPT, no: 27 }),
    /* 27 */ (JUMP_BITS, RST, Jump { yes: 28, no: DROP }),
    /* 28 */ (LOAD_WORD, 40 + 4, Next),
    /* 29 */ (JUMP_EQUAL, 0, DECIDE),
    /* 30 */ (JUMP_EQUAL, UDP, Jump { yes: 31, no: 33 }),
    /* 31 */ (LOAD_WORD, 40 + 8, Next),
    /* 32 */ (JUMP_EQUAL, DatagramHeader::MAGIC, DECIDE),
    // A fragment has a header more, and only the first one has a transport header behind it.
    /* 33 */ (JUMP_EQUAL, FRAGMENT, Jump { yes: 34, no: 40 }),
    /* 34 */ (LOAD_HALF, 40 + 2, Next),
    /* 35 */ (JUMP_BITS, 0xfff8, Jump { yes: DROP, no: 36 }),
    /* 36 */ (LOAD_BYTE, 40, Next),
    /* 37 */ (JUMP_EQUAL, UDP, Jump { yes: 38, no: DROP }),
    /* 38 */ (LOAD_WORD, 40 + 8 + 8, Next),
    /* 39 */ (JUMP_EQUAL, DatagramHeader::MAGIC, DECIDE),
    /* 40 */ (JUMP_EQUAL, ICMP6, Jump { yes: 41, no: DROP }),
    /* 41 */ (LOAD_BYTE, 40, Next),
    /* 42 */ (JUMP_EQUAL, 1, Jump { yes: ACCEPT, no: 43 }),
    /* 43 */ (JUMP_EQUAL, 3, DECIDE),
    /* 44 */ (RETURN, SNAPSHOT, Next),
    /* 45 */ (RETURN, 0, Next),
];

/// The program that passes TCP with SYN set, a RST that answers a SYN, which has sequence number 0 (RFC 9293, 3.10.7.1),
/// the datagrams of probes, and the ICMP errors "destination unreachable" and "time exceeded", of both families. It does
/// not look behind IPv6 extension headers, of which the lab makes none but those of fragments. A datagram that goes in
/// fragments is known by the first of them.
pub(super) fn program() -> Vec<SockFilter> {
    let distance = |row: usize, target: usize| {
        u8::try_from(target - row - 1).expect("the program is shorter than 256 rows")
    };
    let rows = ROWS.iter().enumerate();
    rows.map(|(row, (code, operand, then))| match *then {
        Next => SockFilter::new(*code, 0, 0, *operand),
        Jump { yes, no } => SockFilter::new(*code, distance(row, yes), distance(row, no), *operand),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_goes_forward_and_stays_inside() {
        for (row, (_, _, then)) in ROWS.iter().enumerate() {
            if let Jump { yes, no } = then {
                assert!(*yes > row && *no > row, "row {row} jumps back");
                assert!(*yes < ROWS.len() && *no < ROWS.len(), "row {row} leaves");
            }
        }
        assert_eq!(program().len(), ROWS.len());
    }
}
