//! Committing a fault: to a profile, to a lab, and to the Service of each case.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use onehop_harness::lab::Lab;
use onehop_harness::profile::Profile;
use onehop_harness::run::{Sabotage, Victim};
use onehop_harness::world::Family;
use tokio::task::JoinHandle;

use super::forgery::Forgery;
use super::rules::{Rules, Tables, ip, nft};
use super::scene::Scene;
use super::{Deed, Fault};

/// Pause between two times that chains are emptied: shorter than a round of any case's questions.
const EMPTYING: Duration = Duration::from_millis(50);

/// A fault that has been committed to a lab. It ends with this.
#[derive(Debug, Default)]
pub struct Committed {
    _going_on: Option<Going>,
}

/// Something that goes on until this is dropped.
#[derive(Debug)]
pub(super) struct Going(JoinHandle<()>);

impl Going {
    pub(super) fn start(what: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(what))
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fault {
    /// Whether it can be committed beside this proxy.
    ///
    /// # Errors
    /// Why not.
    pub fn works_on(&self, profile: &Profile) -> Result<(), String> {
        match self.deed {
            Deed::Emptied(_) if profile.tool.is_none() || mode(profile) != "nftables" => {
                Err("it empties chains that kube-proxy has in nftables mode".to_owned())
            }
            Deed::Setting { instead_of, .. } if !has(profile, instead_of) => {
                Err(format!("no file of its profile has `{instead_of}`"))
            }
            _ => Ok(()),
        }
    }

    /// The proxy with this fault, as far as its profile makes it.
    #[must_use]
    pub fn profile(&self, mut profile: Profile) -> Profile {
        if let Deed::Setting {
            instead_of,
            written,
        } = self.deed
        {
            for text in profile.netns.files.values_mut() {
                *text = rewritten(text, instead_of, written);
            }
        }
        profile
    }

    /// Commits what concerns a lab as a whole. To be called within a runtime of several threads.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn commit(&self, lab: &Arc<Lab>) -> Result<Committed, String> {
        let going = match self.deed {
            Deed::Emptied(chains) => Some(keep_empty(lab, chains).await?),
            Deed::Stopped { node, turns } => {
                stop(lab, node, true)?;
                turns.map(|turns| Going::start(take_turns(Arc::downgrade(lab), node, turns)))
            }
            Deed::Rules(_) | Deed::Health(_) | Deed::Setting { .. } => None,
        };
        Ok(Committed { _going_on: going })
    }

    /// What commits the fault to the Service of a case, where it concerns Services one by one.
    pub fn sabotage(&self) -> Option<Sabotage> {
        // Backends answer on the same runtime, while nft runs.
        match self.deed {
            Deed::Rules(rules) => Some(Sabotage::new(move |victim| {
                tokio::task::block_in_place(|| add(victim, rules))
            })),
            Deed::Health(forgery) => Some(Sabotage::new(move |victim| {
                tokio::task::block_in_place(|| forge(victim, forgery))
            })),
            Deed::Emptied(_) | Deed::Stopped { .. } | Deed::Setting { .. } => None,
        }
    }
}

/// A text with one thing in place of another and what follows it in its line.
fn rewritten(text: &str, instead_of: &str, written: &str) -> String {
    let line = |line: &str| match line.split_once(instead_of) {
        Some((before, _)) => format!("{before}{written}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn mode(profile: &Profile) -> &str {
    profile.mode.as_deref().unwrap_or_default()
}

fn has(profile: &Profile, text: &str) -> bool {
    let mut files = profile.netns.files.values();
    files.any(|file| file.contains(text))
}

/// Adds the rules of a fault in both families.
fn add(victim: &Victim<'_>, deed: impl Fn(&Scene<'_>, &mut Rules)) -> Result<Tables, String> {
    let rules = Family::ALL.map(|family| {
        let mut rules = Rules::default();
        deed(&Scene { victim, family }, &mut rules);
        (family, rules)
    });
    Tables::add(victim.lab, victim.port, &rules)
}

/// Has somebody else answer on the Service's health check port, where it has one.
fn forge(victim: &Victim<'_>, forgery: Forgery) -> Result<Option<(Tables, Going)>, String> {
    let Some(health_port) = victim.service.health_check_node_port else {
        return Ok(None);
    };
    let served = forgery.serve(victim).map_err(|error| error.to_string())?;
    let tables = add(victim, |scene, rules| {
        forgery.divert(health_port, scene.victim.port, rules);
    })?;
    Ok(Some((tables, served)))
}

/// Empties these chains of kube-proxy on every node: as soon as its first sync has made them, and again and again, because
/// it fills them whenever it syncs everything.
async fn keep_empty(lab: &Lab, chains: &[&str]) -> Result<Going, String> {
    let flush = |family| {
        let each = chains.iter();
        let each =
            each.map(move |chain| format!("flush chain {} kube-proxy {chain}\n", ip(family)));
        each.collect::<String>()
    };
    let script = Family::ALL.map(flush).concat();
    let nodes = lab.world().nodes.iter();
    let nodes: Vec<_> = nodes
        .map(|node| lab.netns().namespace(&node.name).clone())
        .collect();
    let empty = move || {
        let mut nodes = nodes.iter();
        tokio::task::block_in_place(|| nodes.try_for_each(|node| nft(node, &script)))
    };
    let deadline = Instant::now() + lab.timing().converge;
    while let Err(error) = empty() {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(EMPTYING).await;
    }
    Ok(Going::start(async move {
        loop {
            tokio::time::sleep(EMPTYING).await;
            // What cannot be emptied now can be the next time.
            let _ = empty();
        }
    }))
}

async fn take_turns(lab: Weak<Lab>, node: &'static str, (stopped, going): (Duration, Duration)) {
    loop {
        for (time, then_stopped) in [(stopped, false), (going, true)] {
            tokio::time::sleep(time).await;
            let Some(lab) = lab.upgrade() else { return };
            // A proxy that has exited is found out when the run ends.
            let _ = stop(&lab, node, then_stopped);
        }
    }
}

fn stop(lab: &Lab, node: &str, stopped: bool) -> Result<(), String> {
    let mut proxies = lab.netns().proxies().iter();
    let proxy = proxies.find(|proxy| proxy.node() == node);
    let proxy = proxy.ok_or_else(|| format!("no proxy on {node}"))?;
    let done = proxy.stop(stopped);
    done.map_err(|error| format!("the proxy on {node} cannot be stopped: {error}"))
}
