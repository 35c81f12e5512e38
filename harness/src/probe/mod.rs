//! Probes: real connections, and what became of each.
//!
//! A [`Backend`] in a pod answers every connection with who it is, whom it saw, and the TTL of the
//! SYN that it received. [`call`] opens a batch of connections from a host and tells for each
//! whether it was answered, refused, dropped or broken. Four different things are never merged
//! into "no connectivity", and a probe that could not be carried out is an error, never an
//! outcome.

mod backend;
mod client;
mod http;
mod outcome;
mod refusal;
pub(crate) mod source_port;
mod wave;

pub use backend::{Backend, BackendError};
pub use client::{ProbeError, call};
pub use http::{HttpAnswer, HttpOutcome, get};
pub use outcome::{Connection, Identity, Outcome, Refusal};
