//! Watches: a line of JSON for each event, from a resource version on or starting with what exists.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use super::list::{named, selected};
use super::options::Options;
use super::path::ResourceTarget;
use super::render::Shape;
use super::respond;
use crate::status::Status;
use crate::store::{Change, Event, Object, Store};

/// How often a quiet watch gets a bookmark, as upstream's cacher sends them.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch lasts that names no limit; upstream picks 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// More than this is as good as forever, and can still be added to a point in time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

struct Watcher {
    store: Arc<Store>,
    target: ResourceTarget,
    options: Options,
    shape: Shape,
    /// Lines to send before anything else.
    first: Option<String>,
    /// Everything up to here was sent.
    position: u64,
    news: Receiver<u64>,
    deadline: Instant,
    next_bookmark: Instant,
    ended: bool,
}

/// Answers at once with 200 and sends events until the time is up.
pub(super) fn watch(
    store: &Arc<Store>,
    target: &ResourceTarget,
    options: &Options,
    shape: Shape,
) -> Response {
    // Subscribing before reading means that nothing falls between the two.
    let news = store.news(target.resource);
    let now = Instant::now();
    let timeout = match options.timeout_seconds {
        None | Some(0) => DEFAULT_TIMEOUT,
        // As upstream, a watch of negative length ends at once.
        Some(seconds) => Duration::from_secs(seconds.try_into().unwrap_or(0)).min(LONGEST_TIMEOUT),
    };
    let mut watcher = Watcher {
        store: store.clone(),
        target: target.clone(),
        options: options.clone(),
        shape,
        first: None,
        position: 0,
        news,
        deadline: now + timeout,
        next_bookmark: now + BOOKMARK_INTERVAL,
        ended: false,
    };
    watcher.start();
    let lines = futures::stream::unfold(watcher, |mut watcher| async move {
        let lines = watcher.next().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Bytes::from(lines)),
            watcher,
        ))
    });
    respond(StatusCode::OK, "application/json", Body::from_stream(lines))
}

/// An error as an event.
fn error_line(status: &Status) -> String {
    format!("{}\n", json!({"type": "ERROR", "object": status.to_json()}))
}

impl Watcher {
    fn start(&mut self) {
        let from = self.options.resource_version;
        let starts_with_state = match self.options.initial_events {
            Some(wanted) => wanted,
            None => from.is_none_or(|version| version == 0),
        };
        if !starts_with_state {
            self.position = match from {
                None | Some(0) => self.store.read(crate::store::State::revision),
                Some(version) => version,
            };
            return;
        }
        let (objects, revision) = selected(&self.store, &self.target, &self.options);
        if let Some(wanted) = from
            && wanted > revision
        {
            // As every error of a watch that has been accepted, this one is sent inside the stream.
            self.first = Some(error_line(&Status::too_large_resource_version(
                wanted, revision,
            )));
            self.ended = true;
            return;
        }
        let mut lines = String::new();
        for object in &objects {
            self.line("ADDED", object, &mut lines);
        }
        if self.options.initial_events == Some(true) && self.options.bookmarks {
            lines.push_str(&self.bookmark(revision, true));
        }
        self.position = revision;
        self.first = Some(lines).filter(|lines| !lines.is_empty());
    }

    /// The next lines; None at the end.
    async fn next(&mut self) -> Option<String> {
        if let Some(lines) = self.first.take() {
            return Some(lines);
        }
        while !self.ended {
            self.news.mark_unchanged();
            let (events, revision) = self.store.read(|state| {
                (
                    state.events_after(self.target.resource, self.position),
                    state.revision(),
                )
            });
            let events = match events {
                Ok(events) => events,
                Err(expired) => {
                    // An HTTP 410 would not do: kube-rs lists again only on an error inside the stream.
                    self.ended = true;
                    return Some(error_line(&expired));
                }
            };
            let mut lines = String::new();
            for event in &events {
                self.event(event, &mut lines);
            }
            self.position = self.position.max(revision);
            if !lines.is_empty() {
                return Some(lines);
            }
            let wake = self.deadline.min(self.next_bookmark);
            if timeout_at(wake, self.news.changed())
                .await
                .is_ok_and(|news| news.is_ok())
            {
                continue;
            }
            self.ended = Instant::now() >= self.deadline;
            self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
            if self.options.bookmarks && !self.ended {
                return Some(self.bookmark(self.position, false));
            }
        }
        None
    }

    /// An object that leaves the selection is DELETED for this watcher, one that enters it is ADDED.
    fn event(&self, event: &Event, lines: &mut String) {
        let selects = |object: &Object| {
            let namespace = self.target.namespace.as_deref();
            namespace.is_none_or(|wanted| object.value["metadata"]["namespace"] == wanted)
                && named(&self.target, object)
                && self.options.selector.matches(&object.value)
        };
        let before = event
            .previous
            .as_ref()
            .is_some_and(|previous| selects(previous));
        let after = event.change != Change::Deleted && selects(&event.object);
        let kind = match (before, after) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        match &event.previous {
            // What leaves a selection is sent as it last was in it, under the version of the change.
            Some(previous) if !after => {
                let mut value = previous.value.clone();
                value["metadata"]["resourceVersion"] = event.revision.to_string().into();
                self.line(kind, &Object::unstored(value), lines);
            }
            _ => self.line(kind, &event.object, lines),
        }
    }

    fn line(&self, kind: &str, object: &Object, lines: &mut String) {
        lines.push_str("{\"type\":\"");
        lines.push_str(kind);
        lines.push_str("\",\"object\":");
        lines.push_str(&self.shape.object(&self.target, object));
        lines.push_str("}\n");
    }

    fn bookmark(&self, revision: u64, ends_initial_events: bool) -> String {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.shape {
            Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_string()),
            _ => (
                self.target.resource.kind_name,
                self.target.served.api_version(),
            ),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }
}
