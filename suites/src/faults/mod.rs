//! Ways to make a proxy wrong from outside: what proves that cases can fail, on real proxies.
//!
//! A fault is one entry of the catalogue, [`all`]. It is committed beside a proxy that knows nothing of it: by rules
//! that come before or after its own, by somebody else who answers on its ports, by stopping its process, or by a
//! setting. Part of a build with the feature `faults` alone.
//!
//! Faults are no wider than they must be. One that breaks Local policies leaves Services under Cluster alone, so that
//! what else fails tells something about the cases.

mod changes;
mod commit;
mod endpoints;
mod families;
mod forgery;
mod health;
mod mtu;
mod policies;
mod rules;
mod scene;
mod shares;
mod sources;
mod syncs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use forgery::Forgery;
use rules::Rules;
use scene::Scene;

pub use commit::Committed;

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const SLICES: &str = "kubernetes/pkg/proxy/endpointslicecache.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";

/// One way to be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// The behaviour that it breaks: what a right proxy does instead.
    pub breaks: &'static str,
    /// Who promises that behaviour, and which proxies have had this very bug.
    pub sources: &'static [&'static str],
    /// Cases that catch it, and words that their reason must contain; of several, divided by `|`, one.
    pub caught_by: &'static [(&'static str, &'static str)],
    /// Cases that look at the same behaviour and do not fail: a suite that fails whenever anything is wrong would say
    /// nothing about what is.
    pub spares: &'static [&'static str],
    deed: Deed,
}

/// What a fault does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Puts rules beside the proxy's own for each Service, in each family.
    Rules(fn(&Scene<'_>, &mut Rules)),
    /// Has somebody else answer on the health check port of a node.
    Health(Forgery),
    /// Keeps these chains of kube-proxy's nftables mode empty on every node.
    Emptied(&'static [&'static str]),
    /// Stops the proxy of a node.
    Stopped {
        node: &'static str,
        /// How long it is stopped and how long it then goes on, in turns; for good where there is none.
        turns: Option<(Duration, Duration)>,
    },
    /// Writes one thing for another, to the end of its line, in the proxy's files.
    Setting {
        instead_of: &'static str,
        written: &'static str,
    },
}

const PARTS: [&[Fault]; 9] = [
    policies::FAULTS,
    sources::FAULTS,
    endpoints::FAULTS,
    shares::FAULTS,
    mtu::FAULTS,
    health::FAULTS,
    changes::FAULTS,
    families::FAULTS,
    syncs::FAULTS,
];

/// All of them, by the part of the contract that each breaks.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    PARTS.into_iter().flatten()
}
