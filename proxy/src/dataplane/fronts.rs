//! Who has which front, where several Services ask for the same.

use std::collections::{BTreeSet, HashMap};

use super::element::{FrontKey, Key, Value};

/// The fronts of one table.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    fronts: HashMap<FrontKey, Front>,
    /// Those that more than one Service port asks for.
    contested: BTreeSet<FrontKey>,
}

/// A front.
#[derive(Debug)]
struct Front {
    claims: Claims,
    installed: Option<Installed>,
}

/// What the kernel has for a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// The number of its class.
    pub(super) class: u32,
    /// The Service port that has it.
    pub(super) id: u32,
    /// Whether its sources are restricted.
    pub(super) ranged: bool,
}

impl Installed {
    /// The elements of a front.
    pub(super) fn elements(self, key: FrontKey) -> impl Iterator<Item = (Key, Value)> {
        let Self { class, id, ranged } = self;
        let checked = ranged.then_some((Key::SourceChecked(key), Value::Number(id)));
        let class = (Key::Service(key), Value::Number(class));
        [class, (Key::ServiceId(key), Value::Number(id))]
            .into_iter()
            .chain(checked)
    }
}

/// The Service ports that ask for a front: nearly always one.
#[derive(Debug)]
enum Claims {
    One(u32),
    Several(Vec<u32>),
}

impl Claims {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }

    fn from(mut ids: Vec<u32>) -> Option<Self> {
        match ids.len() {
            0 => None,
            1 => ids.pop().map(Self::One),
            _ => Some(Self::Several(ids)),
        }
    }
}

impl Fronts {
    /// A Service port asks for a front. One that has it under several names asks once.
    pub(super) fn claim(&mut self, key: FrontKey, id: u32) {
        let Some(front) = self.fronts.get_mut(&key) else {
            let claims = Claims::One(id);
            let installed = None;
            self.fronts.insert(key, Front { claims, installed });
            return;
        };
        let ids = front.claims.as_slice();
        if !ids.contains(&id) {
            let ids = ids.iter().copied().chain([id]).collect();
            front.claims = Claims::from(ids).expect("at least one");
            self.contested.insert(key);
        }
    }

    /// A Service port asks for a front no more. A front that nobody asks for is forgotten, and what is
    /// installed for it with it.
    pub(super) fn release(&mut self, key: FrontKey, id: u32) {
        let Some(front) = self.fronts.get_mut(&key) else {
            return;
        };
        let mut ids = front.claims.as_slice().to_vec();
        ids.retain(|claimed| *claimed != id);
        if ids.len() <= 1 {
            self.contested.remove(&key);
        }
        match Claims::from(ids) {
            Some(claims) => front.claims = claims,
            None => {
                self.fronts.remove(&key);
            }
        }
    }

    /// The Service ports that ask for a front.
    pub(super) fn claims(&self, key: &FrontKey) -> &[u32] {
        self.fronts
            .get(key)
            .map_or(&[], |front| front.claims.as_slice())
    }

    /// What is installed for a front.
    pub(super) fn installed(&self, key: &FrontKey) -> Option<Installed> {
        self.fronts.get(key)?.installed
    }

    /// Remembers what is installed for a front that somebody asks for.
    pub(super) fn install(&mut self, key: &FrontKey, installed: Installed) {
        if let Some(front) = self.fronts.get_mut(key) {
            front.installed = Some(installed);
        }
    }

    /// All that is installed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FrontKey, Installed)> {
        self.fronts
            .iter()
            .filter_map(|(key, front)| Some((*key, front.installed?)))
    }

    /// The fronts that more than one Service port asks for.
    pub(super) fn contested(&self) -> impl Iterator<Item = FrontKey> {
        self.contested.iter().copied()
    }
}
