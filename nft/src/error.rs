//! Why a transaction had no effect, or why a state could not be read.

use nix::errno::Errno;

use crate::netlink::{Malformed, NetlinkError};

/// An error of nftables. A transaction that failed left everything as it was, except after
/// [`NetlinkError::Lost`] and [`NetlinkError::NoAnswer`], when nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a transaction.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody changed nftables after the generation that the transaction requires.
    #[error("nftables were changed by somebody else meanwhile")]
    GenerationChanged,
    /// The kernel could not be asked, or its answer not be understood.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Netlink(malformed.into())
    }
}

/// Which part of a transaction the kernel refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {what}: {}{}", self.reason(), self.more())]
pub struct Refusal {
    /// What was to be done, to which object.
    pub what: String,
    /// The number of the error.
    pub errno: i32,
    /// The kernel's own words, if it has any.
    pub text: Option<String>,
    /// How many more messages were refused. Mostly they depend on the first.
    pub others: usize,
}

impl Refusal {
    fn reason(&self) -> String {
        let errno = Errno::from_raw(self.errno);
        match &self.text {
            Some(text) => format!("{text} ({errno})"),
            None => errno.to_string(),
        }
    }

    fn more(&self) -> String {
        match self.others {
            0 => String::new(),
            others => format!(" (and {others} more failed)"),
        }
    }
}
