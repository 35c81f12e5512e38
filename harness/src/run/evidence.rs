//! Evidence of a failure, kept before anything is torn down.

use std::fs;
use std::io;
use std::path::Path;

use super::ruled::{RULES_MET, Ruled};
use crate::lab::Lab;

/// Writes what the provider can tell of each node, the load balancer's view of the Service, and
/// these journeys and the rules that calls like them met, to a directory.
///
/// # Errors
/// When a file cannot be written. What cannot be had is noted in its file instead.
pub(super) async fn capture(
    lab: &Lab,
    dir: &Path,
    service: &str,
    journeys: &[String],
    ruled: &[Ruled],
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("journeys.txt"), journeys.join("\n"))?;
    if !ruled.is_empty() {
        fs::write(dir.join(RULES_MET), serde_json::to_string_pretty(ruled)?)?;
    }
    let view = match lab.view(service).await {
        Ok(view) => serde_json::to_string_pretty(&view)?,
        Err(error) => crate::error::chain(&error),
    };
    fs::write(dir.join("load-balancer.json"), view)?;
    lab.provider().evidence(lab.world(), dir).await
}
