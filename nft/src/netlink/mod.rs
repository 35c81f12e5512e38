//! The small part of netlink that every subsystem of netfilter shares: messages of attributes,
//! sent through a socket, answered by acknowledgements and dumps.

mod build;
mod parse;
mod socket;

pub use build::{Builder, flags, kind};
pub use parse::{
    Acknowledgement, Attribute, Attributes, Malformed, Message, Messages, acknowledgement,
    attributes, messages,
};
pub use socket::{NetlinkError, Socket};

/// The length of a message's header, in bytes (`struct nlmsghdr`).
pub const HEADER: usize = 16;

/// The length of the header of netfilter's messages, which follows the first (`struct nfgenmsg`).
pub const NETFILTER_HEADER: usize = 4;

/// The most bytes that one attribute can hold: its length, its own header included, has 16 bits.
pub const ATTRIBUTE_LIMIT: usize = u16::MAX as usize - 4;
