//! Ways to be wrong, on request: what a suite that judges proxies must catch.
//!
//! A fault is one entry of the [catalogue](FAULTS). It changes what passes between two layers of the proxy, at one of
//! the few seams below; within the layers nothing knows of faults. Part of a build with the feature `faults` alone.

mod answers;
mod catalogue;
mod objects;
mod plans;
mod rules;
mod worlds;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::Response;
use k8s_openapi::api::core::v1 as core;
use kube::runtime::watcher::Config;

use crate::config::Conntrack;
use crate::dataplane::{Changes, Options, Ruled};
use crate::health::{Health, HealthAddresses};
use crate::model::{Family, Node, ObjectName, Service, Slice};
use crate::plan::{self, ServicePlan};

pub use catalogue::FAULTS;

/// One way to be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// The behaviour that it breaks: what a right proxy does instead.
    pub breaks: &'static str,
    /// Who promises that behaviour, and which proxies have had this very bug.
    pub sources: &'static [&'static str],
    /// Cases that catch it. Each must.
    pub caught_by: &'static [&'static str],
    deed: Deed,
}

/// What a fault does, and at which seam.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// To a Service as the API gave it.
    Object(fn(&mut core::Service)),
    /// To what a plan is made from.
    World(fn(&mut World, &mut Past)),
    /// To a plan, given what it was made from.
    Plan(fn(&mut ServicePlan, &World)),
    /// To what is about to be programmed.
    Changes(fn(&mut Changes)),
    /// To what the rules depend on besides the Services.
    Options(fn(&mut Options)),
    /// To the rules that every table has.
    Rules(fn(&mut [Ruled], Family)),
    /// To the answer of a health check port by a path.
    Answer(fn(&str, &mut Response<String>)),
    /// Has health check ports on every address.
    HealthEverywhere,
    /// To what the proxy says of itself: the answer of a path.
    OwnAnswer(fn(&str, &Health) -> Option<bool>),
    /// Programs something else before what is to be programmed, and leaves it so for a while.
    First(fn(&Changes) -> Changes, Duration),
    /// Tells by health check ports what is to be programmed, this long before it is.
    HealthFirst(Duration),
    /// Tells by health check ports what is programmed, this long after it was.
    HealthLast(Duration),
    /// Leaves the health check port of a Service open that is gone.
    HealthOutlives,
    /// Waits before every sync.
    Late(Duration),
    /// Never ends a flow.
    StaleFlows,
    /// To what is asked of connection tracking.
    Conntrack(fn(&mut Conntrack)),
}

/// What the plan of a Service is made from.
#[derive(Clone, Debug)]
struct World {
    service: Service,
    slices: Vec<Slice>,
    node: Node,
}

/// What a fault remembers of a Service.
#[derive(Debug, Default)]
struct Past {
    service: Option<Service>,
    slices: Vec<Slice>,
}

/// There is no such fault.
#[derive(Debug, thiserror::Error)]
#[error("no fault {0}; onehop faults --list names them")]
pub struct UnknownFault(String);

static COMMITTED: OnceLock<&'static Fault> = OnceLock::new();
static PAST: Mutex<BTreeMap<ObjectName, Past>> = Mutex::new(BTreeMap::new());

/// Makes this process wrong in one way, for good. To be called before the proxy runs.
///
/// # Errors
/// There is no fault of this name.
///
/// # Panics
/// If the process is already wrong in another way.
pub fn commit(name: &str) -> Result<(), UnknownFault> {
    let fault = FAULTS.iter().find(|fault| fault.name == name);
    let fault = fault.ok_or_else(|| UnknownFault(name.to_owned()))?;
    let set = COMMITTED.set(fault);
    assert!(set.is_ok(), "a process has one fault");
    tracing::warn!(name, "this proxy is wrong on purpose");
    Ok(())
}

fn deed() -> Option<Deed> {
    COMMITTED.get().map(|fault| fault.deed)
}

/// The seam between the API and what is watched of it: a fault of objects sees all there are.
pub(crate) fn watched(mut config: Config) -> Config {
    if let Some(Deed::Object(_)) = deed() {
        (config.label_selector, config.field_selector) = (None, None);
    }
    config
}

/// The seam between the API's objects and the model.
pub(crate) fn object(object: &core::Service) -> Cow<'_, core::Service> {
    let mut object = Cow::Borrowed(object);
    if let Some(Deed::Object(change)) = deed() {
        change(object.to_mut());
    }
    object
}

