//! When a proxy begins to program the kernel, and with what.

use std::time::Duration;

use super::{Proxy, Work, settings};
use crate::config::LocalDetector;
use crate::metrics::ResyncReason;
use crate::run::RunError;
use crate::run::syncer::Syncer;

/// How long the Node may take to get what the proxy needs of it.
const POD_CIDRS_PATIENCE: Duration = Duration::from_mins(5);
const ADDRESSES_PATIENCE: Duration = Duration::from_secs(30);

impl Proxy {
    /// Whether all is known that the first rules need, or was waited for long enough.
    pub(super) fn may_begin(&self) -> Result<bool, RunError> {
        if !self.world.is_complete() {
            return Ok(false);
        }
        let waited = self.started.elapsed();
        let needs_ranges = self.config.local_detector == LocalDetector::NodeCidr;
        if needs_ranges && self.world.pod_cidrs.is_empty() {
            return if waited < POD_CIDRS_PATIENCE {
                Ok(false)
            } else {
                Err(RunError::NoPodCidrs {
                    node: self.node.clone(),
                    minutes: POD_CIDRS_PATIENCE.as_secs() / 60,
                })
            };
        }
        let primary = settings::primary(&self.config, &self.world.index.node().addresses);
        Ok(!primary.is_empty() || waited >= ADDRESSES_PATIENCE)
    }

    /// Opens the kernel's tables, and has all written.
    pub(super) fn begin(&mut self) -> Result<(), RunError> {
        self.primary = settings::primary(&self.config, &self.world.index.node().addresses);
        if self.primary.is_empty() {
            let node = &self.node;
            tracing::warn!(
                node,
                "the Node is missing or has no address; until it has, no address is a primary one"
            );
        }
        let options = self.options();
        let Work::Waiting(around) = std::mem::replace(&mut self.work, Work::Beginning) else {
            unreachable!("only a proxy that waits begins");
        };
        around.state.started();
        around.metrics.resync(ResyncReason::Start);
        let syncer = Syncer::open(options.clone(), *around).map_err(RunError::Dataplane)?;
        self.work = Work::Syncing(Box::new(syncer), Box::new(options));
        self.want_all();
        Ok(())
    }
}
