//! Worlds as data: which nodes, pods and clients there are, and which addresses they have.
//!
//! Nothing here does I/O. A provider turns a [`World`] into something that carries packets.

mod address;
mod length;
mod plan;

pub use address::{Dual, Family, Protocol};
pub use length::Length;
pub use plan::{
    AddressPlan, CLIENT_PRIVATE, CLIENT_PUBLIC, Client, LOAD_BALANCER, Node, Pod, World,
};
