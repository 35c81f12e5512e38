//! From the plans of Services to the kernel's nftables, and nothing else.
//!
//! The state of a node is a function of its plans, held here as data; the kernel's tables are kept equal to
//! it. A change of plans becomes a few elements in one transaction over both families. Whenever the kernel's
//! state may be another than is believed — at the start, after a transaction that failed, after somebody
//! else's change — all contents are replaced in one transaction: a packet sees the old or the new, never
//! none, and clients keep their affinity.
//!
//! ```text
//! plans ─► state (elements, classes) ─► delta ─► write (one batch) ─► kernel
//!                                                        read ◄───────┘
//! ```

mod chains;
mod classes;
mod delta;
mod element;
mod encode;
mod fronts;
mod ids;
mod kernel;
mod layout;
mod options;
mod picks;
mod ports;
mod read;
mod state;
mod steps;
mod stepwise;
mod write;

pub use element::FrontKey;
pub use kernel::{Changes, Dataplane, DataplaneError, Report, cleanup};
pub use layout::TABLE;
#[cfg(feature = "faults")]
pub(crate) use layout::{CLUSTER_IPS, REFUSALS, Ruled, by_class, table_family};
pub use options::{Detector, NodePorts, Options};
pub use read::Difference;
pub use state::Conflict;
#[cfg(feature = "faults")]
pub(crate) use steps::outside_network;
pub(crate) use stepwise::Stepwise;
