//! Running cases in a lab, and the results.

mod ask;
mod batch;
mod change;
mod crowd;
mod differs;
mod evidence;
mod excused;
mod held;
mod progress;
mod proxy_health;
mod results;
mod row;
mod ruled;
mod runner;
mod sabotage;
mod situation;
mod spent;
mod stray_segment;
mod traffic;
mod workload;

pub use batch::{BatchOptions, INTERRUPTED, lacking, not_judged, panicked, run_batch, unsupported};
pub use differs::{Differs, differs};
pub use results::{
    CaseResult, Outcome, ProxyInfo, ProxyResults, ReadError, Results, RunInfo, SCHEMA, Summary,
    Verdict,
};
pub use ruled::{RULES_MET, Ruled};
pub use runner::{CaseRun, skipped};
pub use sabotage::{Sabotage, Victim};
pub use situation::{ClientInfo, Endpoint, EndpointState, NodeInfo, PodInfo, Situation, WorldInfo};
pub use spent::{Spent, WaitedFor};
