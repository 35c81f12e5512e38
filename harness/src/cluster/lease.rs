//! The Lease by which two runs on a cluster cannot collide.
//!
//! It is in the namespace that a run makes, so that it goes with it. One that nobody renews any more
//! is that of a run that was killed, and what it left may be removed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

use super::ClusterError;
use super::objects::{RUN_LABEL, RunId};
use crate::agent;
use crate::lab::NAMESPACE;

/// The name of the Lease.
const NAME: &str = "onehop-run";
/// How long a Lease counts after it was last renewed.
const LASTS: Duration = Duration::from_secs(20);
/// Pause between two renewals.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// A Lease that is renewed until this is dropped.
#[derive(Debug)]
pub(crate) struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of whoever has the namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Holder {
    /// Nobody: there is none.
    Nobody,
    /// A run that goes on, by its name.
    Run(String),
    /// A run that was killed, and what it left.
    Killed(Box<Namespace>),
    /// Somebody else: the namespace is not onehop's.
    Stranger,
}

/// Who has the namespace now.
pub(crate) async fn holder(client: &Client) -> Result<Holder, ClusterError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_opt(NAMESPACE).await;
    let found = found.map_err(ClusterError::object("read the namespace"))?;
    let Some(namespace) = found else {
        return Ok(Holder::Nobody);
    };
    let labels = namespace.metadata.labels.clone().unwrap_or_default();
    let Some(run) = labels.get(RUN_LABEL) else {
        return Ok(Holder::Stranger);
    };
    let (renewed, holder) = read(client).await?;
    let holder = holder.unwrap_or_else(|| run.clone());
    if is_dead(&holder) {
        return Ok(Holder::Killed(Box::new(namespace)));
    }
    // A run makes its namespace first.
    let made = namespace.metadata.creation_timestamp.clone();
    let since = renewed.or(made.map(|Time(at)| at));
    if since.is_some_and(|at| is_fresh(at, Timestamp::now())) {
        return Ok(Holder::Run(holder));
    }
    // The clock of another machine says little: only a Lease that nobody renews is nobody's.
    tokio::time::sleep(RENEWED_EVERY * 2 + Duration::from_secs(1)).await;
    Ok(match read(client).await?.0 {
        again if again == renewed => Holder::Killed(Box::new(namespace)),
        _ => Holder::Run(holder),
    })
}

/// When the Lease was last renewed, and who has it.
async fn read(client: &Client) -> Result<(Option<Timestamp>, Option<String>), ClusterError> {
    let lease = leases(client).get_opt(NAME).await;
    let lease = lease.map_err(ClusterError::object("read the Lease"))?;
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    Ok((
        spec.renew_time.map(|MicroTime(at)| at),
        spec.holder_identity,
    ))
}

/// Whether a holder was a process of this very machine, and is there no more: then nobody has to
/// wait until its Lease has run out.
fn is_dead(holder: &str) -> bool {
    let mut parts = holder.split('/');
    let (name, process) = (parts.next(), parts.next());
    let process = process.and_then(|id| id.parse::<u32>().ok());
    let gone = |id| !std::path::Path::new(&format!("/proc/{id}")).exists();
    name == Some(&*machine()) && process.is_some_and(gone)
}

fn is_fresh(renewed: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(renewed);
    age.unsigned_abs() < LASTS
}

/// Takes the Lease for a run, in the namespace that it has made, and renews it.
pub(crate) async fn take(client: &Client, run: &RunId) -> Result<Held, ClusterError> {
    let holder = format!("{}/{}/{run}", machine(), std::process::id());
    let lease = json!({
        "metadata": { "name": NAME, "labels": { RUN_LABEL: run.to_string() } },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": LASTS.as_secs(),
            "renewTime": MicroTime(Timestamp::now()),
        },
    });
    let lease = serde_json::from_value(lease).expect("a Lease");
    let created = leases(client).create(&PostParams::default(), &lease).await;
    created.map_err(ClusterError::object("take the Lease"))?;
    let client = client.clone();
    Ok(Held(tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            let renewed = json!({ "spec": { "renewTime": MicroTime(Timestamp::now()) } });
            let patch = Patch::Merge(renewed);
            let done = leases(&client)
                .patch(NAME, &PatchParams::default(), &patch)
                .await;
            if let Err(error) = done {
                tracing::warn!(
                    error = crate::error::chain(&error),
                    "the Lease is not renewed"
                );
            }
        }
    })))
}

fn leases(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// This machine since it was started, and the process ids of this process: by both, a process id means
/// the same process.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let ids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}@{}.{}", name.trim(), agent::machine(), ids.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_machine_that_is_gone_holds_nothing() {
        let own = |process: u32| format!("{}/{process}/r", machine());
        assert!(!is_dead(&own(std::process::id())));
        assert!(is_dead(&own(u32::MAX)));
        assert!(!is_dead(&format!("another-machine/{}/r", u32::MAX)));
        assert!(!is_dead("r"));
    }

    #[test]
    fn a_lease_counts_for_as_long_as_it_is_renewed() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).expect("a time");
        assert!(is_fresh(at(0), at(19)));
        assert!(!is_fresh(at(0), at(20)));
        // Whose clock is ahead is no reason to take a run for a killed one.
        assert!(is_fresh(at(5), at(0)));
        assert!(!is_fresh(at(60), at(0)));
    }
}
