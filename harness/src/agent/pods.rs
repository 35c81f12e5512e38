//! Pods on a machine: what runs in them, and how an agent beside them finds their networks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::error::AgentError;
use crate::netns::Namespace;

/// The words by which the process of a pod is known: `onehop pod --run RUN NAME`, and what follows.
const WORDS: [&str; 2] = ["pod", "--run"];

/// How long a pod that the API calls running may take to be found.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// What runs in a pod: nothing, until it is asked to end. Its network is used from outside.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn pause() -> io::Result<()> {
    let (mut end, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The networks of these pods of a run, all of which must run on this machine. The process ids
/// must be the machine's own (`hostPID`).
pub(super) async fn find(run: &str, wanted: &[String]) -> Result<Vec<Namespace>, AgentError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = running(run).map_err(AgentError::host("this machine", "list processes"))?;
        let missing: Vec<_> = wanted
            .iter()
            .filter(|pod| !found.contains_key(*pod))
            .collect();
        if missing.is_empty() {
            let open = |pod: &String| {
                let path = format!("/proc/{}/ns/net", found[pod]);
                Namespace::open(pod, Path::new(&path))
                    .map_err(AgentError::host(pod, "open the network"))
            };
            return wanted.iter().map(open).collect();
        }
        if Instant::now() > deadline {
            return Err(AgentError::Unknown(format!(
                "pods {missing:?} on its machine"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The pods of a run on this machine: their names, and the ids of their processes.
fn running(run: &str) -> io::Result<BTreeMap<String, u32>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // A process may end between the two.
        if let Ok(command) = fs::read(format!("/proc/{id}/cmdline"))
            && let Some(pod) = pod_of(&command, run)
        {
            found.insert(pod, id);
        }
    }
    Ok(found)
}

/// The name of the pod whose process has this command line.
fn pod_of(command: &[u8], run: &str) -> Option<String> {
    let words: Vec<_> = command.split(|octet| *octet == 0).collect();
    let [_, first, second, of_run, pod, ..] = words[..] else {
        return None;
    };
    let ours = [first, second] == WORDS.map(str::as_bytes) && of_run == run.as_bytes();
    ours.then(|| String::from_utf8_lossy(pod).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_run_and_its_name() {
        let line = b"/onehop\0pod\0--run\0r7\0web-0\0";
        assert_eq!(pod_of(line, "r7"), Some("web-0".to_owned()));
        assert_eq!(pod_of(line, "r8"), None);
        assert_eq!(pod_of(b"/onehop\0agent\0--run\0r7\0web-0\0", "r7"), None);
        assert_eq!(pod_of(b"", "r7"), None);
    }

    #[tokio::test]
    async fn a_pod_that_does_not_run_is_named() {
        assert!(running("no such run").expect("there is /proc").is_empty());
    }
}
