//! A survey from its first request to its last.

use std::time::Duration;

use kube::Client;

use super::ask::ask;
use super::outline::{Survey, survey};
use super::read::{ReadError, read};

/// How long a proxy may take to answer by endpoints that have just changed. kube-proxy waits up to a second before it
/// programs them (`minSyncPeriod`), and programming takes its time in a large cluster.
const SETTLED: Duration = Duration::from_secs(3);

/// What is surveyed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyOptions {
    /// Only Services of this namespace.
    pub namespace: Option<String>,
    /// How long a health check node port may take to answer; nothing when none is asked.
    pub health_within: Option<Duration>,
}

/// Surveys a cluster.
///
/// Slices and health check node ports cannot be read at one moment, so a disagreement is looked at again, a while later, and
/// reported only if there is one then.
///
/// # Errors
/// When the API cannot be reached, or does not allow it. A node that cannot be reached is a finding.
pub async fn look(client: &Client, options: &SurveyOptions) -> Result<Survey, ReadError> {
    let first = look_once(client, options).await?;
    if !first.disagrees() {
        return Ok(first);
    }
    tokio::time::sleep(SETTLED).await;
    look_once(client, options).await
}

async fn look_once(client: &Client, options: &SurveyOptions) -> Result<Survey, ReadError> {
    let mut survey = survey(&read(client, options.namespace.as_deref()).await?);
    if let Some(patience) = options.health_within {
        survey.judge(ask(survey.questions(), patience).await);
    }
    Ok(survey)
}
