//! Objects, the one resource version that grows over all of them, and the events a watch replays.
//!
//! Rules: a write happens under the lock from reading the old object to recording the event, so requests are
//! serialised; a watcher keeps its own position in the history and is only told that there is news, so a slow
//! watcher costs nothing and loses nothing until its position leaves the history, which it is told as 410.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;

use crate::resource::{RESOURCES, Resource};
use crate::service::Pools;
use crate::status::Status;

/// Events kept for each resource. Ten thousand Services created and deleted fit.
const HISTORY: usize = 32_768;
/// Bytes of JSON that these events may hold, for each resource; the newest event stays in any case.
const HISTORY_BYTES: usize = 64 << 20;

/// What each field manager last applied to an object, so that a field that it drops is removed.
pub(crate) type Applied = Arc<BTreeMap<String, Value>>;

/// (namespace, name); the namespace is empty for cluster-scoped objects.
pub(crate) type Key = (String, String);

/// An object in its stored version, and its JSON text, which is most of what a list or watch sends.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) json: Box<str>,
    /// Where the text goes on after `kind` and `apiVersion`.
    rest: usize,
    pub(crate) applied: Applied,
}

impl Object {
    fn new(value: Value, applied: Applied) -> Self {
        let (json, rest) = text_of(&value);
        Self {
            value,
            json,
            rest,
            applied,
        }
    }

    /// The text without `kind` and `apiVersion`, as items of a list are sent; what follows the opening brace.
    pub(crate) fn untyped(&self) -> &str {
        &self.json[self.rest..]
    }

    /// An object that is only shown: the result of a dry run, or an earlier state.
    pub(crate) fn unstored(value: Value) -> Self {
        Self::new(value, Applied::default())
    }
}

/// The text with `kind` and `apiVersion` in front, and where the rest starts.
fn text_of(value: &Value) -> (Box<str>, usize) {
    let Value::Object(map) = value else {
        return (value.to_string().into(), 0);
    };
    let mut text = String::from("{");
    let mut add = |key: &str, value: &Value| {
        if !text.ends_with('{') {
            text.push(',');
        }
        text.push_str(&format!("\"{key}\":{value}"));
        text.len()
    };
    let mut typed = 1;
    for key in ["kind", "apiVersion"] {
        if let Some(value) = map.get(key) {
            typed = add(key, value);
        }
    }
    for (key, value) in map
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion"))
    {
        add(key, value);
    }
    text.push('}');
    let rest = if typed > 1 && text.as_bytes().get(typed) == Some(&b',') {
        typed + 1
    } else {
        typed
    };
    (text.into(), rest)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change; `previous` tells a selecting watcher whether the object enters or leaves its selection.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) change: Change,
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
}

impl Event {
    /// Bytes of JSON that it may keep alive alone.
    fn size(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |object| object.json.len());
        self.object.json.len() + previous
    }
}

#[derive(Debug)]
struct Collection {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Event>,
    /// The sum over `history`.
    history_bytes: usize,
    /// Events after this revision are all in `history`.
    complete_since: u64,
}

/// Everything that a write reads and changes.
#[derive(Debug)]
pub(crate) struct State {
    revision: u64,
    collections: Vec<Collection>,
    /// Cluster addresses and node ports in use.
    pub(crate) pools: Pools,
}

/// The store; cheap to share behind an `Arc`.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    news: Vec<watch::Sender<u64>>,
}

impl Store {
    /// An empty store whose first resource version comes from the clock, so that a restart never rewinds it.
    pub(crate) fn new(pools: Pools) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let revision = u64::try_from(since_epoch.as_micros()).unwrap_or(1).max(1);
        let collections = RESOURCES
            .iter()
            .map(|_| Collection {
                objects: BTreeMap::new(),
                history: VecDeque::new(),
                history_bytes: 0,
                complete_since: revision,
            })
            .collect();
        Self {
            state: Mutex::new(State {
                revision,
                collections,
                pools,
            }),
            news: RESOURCES
                .iter()
                .map(|_| watch::Sender::new(revision))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic would be a bug of this crate, and others can still be served: each of the changes that a write makes
        // through `State` and `Pools` leaves them whole, though several may be cut off between two of them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads under the lock.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Runs a write under the lock, then tells the watchers.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.revision;
        let result = write(&mut state);
        let after = state.revision;
        let changed: Vec<usize> = state
            .collections
            .iter()
            .enumerate()
            .filter(|(_, collection)| {
                collection
                    .history
                    .back()
                    .is_some_and(|event| event.revision > before)
            })
            .map(|(index, _)| index)
            .collect();
        drop(state);
        for index in changed {
            self.news[index].send_replace(after);
        }
        result
    }

