//! Evidence of a failure, kept before anything is torn down.

use std::fs;
use std::io;
use std::path::Path;

use crate::lab::{Lab, NAMESPACE};

/// Writes what the provider can tell of each node, the load balancer's view of the Service, and
/// these journeys, to a directory.
///
/// # Errors
/// When a file cannot be written. What cannot be had is noted in its file instead.
pub(super) async fn capture(
    lab: &Lab,
    dir: &Path,
    service: &str,
    journeys: &[String],
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("journeys.txt"), journeys.join("\n"))?;
    let view = match lab.view(&format!("{NAMESPACE}/{service}")).await {
        Ok(view) => serde_json::to_string_pretty(&view)?,
        Err(error) => crate::error::chain(&error),
    };
    fs::write(dir.join("load-balancer.json"), view)?;
    lab.provider().evidence(lab.world(), dir).await
}
