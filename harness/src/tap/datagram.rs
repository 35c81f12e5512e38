//! The header of the datagrams that probes exchange, by which their journeys are found.
//!
//! UDP has no sequence number of its own, and NAT rewrites everything else that tells one datagram
//! from another. So each carries one in its payload.

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It asks who is there.
    Ask,
    /// It answers.
    Answer,
}

/// The first octets of the payload of a probe's datagram, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramHeader {
    /// What the datagram is for.
    pub purpose: Purpose,
    /// The number by which the taps know it, in the place of a TCP initial sequence number and out
    /// of the same stock. An answer bears that of the question.
    pub nonce: u32,
}

impl DatagramHeader {
    /// Its length in octets.
    pub const LENGTH: usize = 12;
    /// What the payload begins with: no other traffic of a lab does.
    pub const MAGIC: u32 = 0xf01e_0b0e;
    const ASK: u32 = 1;
    const ANSWER: u32 = 2;

    /// The header as three words in network order: magic, purpose and nonce.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let purpose = match self.purpose {
            Purpose::Ask => Self::ASK,
            Purpose::Answer => Self::ANSWER,
        };
        let mut bytes = [0; Self::LENGTH];
        for (at, word) in [Self::MAGIC, purpose, self.nonce].into_iter().enumerate() {
            bytes[4 * at..4 * (at + 1)].copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads the header of a payload; `None` if it is no probe's.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let octets = payload.get(at..at + 4)?;
            octets.try_into().ok().map(u32::from_be_bytes)
        };
        let purpose = match (word(0)?, word(4)?) {
            (Self::MAGIC, Self::ASK) => Purpose::Ask,
            (Self::MAGIC, Self::ANSWER) => Purpose::Answer,
            _ => return None,
        };
        let nonce = word(8)?;
        Some(Self { purpose, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_nothing_else_is() {
        for purpose in [Purpose::Ask, Purpose::Answer] {
            let header = DatagramHeader { purpose, nonce: 7 };
            let bytes = header.to_bytes();
            assert_eq!(DatagramHeader::parse(&bytes), Some(header));
            assert_eq!(DatagramHeader::parse(&bytes[..11]), None);
            for at in [0, 7] {
                let mut other = bytes;
                other[at] ^= 0x40;
                assert_eq!(DatagramHeader::parse(&other), None);
            }
        }
    }
}
