//! From plans to the kernel's nftables.

mod classes;
mod delta;
mod element;
mod encode;
mod fronts;
mod ids;
mod layout;
mod options;
mod picks;
mod ports;
mod state;
mod steps;

pub use element::FrontKey;
pub use layout::TABLE;
pub use options::{Detector, NodePorts, Options};
pub use state::Conflict;
