//! What can be tested without the real programs: their place is taken by shell scripts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::tools::testing::script;

/// A folder with an etcd and a kube-apiserver that are scripts.
fn config(dir: &Path, etcd: &str, apiserver: &str) -> ControlPlaneConfig {
    script(&dir.join("etcd"), etcd);
    script(&dir.join("kube-apiserver"), apiserver);
    ControlPlaneConfig {
        assets: dir.to_owned(),
        dir: dir.join("run"),
        address: "10.0.0.1:6443".parse().unwrap(),
        etcd_ports: (2379, 2380),
        service_cidrs: vec![
            "10.96.0.0/16".parse().unwrap(),
            "fd00:96::/112".parse().unwrap(),
        ],
        ready_within: Duration::from_secs(60),
    }
}

const RUNS: &str = "echo ready to serve client requests; exec sleep 60";

#[tokio::test]
async fn readiness_is_asked_for_in_order_until_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let asked = AtomicUsize::new(0);
    let prepared = AtomicUsize::new(0);
    let get = async |endpoint: &Endpoint, path: &str| {
        assert_eq!(endpoint.url, "https://10.0.0.1:6443");
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(path, READY_PATHS[usize::from(nth >= 3)]);
        if nth < 2 {
            Err("503".to_owned())
        } else {
            Ok(())
        }
    };
    let prepare = |_: &mut Command| {
        prepared.fetch_add(1, Ordering::Relaxed);
    };
    let mut control_plane = ControlPlane::start(config(dir.path(), RUNS, RUNS), prepare, get)
        .await
        .unwrap();
    assert_eq!((asked.into_inner(), prepared.into_inner()), (4, 2));
    control_plane.check().unwrap();
    let kubeconfig = fs::read_to_string(&control_plane.endpoint().kubeconfig).unwrap();
    assert!(kubeconfig.contains(&control_plane.endpoint().token));
    assert_eq!(control_plane.endpoint().token.len(), 32);
    control_plane.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_process_that_ends_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), RUNS, "echo 'Error: bad flag' >&2; exit 7");
    let get = async |_: &Endpoint, _: &str| Err("refused".to_owned());
    let error = ControlPlane::start(config, |_| {}, get).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "kube-apiserver ended (exit status: 7); its last lines:\n  Error: bad flag"
    );
}

#[tokio::test]
async fn one_that_never_gets_ready_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), RUNS, "echo waiting for etcd; exec sleep 60");
    config.ready_within = Duration::from_secs(2);
    let get = async |_: &Endpoint, _: &str| Err("connection refused".to_owned());
    let error = ControlPlane::start(config, |_| {}, get).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "https://10.0.0.1:6443 is not ready: connection refused; \
         the last lines of kube-apiserver:\n  waiting for etcd"
    );
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), RUNS, RUNS);
    config.assets = dir.path().join("nowhere");
    let get = async |_: &Endpoint, _: &str| Ok(());
    let error = ControlPlane::start(config, |_| {}, get).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot run {}", dir.path().join("nowhere/etcd").display())
    );
}

#[tokio::test]
async fn a_dropped_control_plane_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let get = async |_: &Endpoint, _: &str| Ok(());
    let control_plane = ControlPlane::start(config(dir.path(), RUNS, RUNS), |_| {}, get)
        .await
        .unwrap();
    let ids = [control_plane.etcd.id(), control_plane.apiserver.id()];
    drop(control_plane);
    for id in ids.map(Option::unwrap) {
        // The signal takes a moment, and a killed child that nobody has waited for remains as a zombie.
        let gone = || {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z")
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() {
            assert!(Instant::now() < deadline, "process {id} is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn the_ranges_and_addresses_reach_the_command_lines() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), RUNS, RUNS);
    let apiserver = arguments::apiserver(&config);
    for expected in [
        "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112",
        "--bind-address=10.0.0.1",
        "--secure-port=6443",
        "--etcd-servers=http://127.0.0.1:2379",
    ] {
        assert!(
            apiserver.iter().any(|argument| argument == expected),
            "{expected}: {apiserver:?}"
        );
    }
    assert!(
        arguments::etcd(&config).contains(&"--listen-client-urls=http://127.0.0.1:2379".to_owned())
    );
}
