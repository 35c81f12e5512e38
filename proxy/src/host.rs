//! Settings of the machine that the configuration asks for, written once at the start: `conntrack.*` and `oomScoreAdj`.
//!
//! All of them are files. Those below `/proc/sys/net` belong to the network namespace and need CAP_NET_ADMIN in it; the
//! others belong to the machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Conntrack;

/// kube-proxy's bound of what `conntrack.maxPerCore` may come to on a machine with many cores
/// (kubernetes/pkg/proxy/conntrack/sysctls.go).
const MOST_BY_CORES: u64 = 1 << 20;

/// A setting could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to set {field}: {} cannot be set to {value}", file.display())]
pub struct SettingError {
    /// The field of the configuration.
    pub field: &'static str,
    /// The file behind it.
    pub file: PathBuf,
    /// What was to be written.
    pub value: u64,
    /// Why it could not be.
    #[source]
    pub source: io::Error,
}

/// Where the settings are: `/` but in tests.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        Self { root: "/".into() }
    }

    /// Writes what is set of `conntrack` and not so yet (kubernetes/pkg/proxy/conntrack/sysctls.go).
    ///
    /// A table that is larger than asked for stays, and a hash table that cannot be enlarged with it is only slower, so
    /// that is logged and no error.
    ///
    /// # Errors
    /// The first setting that cannot be written, by its field.
    pub fn apply_conntrack(&self, conntrack: &Conntrack) -> Result<(), SettingError> {
        if let Some(connections) = self.wanted_connections(conntrack) {
            self.enlarge_table(connections)?;
        }
        let seconds =
            |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_secs());
        for (field, sysctl, value) in [
            (
                "conntrack.tcpEstablishedTimeout",
                "nf_conntrack_tcp_timeout_established",
                seconds(conntrack.tcp_established_timeout),
            ),
            (
                "conntrack.tcpCloseWaitTimeout",
                "nf_conntrack_tcp_timeout_close_wait",
                seconds(conntrack.tcp_close_wait_timeout),
            ),
            (
                "conntrack.tcpBeLiberal",
                "nf_conntrack_tcp_be_liberal",
                conntrack.tcp_be_liberal.then_some(1),
            ),
            (
                "conntrack.udpTimeout",
                "nf_conntrack_udp_timeout",
                seconds(conntrack.udp_timeout),
            ),
            (
                "conntrack.udpStreamTimeout",
                "nf_conntrack_udp_timeout_stream",
                seconds(conntrack.udp_stream_timeout),
            ),
        ] {
            if let Some(value) = value {
                self.write(field, &sysctl_file(sysctl), value)?;
            }
        }
        Ok(())
    }

    /// Sets `oomScoreAdj`. Lowering it needs CAP_SYS_RESOURCE.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn apply_oom_score(&self, score: i16) -> io::Result<()> {
        std::fs::write(self.path("proc/self/oom_score_adj"), score.to_string())
    }

    /// How many connections `conntrack.maxPerCore` and `min` come to.
    fn wanted_connections(&self, conntrack: &Conntrack) -> Option<u64> {
        let scaled = u64::from(conntrack.max_per_core?) * self.cores();
        let least = conntrack.min.map_or(0, u64::from);
        // In kube-proxy the bound comes before the least, so that a larger least has no effect then.
        Some(if scaled > MOST_BY_CORES {
            MOST_BY_CORES
        } else {
            scaled.max(least)
        })
    }

    fn enlarge_table(&self, connections: u64) -> Result<(), SettingError> {
        let file = sysctl_file("nf_conntrack_max");
        if self.read(&file).is_none_or(|now| now < connections) {
            self.write("conntrack.maxPerCore", &file, connections)?;
        }
        let buckets = Path::new("sys/module/nf_conntrack/parameters/hashsize");
        if self.read(buckets).is_some_and(|now| now < connections / 4)
            && let Err(error) = self.write("conntrack.maxPerCore", buckets, connections / 4)
        {
            tracing::warn!(%error, cause = %error.source, "connection tracking has fewer buckets than it should");
        }
        Ok(())
    }

    /// The machine's cores that are online, and not those that this process may use: the limit is the machine's.
    fn cores(&self) -> u64 {
        let online = std::fs::read_to_string(self.path("sys/devices/system/cpu/online"));
        let cores = online.ok().and_then(|list| cores_in(&list));
        cores.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64))
    }

    fn read(&self, file: &Path) -> Option<u64> {
        std::fs::read_to_string(self.path(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn write(&self, field: &'static str, file: &Path, value: u64) -> Result<(), SettingError> {
        if self.read(file) == Some(value) {
            return Ok(());
        }
        let file = self.path(file);
        match std::fs::write(&file, value.to_string()) {
            Ok(()) => {
                tracing::info!(file = %file.display(), value, "set {field}");
                Ok(())
            }
            Err(source) => Err(SettingError {
                field,
                file,
                value,
                source,
            }),
        }
    }

    fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.root.join(file)
    }
}

fn sysctl_file(name: &str) -> PathBuf {
    Path::new("proc/sys/net/netfilter").join(name)
}

/// Counts a list such as `0-3,8`.
fn cores_in(list: &str) -> Option<u64> {
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    });
    ranges.sum::<Option<u64>>().filter(|cores| *cores > 0)
}

#[cfg(test)]
mod tests;
