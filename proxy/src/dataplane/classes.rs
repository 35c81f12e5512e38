//! Classes: fronts that are handled alike share one chain of rules, whatever Service they belong to.

use std::collections::HashMap;
use std::fmt;

use super::element::List;
use crate::plan::{Front, Handling, PortPlan};

/// All that the rules for a front depend on. The endpoints themselves are elements of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    /// What happens to a new connection.
    pub(super) handling: Handling,
    /// Whether the front is a node port, whose key has no address.
    pub(super) node_port: bool,
    /// How many endpoints policy Cluster has; 0 if the handling does not need them.
    pub(super) cluster: u32,
    /// How many endpoints policy Local has; 0 if the handling does not need them.
    pub(super) local: u32,
    /// Session affinity, in seconds.
    pub(super) affinity: Option<u32>,
}

/// What happens to a new connection that was not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No answer.
    Drop,
    /// An ICMP error.
    Reject,
}

/// The choice of one endpoint out of a list, by its length: a chain of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pick {
    pub(super) list: List,
    pub(super) count: u32,
    pub(super) node_port: bool,
    pub(super) affinity: Option<u32>,
}

impl Class {
    /// The class of a front of a Service port. A handling without endpoints, which the plan does not make,
    /// is refused as the plan would have it.
    pub(super) fn of(front: &Front, port: &PortPlan) -> Self {
        let (cluster, local) = (length(&port.cluster), length(&port.local));
        let (handling, cluster, local) = match front.handling {
            Handling::InternalCluster | Handling::ExternalCluster if cluster == 0 => {
                (Handling::Reject, 0, 0)
            }
            Handling::InternalLocal if local == 0 => (Handling::Drop, 0, 0),
            Handling::ExternalLocal if cluster == 0 && local == 0 => (Handling::Reject, 0, 0),
            Handling::InternalCluster | Handling::ExternalCluster => (front.handling, cluster, 0),
            Handling::InternalLocal => (front.handling, 0, local),
            Handling::ExternalLocal => (front.handling, cluster, local),
            Handling::Drop | Handling::Reject => (front.handling, 0, 0),
        };
        let translated = cluster + local > 0;
        Self {
            handling,
            node_port: front.address.is_none(),
            cluster,
            local,
            affinity: port.affinity.filter(|_| translated),
        }
    }

    /// Whether any of its packets are translated: it has a chain.
    pub(super) fn translates(&self) -> bool {
        self.cluster + self.local > 0
    }

    /// What happens to those that are not.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.handling {
            Handling::Reject => Some(Refusal::Reject),
            Handling::Drop => Some(Refusal::Drop),
            Handling::ExternalLocal if self.local == 0 => Some(Refusal::Drop),
            _ => None,
        }
    }

    /// Its choice among policy Cluster's endpoints, if it makes one.
    pub(super) fn cluster_pick(&self) -> Option<Pick> {
        self.pick(List::Cluster, self.cluster)
    }

    /// Its choice among policy Local's endpoints, if it makes one.
    pub(super) fn local_pick(&self) -> Option<Pick> {
        self.pick(List::Local, self.local)
    }

    fn pick(&self, list: List, count: u32) -> Option<Pick> {
        (count > 0).then_some(Pick {
            list,
            count,
            node_port: self.node_port,
            affinity: self.affinity,
        })
    }

    /// Its chain's name.
    pub(super) fn chain(&self) -> String {
        let handling = match self.handling {
            Handling::InternalCluster => "internal-cluster",
            Handling::InternalLocal => "internal-local",
            Handling::ExternalCluster => "external-cluster",
            Handling::ExternalLocal => "external-local",
            Handling::Drop => "drop",
            Handling::Reject => "reject",
        };
        let Self { cluster, local, .. } = self;
        let suffix = Suffix(self.node_port, self.affinity);
        format!("{handling}-{cluster}-{local}{suffix}")
    }
}

impl Pick {
    /// Its chain's name.
    pub(super) fn chain(&self) -> String {
        let list = match self.list {
            List::Cluster => "cluster",
            List::Local => "local",
        };
        let suffix = Suffix(self.node_port, self.affinity);
        format!("pick-{list}-{}{suffix}", self.count)
    }
}

struct Suffix(bool, Option<u32>);

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 {
            write!(f, "-node-port")?;
        }
        match self.1 {
            Some(seconds) => write!(f, "-sticky-{seconds}s"),
            None => Ok(()),
        }
    }
}

/// More endpoints than this a list cannot have: the number of a list's endpoint is below its offset.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX).min(1 << 30)
}

/// The classes of one table, each with a number and a count of its fronts. Those without a front stay until
/// there are many, so that an endpoint that comes and goes does not make the kernel check chains.
#[derive(Debug, Default)]
pub(super) struct Classes {
    numbers: HashMap<Class, Numbered>,
    by_number: Vec<Option<Class>>,
    free: Vec<u32>,
    unused: usize,
}

#[derive(Debug)]
struct Numbered {
    number: u32,
    fronts: u32,
}

impl Classes {
    /// The number for one more front of a class, and whether the class is new.
    pub(super) fn acquire(&mut self, class: Class) -> (u32, bool) {
        if let Some(known) = self.numbers.get_mut(&class) {
            if known.fronts == 0 {
                self.unused -= 1;
            }
            known.fronts += 1;
            return (known.number, false);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.by_number.push(None);
            u32::try_from(self.by_number.len() - 1).expect("there are fewer classes than fronts")
        });
        self.by_number[number as usize] = Some(class);
        self.numbers.insert(class, Numbered { number, fronts: 1 });
        (number, true)
    }

    /// One front less of a class.
    pub(super) fn release(&mut self, number: u32) {
        let class = self.by_number[number as usize].expect("a front's class has a number");
        let known = self.numbers.get_mut(&class).expect("and is known");
        known.fronts -= 1;
        if known.fronts == 0 {
            self.unused += 1;
        }
    }

    /// All of them, the unused included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Class, u32)> {
        self.numbers
            .iter()
            .map(|(class, numbered)| (*class, numbered.number))
    }

    /// Forgets the unused classes, and returns them, if they are more than `limit`.
    pub(super) fn retire(&mut self, limit: usize) -> Vec<(Class, u32)> {
        if self.unused <= limit {
            return Vec::new();
        }
        let retired: Vec<_> = self
            .numbers
            .extract_if(|_, numbered| numbered.fronts == 0)
            .map(|(class, numbered)| (class, numbered.number))
            .collect();
        for (_, number) in &retired {
            self.by_number[*number as usize] = None;
            self.free.push(*number);
        }
        self.unused = 0;
        retired
    }
}