/// The seams before and after planning. Stands in for [`plan::service`].
pub(crate) fn plan(service: &Service, slices: &[&Slice], node: &Node) -> ServicePlan {
    let Some(deed @ (Deed::World(_) | Deed::Plan(_))) = deed() else {
        return plan::service(service, slices, node);
    };
    let mut world = World {
        service: service.clone(),
        slices: slices.iter().map(|&slice| slice.clone()).collect(),
        node: node.clone(),
    };
    if let Deed::World(change) = deed {
        let mut past = PAST.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut world, past.entry(service.name.clone()).or_default());
    }
    let slices: Vec<_> = world.slices.iter().collect();
    let mut plan = plan::service(&world.service, &slices, &world.node);
    if let Deed::Plan(change) = deed {
        change(&mut plan, &world);
    }
    plan
}

/// The seam between planning and the kernel.
pub(crate) fn changes(mut changes: Changes) -> Changes {
    if let Some(Deed::Changes(change)) = deed() {
        change(&mut changes);
    }
    changes
}

/// The same seam: what is programmed before, and for how long that stays.
pub(crate) fn first(changes: &Changes) -> Option<(Changes, Duration)> {
    match deed() {
        Some(Deed::First(first, time)) => Some((first(changes), time)),
        _ => None,
    }
}

/// The seam between the kernel and health check ports: how long those are ahead.
pub(crate) fn health_is_ahead() -> Option<Duration> {
    match deed() {
        Some(Deed::HealthFirst(time)) => Some(time),
        _ => None,
    }
}

/// The same seam: how long they are behind.
pub(crate) fn health_is_behind() -> Option<Duration> {
    match deed() {
        Some(Deed::HealthLast(time)) => Some(time),
        _ => None,
    }
}

/// The same seam: whether they stay when their Service is gone.
pub(crate) fn health_outlives() -> bool {
    matches!(deed(), Some(Deed::HealthOutlives))
}

/// The seam between the configuration and connection tracking.
pub(crate) fn conntrack(mut conntrack: Conntrack) -> Conntrack {
    if let Some(Deed::Conntrack(change)) = deed() {
        change(&mut conntrack);
    }
    conntrack
}

/// The seam between the configuration and the rules.
pub(crate) fn options(mut options: Options) -> Options {
    if let Some(Deed::Options(change)) = deed() {
        change(&mut options);
    }
    options
}

/// The seam between the rules and their bytes.
pub(crate) fn rules(mut chains: Vec<Ruled>, family: Family) -> Vec<Ruled> {
    if let Some(Deed::Rules(change)) = deed() {
        change(&mut chains, family);
    }
    chains
}

/// The seam between a health check port and who asks.
pub(crate) fn answer(path: &str, mut response: Response<String>) -> Response<String> {
    if let Some(Deed::Answer(change)) = deed() {
        change(path, &mut response);
    }
    response
}

/// The seam between the configuration and where health check ports listen.
pub(crate) fn health_addresses(addresses: HealthAddresses) -> HealthAddresses {
    match deed() {
        Some(Deed::HealthEverywhere) => HealthAddresses::all(),
        _ => addresses,
    }
}

/// The seam between the proxy's own health and who asks: whether the answer of a path is good.
pub(crate) fn own_answer(path: &str, health: &Health) -> Option<bool> {
    match deed() {
        Some(Deed::OwnAnswer(answer)) => answer(path, health),
        _ => None,
    }
}

/// The seam between what happens and when it is synced.
pub(crate) async fn late() {
    if let Some(Deed::Late(time)) = deed() {
        tokio::time::sleep(time).await;
    }
}

/// The seam between a sync and the flows that it makes stale.
pub(crate) fn keeps_stale_flows() -> bool {
    matches!(deed(), Some(Deed::StaleFlows))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_says_what_it_breaks_and_on_whose_word() {
        let names: BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        assert!(FAULTS.len() >= 30, "{}", FAULTS.len());
        for fault in FAULTS {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(fault.name.chars().all(plain), "{}", fault.name);
            assert!(!fault.breaks.is_empty(), "{}", fault.name);
            assert!(!fault.sources.is_empty(), "{}", fault.name);
            let cases: BTreeSet<_> = fault.caught_by.iter().collect();
            assert_eq!(cases.len(), fault.caught_by.len(), "{}", fault.name);
        }
    }

    #[test]
    fn a_fault_that_there_is_not_cannot_be_committed() {
        let unknown = commit("no-such-fault").expect_err("there is none");
        assert!(unknown.to_string().starts_with("no fault no-such-fault"));
        assert!(deed().is_none());
    }
}
