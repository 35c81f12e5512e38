//! How long datagrams are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Family;

/// How long a datagram is, and the one that answers it: the IP packet that it goes in, headers included, in octets.
///
/// Measured against the MTU of the way, which the caller's own kernel knows: that of the interface by which it sends,
/// unless a router has said that it is less (path MTU discovery, RFC 1191 and RFC 8201).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// As short as what it says.
    #[default]
    Brief,
    /// The MTU and so many octets more; less, where it is below zero. More than the MTU goes in fragments.
    Mtu(i16),
    /// So many times the MTU, in fragments.
    Mtus(u8),
}

/// The length of a UDP header.
const UDP_HEADER: usize = 8;
/// The most that a UDP datagram carries over IPv4 (RFC 768, RFC 791).
const MOST: usize = 65_507;

impl Length {
    /// The octets that a datagram of this length has behind its UDP header, where the way has this MTU; `None` when
    /// nobody asks for a certain number.
    pub fn payload(self, mtu: usize, family: Family) -> Option<usize> {
        let packet = match self {
            Self::Brief => return None,
            Self::Mtu(more) => mtu.saturating_add_signed(more.into()),
            Self::Mtus(times) => mtu.saturating_mul(times.into()),
        };
        Some(packet.saturating_sub(headers(family)).min(MOST))
    }

    /// The length of the IP packet that has so many octets behind its UDP header.
    pub fn packet(payload: usize, family: Family) -> usize {
        payload + headers(family)
    }
}

/// The lengths of an IP and a UDP header.
const fn headers(family: Family) -> usize {
    UDP_HEADER
        + match family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brief => f.write_str("brief"),
            Self::Mtu(0) => f.write_str("MTU"),
            Self::Mtu(more @ 1..) => write!(f, "MTU + {more}"),
            Self::Mtu(less) => write!(f, "MTU − {}", less.unsigned_abs()),
            Self::Mtus(times) => write!(f, "{times} × MTU"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_as_long_as_the_mtu_has_that_much_less_its_headers_to_say() {
        let payload = |length: Length, family| length.payload(1500, family);
        assert_eq!(payload(Length::Brief, Family::V4), None);
        assert_eq!(payload(Length::Mtu(0), Family::V4), Some(1472));
        assert_eq!(payload(Length::Mtu(0), Family::V6), Some(1452));
        assert_eq!(payload(Length::Mtu(-40), Family::V4), Some(1432));
        assert_eq!(payload(Length::Mtu(1), Family::V6), Some(1453));
        assert_eq!(payload(Length::Mtus(2), Family::V4), Some(2972));
        for family in Family::ALL {
            let payload = payload(Length::Mtu(0), family).expect("a certain length");
            assert_eq!(Length::packet(payload, family), 1500);
        }
    }

    #[test]
    fn no_datagram_is_longer_than_udp_can_be() {
        let most = Length::Mtus(2).payload(65_536, Family::V4);
        assert_eq!(most, Some(MOST));
    }

    #[test]
    fn a_length_is_told_against_the_mtu() {
        let told = [
            Length::Mtu(0),
            Length::Mtu(-8),
            Length::Mtu(1),
            Length::Mtus(2),
        ];
        let told = told.map(|length| length.to_string());
        assert_eq!(told, ["MTU", "MTU − 8", "MTU + 1", "2 × MTU"]);
    }
}
