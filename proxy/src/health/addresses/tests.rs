use super::*;

fn within(networks: &[&str]) -> Vec<String> {
    let networks: Vec<_> = networks.iter().map(|text| text.parse().unwrap()).collect();
    let addresses = HealthAddresses::within(&networks).unwrap().addresses;
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_family_without_networks_and_a_network_of_everything_restrict_nothing() {
    assert_eq!(within(&[]), ["0.0.0.0:0", "[::]:0"]);
    assert_eq!(
        within(&["0.0.0.0/0", "10.0.0.0/8", "::/0"]),
        ["0.0.0.0:0", "[::]:0"]
    );
    assert_eq!(
        HealthAddresses::within(&[]).unwrap(),
        HealthAddresses::all()
    );
}

#[test]
fn networks_choose_among_the_addresses_of_the_interfaces() {
    // Every network namespace has a loopback, though it may be down and have no addresses.
    assert_eq!(within(&["127.0.0.1/32"]), ["127.0.0.1:0", "[::]:0"]);
    assert_eq!(
        within(&["203.0.113.0/24", "2001:db8::/32"]),
        Vec::<String>::new()
    );
}
