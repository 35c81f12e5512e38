//! Any sequence of changes, with transactions that fail, restarts and somebody else's changes on the way,
//! leaves what applying the last plans at once leaves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use contents::{numbered, remember, remembered};

mod contents;

pub(super) use contents::contents;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// These Services change at once; whether the kernel refuses.
    Apply(Vec<(usize, Option<ServicePlan>)>, bool),
    /// The addresses with node ports change.
    Addresses(BTreeSet<IpAddr>),
    /// The ranges of cluster addresses change.
    Ranges(Vec<IpNet>),
    /// Every Service port with affinity gains a client.
    Client,
    /// Another process takes over.
    Restart,
    /// Somebody flushes the tables.
    Flush,
    /// Somebody deletes a table.
    Delete,
    /// Somebody makes a table dormant.
    Sleep,
}

const SERVICES: usize = 5;

fn plans() -> impl Strategy<Value = ServicePlan> {
    let cluster_ips = subsequence(vec!["10.96.0.1", "10.96.0.2", "fd96::1"], 0..=3);
    (vec(port_plans(), 0..4), cluster_ips).prop_map(|(mut ports, cluster_ips)| {
        for (number, port) in ports.iter_mut().enumerate() {
            port.port_name = format!("p{}", number % 3).into();
        }
        let cluster_ips = cluster_ips.into_iter();
        let cluster_ips = cluster_ips.map(|ip| ip.parse().expect("an address"));
        ServicePlan {
            cluster_ips: cluster_ips.collect(),
            ..plan("", ports)
        }
    })
}

fn port_plans() -> impl Strategy<Value = PortPlan> {
    let family = select(Family::ALL.to_vec());
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let affinity = option::weighted(0.4, select(vec![60, 10800]));
    let lists = (btree_set(0..6u16, 0..5), btree_set(0..6u16, 0..3));
    let hairpins = btree_set(0..6u16, 0..3);
    let ranges = option::weighted(0.4, btree_set(0..6u16, 0..4));
    let fronts = vec(fronts(), 0..5);
    (family, protocol, affinity, lists, hairpins, ranges, fronts).prop_map(
        |(family, protocol, affinity, (cluster, local), hairpins, ranges, fronts)| {
            let address = |number: u16| member(family, number);
            let places = |list: BTreeSet<u16>| -> Vec<SocketAddr> {
                let list = list.into_iter();
                list.map(|number| SocketAddr::new(address(number), 8080))
                    .collect()
            };
            let ranges = ranges.map(|ranges| {
                let ranges = ranges.into_iter().map(address);
                ranges.map(IpNet::from).collect()
            });
            let fronts = fronts
                .into_iter()
                .map(|(kind, number, port, handling)| Front {
                    address: (kind != FrontKind::NodePort).then(|| address(number)),
                    port,
                    kind,
                    handling,
                });
            PortPlan {
                protocol,
                affinity,
                cluster: places(cluster),
                local: places(local),
                hairpins: hairpins.into_iter().map(address).collect(),
                source_ranges: ranges,
                fronts: fronts.collect(),
                ..port(family)
            }
        },
    )
}

pub(super) fn member(family: Family, number: u16) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 0, u8::try_from(number).expect("small")].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 0, number].into(),
    }
}

fn fronts() -> impl Strategy<Value = (FrontKind, u16, u16, Handling)> {
    let kinds = [
        FrontKind::ClusterIp,
        FrontKind::NodePort,
        FrontKind::ExternalIp,
        FrontKind::LoadBalancer,
    ];
    let handlings = [
        Handling::InternalCluster,
        Handling::InternalLocal,
        Handling::ExternalCluster,
        Handling::ExternalLocal,
        Handling::Drop,
        Handling::Reject,
    ];
    let kind = select(kinds.to_vec());
    (kind, 1..3u16, 80..82u16, select(handlings.to_vec()))
}

fn steps() -> impl Strategy<Value = Step> {
    let change = (0..SERVICES, option::weighted(0.75, plans()));
    let addresses = btree_set(0..4u16, 0..3);
    let ranges = subsequence(vec!["10.96.0.0/12", "10.112.0.0/16", "fd96::/108"], 0..=3);
    prop_oneof![
        12 => (vec(change, 1..4), prop::bool::weighted(0.2))
            .prop_map(|(changes, fails)| Step::Apply(changes, fails)),
        1 => addresses.prop_map(|numbers| {
            let numbers = numbers.into_iter();
            Step::Addresses(numbers.map(|number| member(Family::V4, number)).collect())
        }),
        1 => ranges.prop_map(|ranges| {
            let ranges = ranges.into_iter();
            Step::Ranges(ranges.map(|range| range.parse().expect("a range")).collect())
        }),
        3 => Just(Step::Client),
        1 => Just(Step::Restart),
        1 => Just(Step::Flush),
        1 => Just(Step::Sleep),
        1 => Just(Step::Delete),
    ]
}

pub(super) fn options() -> Options {
    Options {
        node_ports: NodePorts::Listed,
        node_ips: vec![member(Family::V4, 1), member(Family::V6, 1)],
        ..Options::default()
    }
}

/// What was asked for so far.
#[derive(Default)]
struct Wanted {
    services: BTreeMap<ObjectName, ServicePlan>,
    addresses: BTreeSet<IpAddr>,
    ranges: Vec<IpNet>,
    /// Clients so far.
    clients: u8,
    /// Whether the kernel was refused the last of it.
    refused: bool,
}

impl Wanted {
    fn all(&self) -> Changes {
        Changes {
            node_port_addresses: Some(self.addresses.clone()),
            service_cidrs: Some(self.ranges.clone()),
            ..changes(self.services.values().cloned())
        }
    }

