//! The Kubernetes API: Services in, their status out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event as Watched};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::controller::Event;
use super::wanted::name_of;
use crate::case::IpMode;
use crate::error::chain;

/// The name of the problem that a broken watch is.
const WATCH: &str = "watch of Services";

/// Pause before the first repetition of a refused status, doubled each time up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Sends every change of every Service, until the receiver is gone.
pub(super) async fn watch(client: Client, events: UnboundedSender<Event>) {
    let services: Api<Service> = Api::all(client);
    let stream = watcher::watcher(services, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = BTreeSet::new();
    let mut broken = false;
    while let Some(watched) = stream.next().await {
        let works = watched.is_ok();
        let event = match watched {
            Ok(Watched::Init) => {
                listed.clear();
                None
            }
            Ok(Watched::InitApply(service)) => {
                listed.insert(name_of(&service));
                Some(Event::Apply(Box::new(service)))
            }
            // What was deleted while the watch was down shows only by not being listed.
            Ok(Watched::InitDone) => Some(Event::Listed(std::mem::take(&mut listed))),
            Ok(Watched::Apply(service)) => Some(Event::Apply(Box::new(service))),
            Ok(Watched::Delete(service)) => Some(Event::Delete(name_of(&service))),
            Err(error) => Some(Event::problem(WATCH, Some(chain(&error)))),
        };
        let healed = (works && broken).then(|| Event::problem(WATCH, None));
        broken = !works;
        for event in healed.into_iter().chain(event) {
            if events.send(event).is_err() {
                return;
            }
        }
    }
}

/// Writes the ingress of a Service's status, and repeats it until the API takes it. A Service
/// that is gone needs none.
pub(super) async fn write_status(
    client: Client,
    service: String,
    (ingress, ip_mode): (Vec<IpAddr>, IpMode),
    events: UnboundedSender<Event>,
) {
    let (namespace, name) = service.split_once('/').expect("a namespace and a name");
    let api: Api<Service> = Api::namespaced(client, namespace);
    let patch = Patch::Merge(status(&ingress, ip_mode));
    let what = status_problem(&service);
    let mut pause = FIRST_PAUSE;
    let mut failed = false;
    loop {
        match api
            .patch_status(name, &PatchParams::default(), &patch)
            .await
        {
            Err(kube::Error::Api(refused)) if refused.code == 404 => break,
            Ok(_) => break,
            Err(error) => {
                failed = true;
                // A closed channel means that the load balancer stops, and this task with it.
                let _ = events.send(Event::problem(&what, Some(chain(&error))));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if failed {
        let _ = events.send(Event::problem(&what, None));
    }
}

/// The name of the problem that a status is that the API refuses.
pub(super) fn status_problem(service: &str) -> String {
    format!("status of {service}")
}

/// The merge patch.
fn status(ingress: &[IpAddr], mode: IpMode) -> Value {
    let ingress = ingress.iter();
    let ingress: Vec<_> = ingress
        .map(|ip| json!({"ip": ip, "ipMode": mode.api_name()}))
        .collect();
    let ingress = if ingress.is_empty() {
        Value::Null
    } else {
        ingress.into()
    };
    json!({"status": {"loadBalancer": {"ingress": ingress}}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::AddressPlan;

    #[test]
    fn a_status_lists_addresses_and_an_empty_one_removes_them() {
        assert_eq!(
            status(&AddressPlan::vip(3).both(), IpMode::Proxy),
            json!({"status": {"loadBalancer": {"ingress": [
                {"ip": "198.51.100.3", "ipMode": "Proxy"},
                {"ip": "2001:db8:100::3", "ipMode": "Proxy"},
            ]}}})
        );
        assert_eq!(
            status(&[], IpMode::Vip),
            json!({"status": {"loadBalancer": {"ingress": null}}})
        );
    }
}
