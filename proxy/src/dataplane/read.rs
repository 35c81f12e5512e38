//! What the kernel has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use ipnet::IpNet;
use onehop_nft::{Element, Error, Netfilter, Rule, Set};

use super::element::FrontKey;
use super::encode;
use super::layout::{self, Ruled};
use super::options::Options;
use super::state::State;
use super::write::{ruled_chains_of, table};
use crate::model::Family;

/// What there is of a family's table, by name.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whether there is a table of our name.
    pub(super) table: bool,
    /// Whether somebody made it dormant.
    dormant: bool,
    /// Its chains.
    pub(super) chains: BTreeSet<String>,
    /// Those of its sets and maps that are ours.
    pub(super) sets: BTreeSet<String>,
    /// Those that are not, and have a name.
    pub(super) strange_sets: BTreeSet<String>,
}

impl Found {
    /// Looks for the table of a family.
    pub(super) fn look(netfilter: &mut Netfilter, family: Family) -> Result<Self, Error> {
        let wanted = table(family);
        let tables = netfilter.tables(Some(wanted.family))?;
        let found = tables
            .into_iter()
            .find(|found| found.object.name == wanted.name);
        let Some(found) = found else {
            return Ok(Self::default());
        };
        let chains = netfilter.chains(&wanted)?;
        let known: BTreeSet<_> = layout::sets(family)
            .into_iter()
            .map(|set| set.name)
            .collect();
        let sets = netfilter.sets(&wanted)?.into_iter();
        let sets = sets.map(|set| set.object.name);
        // Sets that a rule made for itself go with the rule.
        let named = sets.filter(|name| !name.starts_with("__"));
        let (sets, strange_sets) = named.partition(|name| known.contains(name));
        Ok(Self {
            table: true,
            dormant: found.object.dormant,
            chains: chains.into_iter().map(|chain| chain.object.name).collect(),
            sets,
            strange_sets,
        })
    }

    /// The ids that an earlier process gave, by front. One that is missed, because somebody changes the table at
    /// the same time, is given anew, which costs the affinity of its clients.
    pub(super) fn ids(
        &self,
        netfilter: &mut Netfilter,
        family: Family,
    ) -> Result<HashMap<FrontKey, u32>, Error> {
        if !self.sets.contains(layout::SERVICE_IDS) {
            return Ok(HashMap::new());
        }
        let elements = netfilter.changing_elements(&table(family), layout::SERVICE_IDS)?;
        let ids = elements.iter();
        Ok(ids
            .filter_map(|element| encode::front_id(family, element))
            .collect())
    }
}

/// Where the kernel's state is not the desired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In whose family's table.
    pub family: Family,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = layout::table_family(self.family).keyword();
        write!(f, "table {family} {}: {}", layout::TABLE, self.what)
    }
}

/// What a family's table should be.
pub(super) struct Desired<'a> {
    pub(super) family: Family,
    pub(super) state: &'a State,
    pub(super) options: &'a Options,
    pub(super) service_cidrs: &'a [IpNet],
    /// Chains that may be there still.
    pub(super) retired: BTreeSet<String>,
}

impl Desired<'_> {
    /// How the kernel's state differs. Others may change nftables meanwhile: if they change this very table, there
    /// may be more differences or fewer, and they report it, so that it is compared again.
    pub(super) fn differences(&self, netfilter: &mut Netfilter) -> Result<Vec<Difference>, Error> {
        let mut what = Vec::new();
        let found = Found::look(netfilter, self.family)?;
        if found.dormant {
            what.push("is dormant".to_owned());
        }
        if found.table {
            self.compare_chains(netfilter, &mut what)?;
            self.compare_sets(netfilter, &found, &mut what)?;
        } else {
            what.push("is missing".to_owned());
        }
        let family = self.family;
        Ok(what
            .into_iter()
            .map(|what| Difference { family, what })
            .collect())
    }

    fn compare_chains(
        &self,
        netfilter: &mut Netfilter,
        what: &mut Vec<String>,
    ) -> Result<(), Error> {
        let table = table(self.family);
        let chains = netfilter.chains(&table)?.into_iter();
        let mut chains: BTreeMap<_, _> = chains
            .map(|chain| (chain.object.name.clone(), chain.object))
            .collect();
        let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for rule in netfilter.rules(&table)? {
            let rule = rule.object;
            rules.entry(rule.chain).or_default().push(rule.rule);
        }
        for (name, ruled) in self.chains() {
            let Some(chain) = chains.remove(&name) else {
                what.push(format!("chain {name} is missing"));
                continue;
            };
            if chain != ruled.chain {
                what.push(format!("chain {name} is {chain:?}, not {:?}", ruled.chain));
            }
            let rules = rules.remove(&name).unwrap_or_default();
            if rules.len() != ruled.rules.len() {
                let (is, should) = (rules.len(), ruled.rules.len());
                what.push(format!("chain {name} has {is} rules, not {should}"));
            }
            for (number, (is, should)) in rules.iter().zip(&ruled.rules).enumerate() {
                if is != should {
                    what.push(format!(
                        "rule {number} of chain {name} is {is:?}, not {should:?}"
                    ));
                }
            }
        }
        let strange = chains
            .into_keys()
            .filter(|name| !self.retired.contains(name));
        what.extend(strange.map(|name| format!("chain {name} should not be there")));
        Ok(())
    }

    fn chains(&self) -> BTreeMap<String, Ruled> {
        let fixed = layout::chains(self.family, self.options).into_iter();
        let fixed = fixed.map(|mut ruled| {
            if ruled.chain.name == layout::UNALLOCATED {
                ruled.rules = layout::unallocated(self.family, self.service_cidrs);
            }
            ruled
        });
        let classes = self.state.classes(self.family);
        let classes = classes.flat_map(|class| {
            ruled_chains_of(&class, self.family, self.options).collect::<Vec<_>>()
        });
        let chains = fixed.chain(classes);
        chains
            .map(|ruled| (ruled.chain.name.clone(), ruled))
            .collect()
    }

    fn compare_sets(
        &self,
        netfilter: &mut Netfilter,
        found: &Found,
        what: &mut Vec<String>,
    ) -> Result<(), Error> {
        let strange = found.strange_sets.iter();
        what.extend(strange.map(|name| format!("set {name} should not be there")));
        let mut desired: BTreeMap<&str, BTreeSet<Element>> = BTreeMap::new();
        for (key, value) in self.state.elements(self.family) {
            let elements = desired.entry(encode::set_of(&key)).or_default();
            elements.insert(encode::element(&key, &value));
        }
        for Set { name, .. } in layout::sets(self.family) {
            if !found.sets.contains(&name) {
                what.push(format!("set {name} is missing"));
            } else if name != layout::AFFINITY {
                let is = netfilter.elements_beside_others(&table(self.family), &name)?;
                let is: BTreeSet<_> = is.into_iter().collect();
                let should = desired.remove(name.as_str()).unwrap_or_default();
                let missing = should.difference(&is);
                what.extend(missing.map(|element| format!("set {name} lacks {element:?}")));
                let strange = is.difference(&should);
                what.extend(strange.map(|element| format!("set {name} has {element:?}")));
            }
        }
        Ok(())
    }
}