    fn change(&mut self, changed: Vec<(usize, Option<ServicePlan>)>) -> Changes {
        let mut changes = Changes::default();
        for (number, plan) in changed {
            let name = name(&format!("service-{number}"));
            let plan = plan.map(|plan| ServicePlan {
                name: name.clone(),
                ..plan
            });
            match &plan {
                Some(plan) => self.services.insert(name.clone(), plan.clone()),
                None => self.services.remove(&name),
            };
            changes.services.insert(name, plan);
        }
        changes
    }
}

fn run(steps: Vec<Step>) {
    let mut wanted = Wanted::default();
    let mut dataplane = Dataplane::open(options()).expect("nftables");
    dataplane.apply(wanted.all()).expect("an empty state");
    for step in steps {
        take(step, &mut wanted, &mut dataplane);
    }
    dataplane
        .apply(Changes::default())
        .expect("what failed before");
    assert_in_step(&mut dataplane);
    let incremental = contents(&mut dataplane);
    let all = wanted.all();
    let at_once = in_namespace(move || {
        let mut dataplane = Dataplane::open(options()).expect("nftables");
        dataplane.apply(all).expect("the kernel takes it");
        assert_in_step(&mut dataplane);
        contents(&mut dataplane)
    });
    assert_eq!(incremental, at_once);
}

/// Takes a step, which keeps what clients' affinity is: none but the kernel's packets has a say in it.
fn take(step: Step, wanted: &mut Wanted, dataplane: &mut Dataplane) {
    let before = remembered(dataplane);
    let (client, restart) = (matches!(step, Step::Client), matches!(step, Step::Restart));
    let deleted = matches!(step, Step::Delete);
    let known = !wanted.refused;
    let numbered = (restart && known).then(|| numbered(dataplane));
    change(step, wanted, dataplane);
    let after = remembered(dataplane);
    if client {
        assert!(
            before
                .raw
                .iter()
                .all(|one| after.raw.get(one.0) == Some(one.1))
        );
    } else if deleted {
        let first = |raw: &BTreeMap<_, _>| -> Vec<_> {
            let is_v4 = |key: &&onehop_nft::Value| key.len() == 8;
            raw.keys()
                .filter(is_v4)
                .copied()
                .collect::<Vec<onehop_nft::Value>>()
        };
        assert_eq!(first(&after.raw), first(&before.raw));
    } else {
        assert_eq!(after.raw, before.raw);
    }
    // A process that knows the same Services numbers them as its predecessor did.
    for front in numbered.into_iter().flatten() {
        assert_eq!(after.by_front[&front], before.by_front[&front], "{front}");
    }
}

fn change(step: Step, wanted: &mut Wanted, dataplane: &mut Dataplane) {
    match step {
        Step::Apply(changed, false) => {
            let changes = wanted.change(changed);
            dataplane.apply(changes).expect("the kernel takes it");
            wanted.refused = false;
            assert_in_step(dataplane);
        }
        Step::Apply(changed, true) => {
            let before = contents(dataplane);
            dataplane.sabotage = true;
            let refused = dataplane.apply(wanted.change(changed));
            dataplane.sabotage = false;
            match refused {
                Err(DataplaneError::Change(_)) => wanted.refused = true,
                // Nothing was to be done, so that there was nothing to refuse.
                Ok(report) => assert_eq!(report.bytes, 0),
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(
                contents(dataplane),
                before,
                "a refused change had an effect"
            );
        }
        Step::Addresses(addresses) => {
            wanted.addresses.clone_from(&addresses);
            let changes = Changes {
                node_port_addresses: Some(addresses),
                ..Changes::default()
            };
            dataplane.apply(changes).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Ranges(ranges) => {
            wanted.ranges.clone_from(&ranges);
            let changes = Changes {
                service_cidrs: Some(ranges),
                ..Changes::default()
            };
            dataplane.apply(changes).expect("the kernel takes it");
            assert_in_step(dataplane);
        }
        Step::Client => {
            wanted.clients += 1;
            remember(dataplane, wanted.clients);
        }
        Step::Restart => {
            *dataplane = Dataplane::open(options()).expect("nftables");
            dataplane.apply(wanted.all()).expect("the kernel takes it");
            wanted.refused = false;
            assert_in_step(dataplane);
        }
        Step::Flush | Step::Delete => {
            let mut batch = Batch::new();
            for chain in dataplane
                .netfilter
                .chains(&table(Family::V4))
                .expect("chains")
            {
                batch.flush_chain(&table(Family::V4), &chain.object.name);
            }
            if matches!(step, Step::Delete) {
                batch.delete_table(&table(Family::V6));
            }
            damage(dataplane, &mut batch);
        }
        Step::Sleep => {
            let mut batch = Batch::new();
            batch.add_table(&onehop_nft::Table {
                dormant: true,
                ..table(Family::V4)
            });
            damage(dataplane, &mut batch);
        }
    }
}

/// Somebody else does this, which is noticed and repaired.
fn damage(dataplane: &mut Dataplane, batch: &mut Batch) {
    let mut other = Netfilter::open().expect("nftables");
    other.commit(batch).expect("the kernel takes it");
    assert!(!dataplane.verify().expect("an answer").is_empty());
    dataplane.distrust();
    dataplane
        .apply(Changes::default())
        .expect("the kernel takes it");
    assert_in_step(dataplane);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_what_the_last_plans_say(steps in vec(steps(), 1..12)) {
        in_namespace(|| run(steps));
    }
}
