use super::*;
use crate::balancer::plan::Target;
use crate::case::BalancerMode;
use crate::world::AddressPlan;

fn service(number: u8, nodes: &[u8]) -> Forwarding {
    Forwarding {
        service: format!("default/web-{number}"),
        number,
        mode: BalancerMode::Vip,
        addresses: AddressPlan::vip(number).both().to_vec(),
        ports: Vec::new(),
        targets: nodes
            .iter()
            .map(|number| Target {
                mark: 1000 + u32::from(*number),
                address: AddressPlan::node_host(10 + number),
                weight: 1,
            })
            .collect(),
        listeners: BTreeMap::new(),
    }
}

fn plan(services: &[&Forwarding]) -> Plan {
    Plan {
        services: services.iter().map(|service| (*service).clone()).collect(),
    }
}

/// As long as a transaction of these steps: what the kernel makes of each is seen by the load balancer's tests with packets.
fn length(steps: impl FnOnce(&mut Batch)) -> usize {
    let mut batch = Batch::new();
    steps(&mut batch);
    batch.len()
}

const SOON: Duration = Duration::from_millis(1);

#[test]
fn what_is_replaced_goes_when_its_time_is_over() {
    let (stays, before, after) = (service(8, &[1]), service(7, &[1, 3]), service(7, &[]));
    let (_, first) = Installed::default().change_to(&plan(&[&before, &stays]), SOON);
    assert_eq!(first.due(), None);
    let (unchanged, same) = first.change_to(&plan(&[&before, &stays]), SOON);
    assert!(unchanged.is_empty());

    let wanted = plan(&[&after, &stays]);
    let (change, second) = same.change_to(&wanted, SOON);
    assert_eq!(change.len(), length(|batch| after.rules(3).add_to(batch)));
    assert_eq!(second.due(), Some(SOON + GRACE));
    let (early, second) = second.change_to(&wanted, GRACE);
    assert!(early.is_empty());

    let (removal, third) = second.change_to(&wanted, SOON + GRACE);
    assert_eq!(
        removal.len(),
        length(|batch| before.rules(1).remove_from(batch))
    );
    assert_eq!(third.due(), None);
}

#[test]
fn a_service_that_is_gone_goes_at_once_with_all_that_it_ever_had() {
    let (before, after) = (service(7, &[1, 3]), service(7, &[1]));
    let (_, first) = Installed::default().change_to(&plan(&[&before]), SOON);
    let (_, second) = first.change_to(&plan(&[&after]), SOON);
    let (change, third) = second.change_to(&Plan::default(), SOON);
    let gone = length(|batch| batch.destroy_table(&after.table()));
    assert_eq!(change.len(), gone);
    assert_eq!(third.due(), None);
}

#[test]
fn another_mode_has_a_table_of_its_own() {
    let before = service(7, &[1, 3]);
    let after = Forwarding {
        mode: BalancerMode::NodePort,
        ..before.clone()
    };
    let (_, first) = Installed::default().change_to(&plan(&[&before]), SOON);
    let (change, second) = first.change_to(&plan(&[&after]), SOON);
    let replaced = length(|batch| {
        batch.destroy_table(&before.table());
        batch.destroy_table(&after.table());
        after.rules(2).add_to(batch);
    });
    assert_eq!(change.len(), replaced);
    assert_eq!(second.due(), None);
}
