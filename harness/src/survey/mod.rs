//! The survey of a cluster that is there: what its Local policies do to its Services.
//!
//! ```text
//! read (API) ─► Objects ─► survey (pure) ─► Survey ─► ask (HTTP) ─► Answers ─► judge (pure) ─► Survey
//! ```
//! Nothing is written, to the API or anywhere else. `service`, `node`, `endpoints`, `spread`, `health` and `notes` are pure.
//!
//! What a policy does follows kubernetes `pkg/proxy/topology.go` (`CategorizeEndpoints`), KEP-1669 (terminating endpoints),
//! KEP-2086 (`internalTrafficPolicy`); which nodes a load balancer has, `cloud-provider/controllers/service/controller.go`
//! (`stableNodeSetPredicates`, KEP-3458).

mod ask;
mod endpoints;
mod health;
mod look;
mod node;
mod notes;
mod outline;
mod read;
mod service;
mod spread;
#[cfg(test)]
mod tests;

pub use health::{Answer, Answered, Health};
pub use look::{SurveyOptions, look};
pub use node::{NodeFacts, OutOfBalancer};
pub use notes::{Note, NoteKind};
pub use outline::{Objects, Survey, SurveyedService, survey};
pub use read::ReadError;
pub use service::{Side, Skipped};
pub use spread::{FamilyPort, Fate, NodeShare, Placeless, Spread, Without};
