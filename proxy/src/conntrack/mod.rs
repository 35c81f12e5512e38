//! UDP flows that connection tracking would go on sending where nobody answers.
//!
//! A UDP flow has no end: as long as its client sends, its entry lives, and with it the endpoint that
//! was chosen for its first packet. After a sync, flows whose endpoint no longer serves are removed, so
//! that their next packet is looked up afresh. TCP needs none of this: its client is told by a reset.
//! SCTP is left to its own heartbeats, as upstream leaves it.

mod message;
mod serving;
mod table;

use std::net::SocketAddr;

use crate::model::Family;

pub(crate) use message::read as read_entries;
pub use serving::Serving;
pub use table::{ConntrackError, Removed, Table};

/// A tracked UDP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who sent its first packet.
    pub source: SocketAddr,
    /// Where to, before any translation.
    pub destination: SocketAddr,
    /// Who answers: the endpoint if it was translated, else the destination.
    pub answers_from: SocketAddr,
}

impl Flow {
    fn family(&self) -> Family {
        Family::of(self.destination.ip())
    }
}
