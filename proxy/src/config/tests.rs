use super::*;

const HEADER: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn read(fields: &str) -> Config {
    Config::from_yaml(&format!("{HEADER}{fields}")).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong, a line for each, with places counted from the first line after the header.
fn wrong(fields: &str) -> Vec<String> {
    match Config::from_yaml(&format!("{HEADER}{fields}")) {
        Err(ConfigError::Fields(problems)) => problems
            .iter()
            .map(|problem| {
                let place = problem
                    .place
                    .expect("every problem but a missing field has a place");
                format!(
                    "{}:{} {} {}",
                    place.line - 2,
                    place.column,
                    problem.field,
                    problem.what
                )
            })
            .collect(),
        other => panic!("accepted, or no YAML: {other:?}"),
    }
}

fn noted(config: &Config) -> Vec<&str> {
    config
        .notices
        .iter()
        .map(|notice| notice.field.as_str())
        .collect()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn nothing_but_the_kind_is_the_default() {
    assert_eq!(read(""), Config::default());
}

#[test]
fn the_configuration_of_the_labs_kube_proxy_is_accepted_whole() {
    let profile = include_str!("../../../profiles/kube-proxy-nftables.yaml");
    let profile: serde_json::Value = serde_saphyr::from_str(profile).unwrap();
    let template = profile["netns"]["files"]["config.yaml"].as_str().unwrap();
    let text = template
        .replace("{node}", "vm1")
        .replace("{kubeconfig}", "/run/kubeconfig")
        .replace("{cluster_cidr}", "10.244.0.0/16,fd00:10:244::/56");
    let config = Config::from_yaml(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        config,
        Config {
            node_name: Some("vm1".into()),
            kubeconfig: Some("/run/kubeconfig".into()),
            local_detector: LocalDetector::ClusterCidr(nets(&[
                "10.244.0.0/16",
                "fd00:10:244::/56"
            ])),
            min_sync_period: Duration::from_millis(10),
            conntrack: Conntrack {
                tcp_be_liberal: true,
                ..Conntrack::default()
            },
            oom_score_adj: Some(0),
            verbosity: 2,
            notices: config.notices.clone(),
            ..Config::default()
        }
    );
    assert_eq!(
        noted(&config),
        [
            "clientConnection.contentType",
            "clientConnection.qps",
            "clientConnection.burst"
        ]
    );
}

#[test]
fn what_kubeadm_writes_is_accepted() {
    let config = read(KUBEADM);
    assert_eq!(
        config.kubeconfig,
        Some("/var/lib/kube-proxy/kubeconfig.conf".into())
    );
    assert_eq!(config.conntrack, Conntrack::default());
    assert_eq!(noted(&config), Vec::<&str>::new());
}

#[test]
fn every_field_that_applies_is_read() {
    let config = read(
        "mode: nftables\n\
         hostnameOverride: ' Node-1 '\n\
         bindAddress: 192.0.2.7\n\
         bindAddressHardFail: true\n\
         healthzBindAddress: 192.0.2.7\n\
         metricsBindAddress: '[::]:9999'\n\
         detectLocalMode: InterfaceNamePrefix\n\
         detectLocal: {interfaceNamePrefix: veth}\n\
         nodePortAddresses: [primary, 10.1.2.3/8]\n\
         nftables: {masqueradeAll: true, masqueradeBit: 0, syncPeriod: 1m30s, minSyncPeriod: 1m}\n\
         conntrack:\n\
        \x20 maxPerCore: 1000\n\
        \x20 min: 2000\n\
        \x20 tcpBeLiberal: true\n\
        \x20 tcpEstablishedTimeout: 2h\n\
        \x20 tcpCloseWaitTimeout: 1h0m0s\n\
        \x20 udpTimeout: 10s\n\
        \x20 udpStreamTimeout: 11s\n\
         oomScoreAdj: -999\n\
         logging: {verbosity: 4, format: text, flushFrequency: 5s}\n",
    );
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let expected = Config {
        node_name: Some("node-1".into()),
        kubeconfig: None,
        bind_address: Some("192.0.2.7".parse().unwrap()),
        healthz: Some("192.0.2.7:10256".parse().unwrap()),
        metrics: Some("[::]:9999".parse().unwrap()),
        bind_hard_fail: true,
        local_detector: LocalDetector::InterfaceNamePrefix("veth".into()),
        node_port_addresses: NodePortAddresses {
            primary: true,
            networks: nets(&["10.0.0.0/8"]),
        },
        masquerade_all: true,
        masquerade_bit: 0,
        sync_period: Duration::from_secs(90),
        min_sync_period: Duration::from_secs(60),
        conntrack: Conntrack {
            max_per_core: Some(1000),
            min: Some(2000),
            tcp_established_timeout: seconds(7200),
            tcp_close_wait_timeout: seconds(3600),
            tcp_be_liberal: true,
            udp_timeout: seconds(10),
            udp_stream_timeout: seconds(11),
        },
        oom_score_adj: Some(-999),
        verbosity: 4,
        notices: config.notices.clone(),
    };
    assert_eq!(config, expected);
    assert_eq!(noted(&config), ["logging.flushFrequency"]);
}

#[test]
fn json_is_read_as_well() {
    let text = r#"{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables"}"#;
    assert_eq!(Config::from_yaml(text), Ok(Config::default()));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    assert_eq!(
        wrong(
            "mode: ipvs\n\
             nftables:\n\
            \x20 syncPeriod: soon\n\
            \x20 masqueradebit: 14\n\
             nodePortAddresses:\n\
             - 10.0.0.1\n\
             hostname: vm1\n\
             enableProfiling: true\n\
             conntrack: {min: '5', udpTimeout: -1s, tcpCloseWaitTimeout: 1500ms}\n"
        ),
        [
            "1:1 mode cannot be ipvs: this proxy has nftables alone; write nftables, or remove it",
            "3:3 nftables.syncPeriod must be a duration such as 30s or 1h30m, and is \"soon\"",
            "4:3 nftables.masqueradebit is not a field that this proxy knows; did you mean masqueradeBit?",
            "6:3 nodePortAddresses[0] must be a network, and is an address; write 10.0.0.1/32",
            "7:1 hostname is not a field that this proxy knows; remove it",
            "8:1 enableProfiling is not supported by this proxy: there is no Go in it to profile; remove it",
            "9:13 conntrack.min must be a whole number, and is text",
            "9:23 conntrack.udpTimeout must not be negative",
            "9:40 conntrack.tcpCloseWaitTimeout must be whole seconds, 2147483647 at most",
        ]
    );
}

#[test]
fn each_field_is_checked() {
    for (fields, problem) in [
        (
            "oomScoreAdj: 1001",
            "must be from -1000 to 1000, and is 1001",
        ),
        (
            "nftables: {masqueradeBit: 32}",
            "must be from 0 to 31, and is 32",
        ),
        (
            "nftables: {minSyncPeriod: 31s}",
            "must not be longer than nftables.syncPeriod, which is 30s",
        ),
        ("nftables: 5", "must be a section, and is a number"),
        (
            "clusterCIDR: 10.0.0.0/8,10.1.0.0/16",
            "must be one network, or one of each family with a comma between",
        ),
        (
            "clusterCIDR: pods",
            "must be a network such as 10.0.0.0/8, and is \"pods\"",
        ),
        (
            "detectLocalMode: Magic",
            "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix, and is Magic",
        ),
        (
            "detectLocalMode: BridgeInterface",
            "is BridgeInterface, so that detectLocal.bridgeInterface must be set",
        ),
        (
            "{detectLocalMode: BridgeInterface, detectLocal: {bridgeInterface: abcdefghijklmnop}}",
            "must have at most 15 bytes, which is the longest name of an interface",
        ),
        (
            "healthzBindAddress: localhost:10256",
            "must be an address and a port such as 0.0.0.0:10256, and is \"localhost:10256\"",
        ),
        (
            "metricsBindAddress: 127.0.0.1:0",
            "must be an address and a port such as 0.0.0.0:10249, and is \"127.0.0.1:0\"",
        ),
        (
            "bindAddress: 10.0.0.0/8",
            "must be an address, and is \"10.0.0.0/8\"",
        ),
        (
            "hostnameOverride: '  '",
            "must be the name of a Node, and is empty",
        ),
        ("nodePortAddresses: primary", "must be a list, and is text"),
        ("nodePortAddresses: [5]", "must be text, and is a number"),
        (
            "logging: {format: json}",
            "is not supported by this proxy, which logs text; write text, or remove it",
        ),
        (
            "logging: {vmodule: [{filePattern: proxier, verbosity: 9}]}",
            "is not supported by this proxy: it has none of kube-proxy's files; remove it",
        ),
        (
            "logging: {verbosity: -1}",
            "must be from 0 to 4294967295, and is -1",
        ),
        (
            "winkernel: {surprise: 1}",
            "is not a field that this proxy knows; remove it",
        ),
        (
            "iptables: {masqueradeAll: true}",
            "is for the mode iptables; write nftables.masqueradeAll",
        ),
        (
            "windowsRunAsService: true",
            "is not supported by this proxy: it runs on Linux; remove it",
        ),
        (
            "featureGates: {KubeProxyNFTablesLocalhostNodePorts: true}",
            "cannot be true: this proxy always behaves as if it were false; remove it",
        ),
        (
            "featureGates: {AllowServiceExternalIPs: false}",
            "cannot be false: this proxy always behaves as if it were true; remove it",
        ),
        (
            "featureGates: {AllAlpha: true}",
            "is not a feature gate that this proxy knows; remove it",
        ),
        (
            "featureGates: {NFTablesProxyMode: yes please}",
            "must be true or false",
        ),
    ] {
        let fields = fields
            .strip_prefix('{')
            .and_then(|f| f.strip_suffix('}'))
            .map_or(fields.to_owned(), |inner| inner.replacen(", ", "\n", 1));
        let problems = wrong(&fields);
        let [only] = problems.as_slice() else {
            panic!("{fields}: {problems:?}")
        };
        assert!(only.ends_with(problem), "{fields}: {only}");
    }
}

#[test]
fn a_missing_kind_is_missed_and_another_one_refused() {
    let error = Config::from_yaml("mode: nftables").unwrap_err().to_string();
    assert!(
        error.contains("apiVersion is missing; it must be kubeproxy.config.k8s.io/v1alpha1"),
        "{error}"
    );
    assert!(
        error.contains("kind is missing; it must be KubeProxyConfiguration"),
        "{error}"
    );
    let other = HEADER.replace("KubeProxy", "Kubelet");
    let error = Config::from_yaml(&other).unwrap_err().to_string();
    assert!(
        error.contains(
            "line 2, column 1: kind must be KubeProxyConfiguration, and is KubeletConfiguration"
        ),
        "{error}"
    );
}

#[test]
fn no_yaml_at_all_is_an_error_with_a_place() {
    let error = Config::from_yaml("mode: [nftables").unwrap_err();
    assert!(
        matches!(&error, ConfigError::Syntax(text) if text.contains("line")),
        "{error}"
    );
    assert!(
        Config::from_yaml(&format!("{HEADER}mode: nftables\nmode: ipvs\n")).is_err(),
        "a field given twice"
    );
    assert!(Config::from_yaml("").is_err(), "an empty file");
    assert!(Config::from_yaml("- a").is_err(), "a list");
}

#[test]
fn fields_of_other_modes_are_noted_where_they_are_set() {
    let config = read(
        "mode: nftables\n\
         iptables: {minSyncPeriod: 1s, masqueradeAll: true}\n\
         ipvs: {scheduler: rr, strictARP: false}\n\
         clusterCIDR: 10.0.0.0/8\n\
         detectLocalMode: NodeCIDR\n\
         configSyncPeriod: 15m0s\n\
         nodePortAddresses: [localhost]\n\
         featureGates: {NFTablesProxyMode: true, KubeProxyIPVS: false}\n",
    );
    assert_eq!(
        noted(&config),
        [
            "iptables.minSyncPeriod",
            "iptables.masqueradeAll",
            "ipvs.scheduler",
            "clusterCIDR",
            "configSyncPeriod",
            "nodePortAddresses[0]",
            "featureGates.KubeProxyIPVS",
        ]
    );
    assert_eq!(config.local_detector, LocalDetector::NodeCidr);
    assert!(!config.masquerade_all);
}

#[test]
fn an_ipv6_bind_address_moves_the_servers() {
    let config = read("bindAddress: '::'\n");
    assert_eq!(config.bind_address, None);
    assert_eq!(config.healthz, Some("[::]:10256".parse().unwrap()));
    assert_eq!(config.metrics, Some("[::1]:10249".parse().unwrap()));
}

#[test]
fn node_port_addresses_of_a_node() {
    let primary: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let of = |fields: &str, primary: &[IpAddr]| read(fields).node_port_addresses.of_node(primary);
    assert_eq!(of("", &primary), nets(&["192.0.2.1/32", "2001:db8::1/128"]));
    assert_eq!(of("", &["127.0.0.1".parse().unwrap()]), nets(&[]));
    // As long as nobody knows them, they are not everywhere.
    let loopback = ["127.0.0.0/8", "::1/128"];
    assert_eq!(of("", &[]), nets(&loopback));
    assert_eq!(
        of("nodePortAddresses: [primary, 10.0.0.0/8]", &[]),
        nets(&[&["10.0.0.0/8"], &loopback[..]].concat())
    );
    assert_eq!(
        of("nodePortAddresses: [all]", &[]),
        nets(&["0.0.0.0/0", "::/0"])
    );
    assert_eq!(
        of("nodePortAddresses: [10.0.0.0/8]", &primary),
        nets(&["10.0.0.0/8"])
    );
    assert_eq!(
        of("nodePortAddresses: [all]", &primary),
        nets(&["0.0.0.0/0", "::/0"])
    );
    assert_eq!(
        of("nodePortAddresses: [localhost, primary]", &primary[..1]),
        nets(&["127.0.0.0/8", "::1/128", "192.0.2.1/32"])
    );
}

#[test]
fn addresses_of_servers_as_go_reads_them() {
    for (text, address) in [
        ("0.0.0.0", "0.0.0.0:1"),
        ("::", "[::]:1"),
        ("[::1]:5", "[::1]:5"),
        (":5", "[::]:5"),
        ("10.0.0.1:65535", "10.0.0.1:65535"),
    ] {
        assert_eq!(
            bind_address(text, 1),
            Ok(address.parse().unwrap()),
            "{text}"
        );
    }
    for text in ["", "[::1]", "10.0.0.1:65536", "10.0.0.1:", "name"] {
        assert!(bind_address(text, 1).is_err(), "{text}");
    }
}

#[test]
fn durations_as_go_writes_them() {
    for (text, milliseconds) in [
        ("0", 0),
        ("0s", 0),
        ("10ms", 10),
        ("1h30m", 5_400_000),
        ("1m0s", 60_000),
        ("2h22m3.5s", 8_523_500),
        ("1.5s", 1500),
    ] {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
    for text in ["", "5", "-5s", "1x", "s"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

/// As kubeadm 1.36 writes it for a cluster that sets nothing.
const KUBEADM: &str = r#"
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;
