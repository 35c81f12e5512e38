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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: there is none.
    Nobody,
    /// A run that goes on, by its name.
    Run(String),
    /// A run that was killed.
    Killed,
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
    let labels = namespace.metadata.labels.unwrap_or_default();
    let Some(run) = labels.get(RUN_LABEL) else {
        return Ok(Holder::Stranger);
    };
    let lease = leases(client).get_opt(NAME).await;
    let lease = lease.map_err(ClusterError::object("read the Lease"))?;
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    // A run makes its namespace first.
    let made = namespace.metadata.creation_timestamp.map(|Time(at)| at);
    let renewed = spec.renew_time.map(|MicroTime(at)| at).or(made);
    let holder = spec.holder_identity.unwrap_or_else(|| run.clone());
    Ok(match renewed {
        Some(at) if is_fresh(at, Timestamp::now()) && !is_dead(&holder) => Holder::Run(holder),
        _ => Holder::Killed,
    })
}

/// Whether a holder was a process of this very machine, and is there no more: then nobody has to
/// wait until its Lease has run out.
fn is_dead(holder: &str) -> bool {
    let mut parts = holder.split('/');
    let (machine, process) = (parts.next(), parts.next());
    let process = process.and_then(|id| id.parse::<u32>().ok());
    let gone = |id| !std::path::Path::new(&format!("/proc/{id}")).exists();
    machine == Some(&hostname()) && process.is_some_and(gone)
}

fn is_fresh(renewed: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(renewed);
    age.unsigned_abs() < LASTS
}

/// Takes the Lease for a run, in the namespace that it has made, and renews it.
pub(crate) async fn take(client: &Client, run: &RunId) -> Result<Held, ClusterError> {
    let holder = format!("{}/{}/{run}", hostname(), std::process::id());
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

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_machine_that_is_gone_holds_nothing() {
        let own = |process: u32| format!("{}/{process}/r", hostname());
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
