//! Probes: real connections and datagrams, and what became of each.
//!
//! A [`Backend`] in a pod answers every connection and every datagram with who it is, whom it saw,
//! and the TTL of the SYN or the datagram that it received. [`call`] makes a batch of calls from a
//! host and tells for each whether it was answered, refused, dropped or broken; [`open`] keeps
//! their sockets, so that the same flows can be asked again. Four different things are never merged
//! into "no connectivity", and a probe that could not be carried out is an error, never an
//! outcome.

mod backend;
mod client;
mod fence;
mod http;
mod outcome;
mod refusal;
pub(crate) mod source_port;
mod wave;

pub(crate) use backend::serve;
pub use backend::{Backend, BackendError};
pub use client::{Batch, OpenFlows, ProbeError, call, open};
pub use http::{HttpAnswer, HttpOutcome, get, get_from_here};
pub use outcome::{Connection, Identity, Outcome, Refusal};
pub(crate) use wave::{choose_own_sequence, share_numbers};
