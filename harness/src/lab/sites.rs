//! The hosts of a lab, and who acts on each.

use std::collections::{BTreeMap, BTreeSet};

use super::join_results;
use crate::agent::{AgentError, Site};
use crate::tap::Seen;

/// All hosts of a lab: each is of one site.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    sites: Vec<Site>,
    by_host: BTreeMap<String, usize>,
}

impl Sites {
    /// Adds a site with its hosts.
    pub(crate) fn add(&mut self, site: Site, hosts: impl IntoIterator<Item = String>) {
        let position = self.sites.len();
        self.sites.push(site);
        let hosts = hosts.into_iter().map(|host| (host, position));
        self.by_host.extend(hosts);
    }

    /// The site of a host that the world is known to have.
    ///
    /// # Panics
    /// When there is no such host: cases are checked against their world before they run.
    pub(crate) fn of(&self, host: &str) -> &Site {
        let position = self.by_host.get(host);
        &self.sites[*position.unwrap_or_else(|| panic!("no host {host}"))]
    }

    /// Whether there is such a host.
    pub(crate) fn has(&self, host: &str) -> bool {
        self.by_host.contains_key(host)
    }

    /// What all taps have seen of these numbers, but for those of the sites that these hosts are of: they cannot be
    /// asked now.
    ///
    /// # Errors
    /// When a tap cannot be read.
    pub(crate) async fn seen(
        &self,
        sequences: &[u32],
        away: &BTreeSet<String>,
    ) -> Result<Seen, AgentError> {
        let away: BTreeSet<_> = away
            .iter()
            .filter_map(|host| self.by_host.get(host))
            .collect();
        let there = self.sites.iter().enumerate();
        let there = there.filter(|(position, _)| !away.contains(position));
        let all = join_results(there.map(|(_, site)| site.seen(sequences))).await?;
        Ok(all.into_iter().fold(Seen::default(), Seen::and))
    }
}
