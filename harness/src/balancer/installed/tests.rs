use super::*;
use crate::balancer::plan::tests::forwarding;
use crate::case::BalancerMode;
use crate::world::AddressPlan;

fn service(number: u8, nodes: &[u8]) -> Forwarding {
    Forwarding {
        number,
        addresses: AddressPlan::vip(number).both().to_vec(),
        ..forwarding(BalancerMode::Vip, nodes)
    }
}

fn plan(services: &[&Forwarding]) -> Plan {
    Plan {
        services: services.iter().map(|service| (*service).clone()).collect(),
    }
}

/// The transaction of these steps. What the kernel makes of them is seen by the load balancer's tests with packets.
fn batch(steps: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    steps(&mut batch);
    batch
}

const SOON: Duration = Duration::from_millis(1);

#[test]
fn what_is_replaced_goes_when_its_time_is_over() {
    let (stays, before, after) = (service(8, &[1]), service(7, &[1, 3]), service(7, &[]));
    let (_, first) = Installed::default().change_to(&plan(&[&before, &stays]), SOON);
    assert_eq!(first.due(), None);
    let (unchanged, same) = first.change_to(&plan(&[&before, &stays]), SOON);
    assert!(unchanged.is_empty());

    let (change, second) = same.change_to(&plan(&[&after, &stays]), SOON);
    assert_eq!(change, batch(|batch| after.rules(3).add_to(batch)));
    assert_eq!(second.due(), Some(SOON + GRACE));
    let (early, second) = second.change_to(&plan(&[&after, &stays]), GRACE);
    assert!(early.is_empty());

    // Together with another change.
    let now = SOON + GRACE;
    let (both, third) = second.change_to(&plan(&[&before, &stays]), now);
    let expected = batch(|batch| {
        before.rules(1).remove_from(batch);
        before.rules(4).add_to(batch);
    });
    assert_eq!(both, expected);
    assert_eq!(third.due(), Some(now + GRACE));
    let (removal, last) = third.change_to(&plan(&[&before, &stays]), now + GRACE);
    assert_eq!(removal, batch(|batch| after.rules(3).remove_from(batch)));
    assert_eq!(last.due(), None);
}

#[test]
fn a_version_goes_in_the_order_that_the_kernel_wants() {
    let rules = service(7, &[1, 3]).rules(2);
    let table = service(7, &[]).table();
    let expected = batch(|batch| {
        // First what refers to sets, then what refers to chains.
        for chain in ["draw_ip_2", "draw_ip6_2", "balance_2"] {
            batch.flush_chain(&table, chain);
        }
        for set in [
            "healthy_ip_2",
            "draw_ip_2",
            "healthy_ip6_2",
            "draw_ip6_2",
            "services_ip_2",
            "services_ip6_2",
        ] {
            batch.flush_set(&table, set);
            batch.delete_set(&table, set);
        }
        for chain in ["draw_ip_2", "draw_ip6_2", "balance_2"] {
            batch.delete_chain(&table, chain);
        }
    });
    assert_eq!(batch(|batch| rules.remove_from(batch)), expected);
}

#[test]
fn a_service_that_is_gone_goes_at_once_with_all_that_it_ever_had() {
    let (before, after) = (service(7, &[1, 3]), service(7, &[1]));
    let (_, first) = Installed::default().change_to(&plan(&[&before]), SOON);
    let (_, second) = first.change_to(&plan(&[&after]), SOON);
    let (change, third) = second.change_to(&Plan::default(), SOON);
    assert_eq!(change, batch(|batch| batch.destroy_table(&after.table())));
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
    let expected = batch(|batch| {
        batch.destroy_table(&before.table());
        batch.destroy_table(&after.table());
        after.rules(2).add_to(batch);
    });
    assert_eq!(change, expected);
    assert_eq!(second.due(), None);
}

#[test]
fn after_a_transaction_that_may_have_been_made_all_tables_are_made_anew() {
    let (before, after) = (service(7, &[1, 3]), service(7, &[1]));
    let (_, first) = Installed::default().change_to(&plan(&[&before]), SOON);
    let (_, second) = first.change_to(&plan(&[&after]), SOON);
    let (change, third) = second.doubted().change_to(&plan(&[&after]), SOON);
    let expected = batch(|batch| {
        batch.destroy_table(&after.table());
        batch.destroy_table(&after.table());
        after.rules(3).add_to(batch);
    });
    assert_eq!(change, expected);
    assert_eq!(third.due(), None);
    assert!(third.change_to(&plan(&[&after]), SOON).0.is_empty());
}
