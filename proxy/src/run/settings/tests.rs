use super::*;
use crate::config::NodePortAddresses;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|text| text.parse().expect("a range"))
        .collect()
}

fn with_entries(entries: &[&str]) -> Config {
    let mut node_port_addresses = NodePortAddresses {
        primary: false,
        networks: Vec::new(),
    };
    for entry in entries {
        node_port_addresses.add(entry).expect("valid");
    }
    Config {
        node_port_addresses,
        ..Config::default()
    }
}

/// Those of a machine's addresses that have node ports; `None`: any.
fn served(entries: &[&str], primary: &[&str]) -> Option<Vec<IpAddr>> {
    let (config, primary) = (with_entries(entries), addresses(primary));
    let own = [
        "127.0.0.1",
        "::1",
        "172.18.0.11",
        "10.0.0.5",
        "fd00::11",
        "fd01::5",
    ];
    let own: BTreeSet<_> = addresses(&own).into_iter().collect();
    let options = options(&config, &primary, &[], false);
    let listed = node_port_addresses(&networks(&config, &primary), &own);
    (options.node_ports == NodePorts::Listed).then(|| listed.into_iter().collect())
}

#[test]
fn the_primary_addresses_are_the_first_of_each_family_or_the_stated_one() {
    let listed = addresses(&["172.18.0.11", "10.0.0.5", "fd00::11"]);
    let mut config = Config::default();
    assert_eq!(
        primary(&config, &listed),
        addresses(&["172.18.0.11", "fd00::11"])
    );
    assert!(primary(&config, &[]).is_empty());
    for (stated, expected) in [
        ("10.9.9.9", ["10.9.9.9", "fd00::11"]),
        ("fd00::99", ["172.18.0.11", "fd00::99"]),
        ("0.0.0.0", ["172.18.0.11", "fd00::11"]),
    ] {
        config.bind_address = Some(stated.parse().expect("an address"));
        assert_eq!(primary(&config, &listed), addresses(&expected), "{stated}");
    }
}

#[test]
fn node_ports_are_where_the_configuration_says() {
    let both = ["172.18.0.11", "fd00::11"];
    let listed = |texts: &[&str]| Some(addresses(texts));
    assert_eq!(served(&["primary"], &both), listed(&both));
    assert_eq!(
        served(&["10.0.0.0/8", "fd01::/16"], &both),
        listed(&["10.0.0.5", "fd01::5"])
    );
    // Loopback has none, whatever is configured.
    assert_eq!(served(&["localhost"], &both), listed(&[]));
    // While nobody knows the primary ones, they are none.
    assert_eq!(served(&["primary"], &[]), listed(&[]));
    assert_eq!(
        served(&["primary", "10.0.0.0/8"], &[]),
        listed(&["10.0.0.5"])
    );
    // A family that is not mentioned is not restricted.
    assert_eq!(
        served(&["primary"], &["172.18.0.11"]),
        listed(&["172.18.0.11", "fd00::11", "fd01::5"])
    );
}

#[test]
fn node_ports_are_anywhere_if_no_family_is_restricted() {
    assert_eq!(served(&[], &["172.18.0.11"]), None);
    assert_eq!(served(&["all"], &["172.18.0.11"]), None);
    assert_eq!(served(&["0.0.0.0/0", "::/0", "10.0.0.0/8"], &[]), None);
}

#[test]
fn pods_are_told_by_the_first_range_of_each_family() {
    let several = ranges(&["10.244.0.0/16", "10.245.0.0/16", "fd00:244::/56"]);
    let first = Detector::Sources(ranges(&["10.244.0.0/16", "fd00:244::/56"]));
    assert_eq!(
        detector(&LocalDetector::ClusterCidr(several.clone()), &[]),
        first
    );
    assert_eq!(detector(&LocalDetector::NodeCidr, &several), first);
    assert_eq!(detector(&LocalDetector::NodeCidr, &[]), Detector::None);
    assert_eq!(
        detector(&LocalDetector::ClusterCidr(Vec::new()), &several),
        Detector::None
    );
}

#[test]
fn the_proxys_own_ports_are_those_on_the_nodes_addresses() {
    let config = Config::default();
    assert_eq!(own_ports(&config), BTreeSet::from([10256]));
    let config = Config {
        healthz: None,
        metrics: Some("0.0.0.0:9999".parse().expect("an address")),
        ..config
    };
    assert_eq!(own_ports(&config), BTreeSet::from([9999]));
}
