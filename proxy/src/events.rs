//! Events to the API, for the user of an object: what the log says to the administrator of the node.
//!
//! [`Events::send`] never waits: a task of its own talks to the API, and what is too much is dropped and counted.

mod limit;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::metrics::{EventFate, Metrics};
use crate::model::ObjectName;
use limit::{Limiter, Verdict};

/// What kube-proxy reports as, too: people and dashboards look for it
/// (kubernetes/cmd/kube-proxy/app/server.go).
const CONTROLLER: &str = "kube-proxy";
/// How many events wait for the API. client-go keeps 1000; none of these is worth as much memory.
const QUEUE: usize = 128;
/// How long the API may take to accept one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest note that the API accepts, in bytes (kubernetes/pkg/apis/core/validation/events.go).
const LONGEST_NOTE: usize = 1024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The object.
    pub regarding: Regarding,
    /// Something is wrong, and not only worth knowing.
    pub warning: bool,
    /// Why, as a machine reads it: `FailedToStartServiceHealthcheck`.
    pub reason: &'static str,
    /// What was being done: `Listen`.
    pub action: &'static str,
    /// What happened, as people read it.
    pub note: String,
}

/// The object of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Regarding {
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
    /// A ServiceCIDR, by name.
    ServiceCidr(Box<str>),
    /// A Node, by name.
    Node(Box<str>),
}

impl Event {
    /// Something that is wrong.
    #[must_use]
    pub fn warning(
        regarding: Regarding,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) -> Self {
        Self {
            regarding,
            warning: true,
            reason,
            action,
            note,
        }
    }

    /// The event by which a proxy says that it starts, as kube-proxy does.
    #[must_use]
    pub fn starting(node: &str) -> Self {
        Self {
            regarding: Regarding::Node(node.into()),
            warning: false,
            reason: "Starting",
            action: "StartKubeProxy",
            note: String::new(),
        }
    }
}

impl Regarding {
    /// The reference that the API wants. A Node's uid is its name, by which `kubectl describe node` finds the events.
    fn reference(&self) -> ObjectReference {
        let reference =
            |version: &str, kind: &str, namespace: Option<&str>, name: &str| ObjectReference {
                api_version: Some(version.into()),
                kind: Some(kind.into()),
                namespace: namespace.map(Into::into),
                name: Some(name.into()),
                ..ObjectReference::default()
            };
        match self {
            Self::Service(ObjectName { namespace, name }) => {
                reference("v1", "Service", Some(namespace), name)
            }
            Self::EndpointSlice(ObjectName { namespace, name }) => reference(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                Some(namespace),
                name,
            ),
            Self::ServiceCidr(name) => reference("networking.k8s.io/v1", "ServiceCIDR", None, name),
            Self::Node(node) => ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_string()),
                uid: Some(node.to_string()),
                ..ObjectReference::default()
            },
        }
    }
}

/// Where events go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// A way to send events, and the task that brings them to the API, which the caller runs. It ends when every
    /// [`Events`] is gone.
    pub fn to_api(
        client: kube::Client,
        node: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(node.to_owned()),
        };
        let publisher = Publisher {
            recorder: Recorder::new(client, reporter),
            limiter: Limiter::default(),
            clock,
            metrics: Arc::clone(&metrics),
        };
        (Self { queue, metrics }, publisher.run(waiting))
    }

    /// Sends one, without waiting for anything. Dropped where too many wait already, or where it says again what was
    /// said a short while ago.
    pub fn send(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.metrics.event(EventFate::Overflowed);
        }
    }
}

/// The task that talks to the API.
struct Publisher {
    recorder: Recorder,
    limiter: Limiter,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn run(mut self, mut waiting: mpsc::Receiver<Event>) {
        while let Some(event) = waiting.recv().await {
            let fate = self.publish(event).await;
            self.metrics.event(fate);
        }
    }

    async fn publish(&mut self, event: Event) -> EventFate {
        match self.limiter.ask(&event, self.clock.now().steady) {
            Verdict::Repeated => return EventFate::Repeated,
            Verdict::TooMany => return EventFate::Limited,
            Verdict::Allowed => {}
        }
        let regarding = event.regarding.reference();
        let body = body(&event);
        let publishing = self.recorder.publish(&body, &regarding);
        match tokio::time::timeout(PATIENCE, publishing).await {
            Ok(Ok(())) => {
                self.limiter.said(event, self.clock.now().steady);
                return EventFate::Sent;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, reason = event.reason, "the API did not take an event");
            }
            Err(_) => tracing::warn!(
                reason = event.reason,
                "the API did not take an event in time"
            ),
        }
        EventFate::Failed
    }
}

fn body(event: &Event) -> kube::runtime::events::Event {
    let end = event.note.floor_char_boundary(LONGEST_NOTE);
    kube::runtime::events::Event {
        type_: if event.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: event.reason.to_owned(),
        note: Some(event.note[..end].to_owned()),
        action: event.action.to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests;