    /// Is woken after each change of the resource.
    pub(crate) fn news(&self, resource: &Resource) -> watch::Receiver<u64> {
        self.news[resource.index()].subscribe()
    }
}

impl State {
    /// The newest resource version.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        self.collections[resource.index()].objects.get(key).cloned()
    }

    /// Objects of one namespace, or of all, in the order of their keys.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> {
        let start = (namespace.unwrap_or_default().to_string(), String::new());
        self.collections[resource.index()]
            .objects
            .range(start..)
            .take_while(move |((found, _), _)| namespace.is_none_or(|wanted| wanted == found))
    }

    /// Stores a value under the next resource version and records the event.
    pub(crate) fn put(
        &mut self,
        resource: &Resource,
        key: Key,
        value: Value,
        applied: Applied,
    ) -> Arc<Object> {
        let object = self.next_object(value, applied);
        let collection = &mut self.collections[resource.index()];
        let previous = collection.objects.insert(key, object.clone());
        let change = if previous.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        collection.record(Event {
            revision: self.revision,
            change,
            object: object.clone(),
            previous,
        });
        object
    }

    /// Notes what a manager applied without a change that anyone can see.
    pub(crate) fn remember_applied(
        &mut self,
        resource: &Resource,
        key: &Key,
        applied: Applied,
    ) -> Option<Arc<Object>> {
        let slot = self.collections[resource.index()].objects.get_mut(key)?;
        *slot = Arc::new(Object::new(slot.value.clone(), applied));
        Some(slot.clone())
    }

    /// Removes an object; `last` is what the DELETED event and the answer carry, under a new resource version.
    pub(crate) fn remove(
        &mut self,
        resource: &Resource,
        key: &Key,
        last: Value,
    ) -> Option<Arc<Object>> {
        let index = resource.index();
        let previous = self.collections[index].objects.remove(key)?;
        let object = self.next_object(last, previous.applied.clone());
        self.collections[index].record(Event {
            revision: self.revision,
            change: Change::Deleted,
            object: object.clone(),
            previous: Some(previous),
        });
        Some(object)
    }

    /// The events after a revision.
    ///
    /// # Errors
    /// 410 when the history no longer reaches back that far.
    pub(crate) fn events_after(
        &self,
        resource: &Resource,
        revision: u64,
    ) -> Result<Vec<Event>, Status> {
        let collection = &self.collections[resource.index()];
        if revision < collection.complete_since {
            return Err(Status::expired(revision, collection.complete_since));
        }
        let first = collection
            .history
            .partition_point(|event| event.revision <= revision);
        Ok(collection.history.range(first..).cloned().collect())
    }

    fn next_object(&mut self, mut value: Value, applied: Applied) -> Arc<Object> {
        self.revision += 1;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        }
        Arc::new(Object::new(value, applied))
    }
}

impl Collection {
    fn record(&mut self, event: Event) {
        self.history_bytes += event.size();
        self.history.push_back(event);
        while (self.history.len() > HISTORY || self.history_bytes > HISTORY_BYTES)
            && self.history.len() > 1
            && let Some(dropped) = self.history.pop_front()
        {
            self.history_bytes -= dropped.size();
            self.complete_since = dropped.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Kind, by_kind};

    #[test]
    fn large_objects_push_old_events_out() {
        let store = Store::new(Pools::new(&[], 1..=2));
        let maps = by_kind(Kind::ConfigMap);
        let key = || (String::new(), "a".to_string());
        let first = store.read(State::revision);
        store.write(|state| {
            for number in 0..40 {
                let value = json!({"metadata": {}, "n": number, "data": "x".repeat(2 << 20)});
                state.put(maps, key(), value, Applied::default());
            }
        });
        store.read(|state| {
            let expired = state.events_after(maps, first).expect_err("gone");
            assert_eq!((expired.code, expired.reason), (410, "Expired"));
            let since = state.collections[maps.index()].complete_since;
            let kept = state.events_after(maps, since).expect("all of it");
            assert!((10..20).contains(&kept.len()), "{}", kept.len());
            assert_eq!(kept[0].revision, since + 1);
        });
    }
}
