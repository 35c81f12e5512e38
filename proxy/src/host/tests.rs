use std::fs;
use std::time::Duration;

use super::*;

/// A machine of files, with four cores.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files
        .iter()
        .chain(&[("sys/devices/system/cpu/online", "0-2,7\n")])
    {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let host = Host {
        root: dir.path().into(),
    };
    (dir, host)
}

const MAX: &str = "proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "sys/module/nf_conntrack/parameters/hashsize";
const UDP: &str = "proc/sys/net/netfilter/nf_conntrack_udp_timeout";

#[test]
fn what_is_not_set_is_left_alone() {
    let (_dir, host) = machine(&[]);
    host.apply_conntrack(&Conntrack::default()).unwrap();
    let min_alone = Conntrack {
        min: Some(9),
        ..Conntrack::default()
    };
    host.apply_conntrack(&min_alone).unwrap();
    assert!(!host.root.join("proc").exists());
}

#[test]
fn the_table_grows_with_the_cores_and_never_shrinks() {
    let (_dir, host) = machine(&[(MAX, "500\n"), (BUCKETS, "50\n")]);
    let apply = |max_per_core, min| {
        let conntrack = Conntrack {
            max_per_core: Some(max_per_core),
            min,
            ..Conntrack::default()
        };
        host.apply_conntrack(&conntrack).unwrap();
        (host.read(Path::new(MAX)), host.read(Path::new(BUCKETS)))
    };
    assert_eq!(
        apply(100, None),
        (Some(500), Some(100)),
        "100 for each of 4 cores are fewer than there are"
    );
    assert_eq!(apply(1000, Some(100)), (Some(4000), Some(1000)));
    assert_eq!(apply(1000, Some(8000)), (Some(8000), Some(2000)));
    assert_eq!(apply(1000, None), (Some(8000), Some(2000)));
    assert_eq!(
        apply(1_000_000, Some(2_000_000)),
        (Some(1 << 20), Some(1 << 18))
    );
}

#[test]
fn a_setting_that_cannot_be_written_is_named() {
    let (_dir, host) = machine(&[]);
    let conntrack = Conntrack {
        udp_timeout: Some(Duration::from_secs(7)),
        ..Conntrack::default()
    };
    let error = host.apply_conntrack(&conntrack).unwrap_err();
    assert_eq!(error.field, "conntrack.udpTimeout");
    assert!(
        error
            .to_string()
            .ends_with("nf_conntrack_udp_timeout cannot be set to 7"),
        "{error}"
    );
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);

    let (_dir, host) = machine(&[(UDP, "30\n")]);
    host.apply_conntrack(&conntrack).unwrap();
    assert_eq!(host.read(Path::new(UDP)), Some(7));
}

#[test]
fn cores_are_counted() {
    assert_eq!(cores_in("0\n"), Some(1));
    assert_eq!(cores_in("0-3,8,10-11"), Some(7));
    for nonsense in ["", "3-1", "a"] {
        assert_eq!(cores_in(nonsense), None, "{nonsense}");
    }
}

#[test]
#[ignore = "needs root: it writes the settings of a network namespace of its own"]
fn settings_of_a_network_namespace_are_written() {
    let apply = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let conntrack = Conntrack {
            tcp_established_timeout: seconds(7201),
            tcp_close_wait_timeout: seconds(3601),
            tcp_be_liberal: true,
            udp_timeout: seconds(11),
            udp_stream_timeout: seconds(12),
            ..Conntrack::default()
        };
        let host = Host::this();
        host.apply_conntrack(&conntrack).unwrap();
        let files = [
            "nf_conntrack_tcp_timeout_established",
            "nf_conntrack_tcp_timeout_close_wait",
            "nf_conntrack_tcp_be_liberal",
            "nf_conntrack_udp_timeout",
            "nf_conntrack_udp_timeout_stream",
        ];
        files.map(|name| host.read(&sysctl_file(name)))
    };
    let read = std::thread::spawn(apply).join().unwrap();
    assert_eq!(read, [7201, 3601, 1, 11, 12].map(Some));
}
