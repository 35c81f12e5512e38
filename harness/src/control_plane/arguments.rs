//! The command lines of etcd and kube-apiserver.

use std::path::{Path, PathBuf};

use super::ControlPlaneConfig;

/// The file of bearer tokens.
pub(super) fn token_file(dir: &Path) -> PathBuf {
    dir.join("tokens.csv")
}

/// The key that signs the tokens of service accounts.
pub(super) fn private_key(dir: &Path) -> PathBuf {
    dir.join("service-account.key")
}

/// The key that verifies them.
pub(super) fn public_key(dir: &Path) -> PathBuf {
    dir.join("service-account.pub")
}

/// The arguments of etcd: one member, on the loopback address, and nothing that survives a power cut.
pub(super) fn etcd(config: &ControlPlaneConfig) -> Vec<String> {
    let (client, peer) = config.etcd_ports;
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    vec![
        "--name=onehop".to_owned(),
        flag("--data-dir", &config.dir.join("etcd")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=onehop={peer}"),
        "--unsafe-no-fsync".to_owned(),
        // A member alone elects itself after one election timeout, which is a second by default.
        "--heartbeat-interval=10".to_owned(),
        "--election-timeout=50".to_owned(),
        // Its readiness is read from this log.
        "--log-level=info".to_owned(),
    ]
}

/// The arguments of kube-apiserver.
pub(super) fn apiserver(config: &ControlPlaneConfig) -> Vec<String> {
    let ranges: Vec<String> = config
        .service_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    let address = config.address.ip();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", config.etcd_ports.0),
        format!("--bind-address={address}"),
        // Without it the server looks for a default route, which the lab's namespace need not have.
        format!("--advertise-address={address}"),
        format!("--secure-port={}", config.address.port()),
        flag("--cert-dir", &config.dir.join("certificates")),
        format!("--service-cluster-ip-range={}", ranges.join(",")),
        flag("--token-auth-file", &token_file(&config.dir)),
        flag("--service-account-key-file", &public_key(&config.dir)),
        flag(
            "--service-account-signing-key-file",
            &private_key(&config.dir),
        ),
    ];
    arguments.extend(APISERVER.map(str::to_owned));
    arguments
}

/// The arguments of kube-apiserver that are always the same.
const APISERVER: [&str; 9] = [
    "--service-account-issuer=https://onehop.invalid",
    "--authorization-mode=AlwaysAllow",
    // ServiceAccount refuses pods until a controller has made accounts, and there is no such controller.
    // TaintNodesByCondition taints every new Node as not ready, which nobody would take away.
    "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    "--allow-privileged=true",
    // One server needs no registry of servers; this also leaves the Service `kubernetes` without endpoints that
    // the lab's nodes could not reach.
    "--endpoint-reconciler-type=none",
    // Its configuration must be written and read back before the server is ready, and it would queue a burst of
    // the harness.
    "--enable-priority-and-fairness=false",
    "--max-requests-inflight=0",
    "--max-mutating-requests-inflight=0",
    "--profiling=false",
];

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
