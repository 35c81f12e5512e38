//! Every timing and tolerance of a run, in one place.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The timings and tolerances of a run. A report carries them, so that a verdict can be read
/// together with the patience behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// How long a proxy under test may take from its start to its first 200 on its ready URL.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub proxy_ready: Duration,
    /// How often a proxy under test may exit before it was ever ready. Waiting longer for one that
    /// does not start only hides why.
    pub start_attempts: u32,
    /// How long a real Kubernetes API may take to start.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub api_ready: Duration,
    /// How long a cluster may take to run what a lab needs of it, and to be rid of it again.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub cluster_ready: Duration,
    /// How long the container outside of a cluster may take to be found once it runs.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub outside_ready: Duration,
    /// How long after a change the dataplane and the load balancer may take to behave as expected.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub converge: Duration,
    /// The shortest pause between two attempts while converging; see [`Self::pause_after`].
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub converge_pause: Duration,
    /// How long a probe waits for an answer that has begun to arrive: after the handshake, for
    /// the identity. Generous, because it costs nothing when the answer comes.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub answer: Duration,
    /// How long a fence may take, which always answers: longer than a busy machine leaves a backend without a processor.
    #[serde(with = "seconds", default = "fence")]
    #[schemars(with = "f64")]
    pub fence: Duration,
    /// How long after its fence came back an unanswered SYN still counts as under way.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub fence_grace: Duration,
    /// Pause between two health checks of one node by the load balancer.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub health_check_interval: Duration,
    /// How long a health check may take before it counts as failed. Long for a machine that stands still now and then: a node
    /// that is left for that alone gets no share meanwhile, and the proxy would be blamed.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub health_check_timeout: Duration,
    /// Checks in a row, with the other result, that change a node's health.
    pub health_check_threshold: u32,
    /// How long a node that has nobody left may go on passing health checks after a connection was known to be lost there:
    /// what the proxy takes from its rules to its health check port. Long for a machine that is busy.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub health_check_slack: Duration,
    /// How long a node may give no answer at all to a *changed* health check before it counts as
    /// unhealthy under it: the proxy may open its port later than the balancer asks.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub health_check_patience: Duration,
    /// Pause before an exited proxy is started again, doubled each time.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub restart_backoff: Duration,
    /// The longest such pause.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub restart_backoff_limit: Duration,
    /// For how long flows are idle that must outlive it. A minute and more is what upstream's bugs took (fx#2588, cal#4310), and
    /// twice as long as all else takes together.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub idle: Duration,
    /// The chance that a correct proxy fails one distribution check.
    pub false_alarm: f64,
    /// The chance with which a distribution check must see one pod of double weight. The number
    /// of connections follows from it; see [`crate::verdict::sample_size`].
    pub power: f64,
    /// The chance that a check misses a pod that it should have seen, or takes a mix of old and
    /// new behaviour for the new one. The number of connections follows from it.
    pub miss: f64,
    /// Connections of a check that expects every one to be dropped or refused.
    pub negative_samples: u32,
}

impl Timing {
    /// How long to pause before the next attempt when this much time has gone by: what is long in coming is looked at less
    /// often, so that a proxy that never gets there takes little from the cases beside it. It is seen an eighth later at
    /// the most.
    pub fn pause_after(&self, waited: Duration) -> Duration {
        self.converge_pause.max(waited / 8)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            proxy_ready: Duration::from_secs(30),
            start_attempts: 4,
            api_ready: Duration::from_secs(60),
            cluster_ready: Duration::from_secs(120),
            outside_ready: Duration::from_secs(30),
            converge: Duration::from_secs(15),
            converge_pause: Duration::from_millis(20),
            answer: Duration::from_secs(3),
            fence: fence(),
            fence_grace: Duration::from_millis(25),
            health_check_interval: Duration::from_millis(100),
            health_check_timeout: Duration::from_secs(2),
            health_check_threshold: 2,
            health_check_slack: Duration::from_secs(1),
            health_check_patience: Duration::from_secs(2),
            restart_backoff: Duration::from_millis(250),
            restart_backoff_limit: Duration::from_secs(5),
            idle: Duration::from_secs(16),
            false_alarm: 1e-6,
            power: 0.999,
            miss: 1e-9,
            negative_samples: 20,
        }
    }
}

fn fence() -> Duration {
    Duration::from_secs(15)
}

/// A time as a number of seconds, as reports have it.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_seconds_and_read_back() {
        let timing = Timing::default();
        let written = serde_json::to_value(&timing).expect("written");
        assert_eq!(written["converge_pause"], 0.02);
        let read: Timing = serde_json::from_value(written).expect("read");
        assert_eq!(read, timing);
    }

    #[test]
    fn what_is_long_in_coming_is_looked_at_less_often() {
        let pause = |waited| Timing::default().pause_after(Duration::from_millis(waited));
        assert_eq!(pause(0), Duration::from_millis(20));
        assert_eq!(pause(160), Duration::from_millis(20));
        assert_eq!(pause(4000), Duration::from_millis(500));
    }
}
