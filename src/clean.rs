//! `onehop clean`: removes what a run that was killed has left in a cluster.

use std::process::ExitCode;

use miette::{IntoDiagnostic, Result, miette};
use onehop_harness::cluster;
use onehop_harness::error::chain;
use onehop_harness::timing::Timing;
use tokio::runtime::Runtime;

use crate::arguments::ClusterArguments;
use crate::context;
use crate::output::say;

pub(crate) fn clean(arguments: &ClusterArguments) -> Result<ExitCode> {
    let cleaned = Runtime::new().into_diagnostic()?.block_on(async {
        let client = context::client_of(arguments).await?;
        let cleaned = cluster::clean(&client, &Timing::default()).await;
        cleaned.map_err(|error| miette!("{}", chain(&error)))
    });
    say!(
        "{}",
        if cleaned? {
            "removed what was left"
        } else {
            "there is nothing of onehop's"
        }
    );
    Ok(ExitCode::SUCCESS)
}
