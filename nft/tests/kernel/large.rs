//! Transactions of many elements.

use std::net::{Ipv4Addr, Ipv6Addr};

use libtest_mimic::Failed;
use onehop_nft::*;

use crate::support::same;
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "30000_ipv4_services_in_one_transaction",
        Needs::Buffer,
        || many(Family::Ip),
    ),
    (
        "30000_ipv6_services_in_one_transaction",
        Needs::Buffer,
        || many(Family::Ip6),
    ),
];

const COUNT: u32 = 30_000;

/// The services: keys to verdicts, and keys to endpoints.
pub(crate) fn services(family: Family) -> (Set, Vec<Element>) {
    let address = match family {
        Family::Ip6 => Type::Ipv6Addr,
        _ => Type::Ipv4Addr,
    };
    let set = Set::map(
        "services",
        &[address, Type::InetProto, Type::InetService],
        &[address, Type::InetService],
    );
    let of = |number: u32| match family {
        Family::Ip6 => Value::from(Ipv6Addr::from(0xfd << 120 | u128::from(number))),
        _ => Value::from(Ipv4Addr::from(0x0a00_0000 | number)),
    };
    let element =
        |number| Element::value(of(number).proto(6).port(80), of(number + COUNT).port(8080));
    (set, (0..COUNT).map(element).collect())
}

fn many(family: Family) -> Result<(), Failed> {
    let table = Table::new(family, "many");
    let (set, mut elements) = services(family);
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_chain(&table, &Chain::regular("c"));
    batch.add_set(&table, &set);
    batch.add_elements(&table, "services", &elements);
    let mut netfilter = Netfilter::open()?;
    netfilter.commit(&mut batch)?;
    let mut read = netfilter.elements(&table, "services")?;
    read.sort();
    elements.sort();
    same("number of elements", &read.len(), &elements.len())?;
    if read != elements {
        return Err("the elements differ".into());
    }
    batch.clear();
    batch.delete_elements(&table, "services", &elements[1..]);
    netfilter.commit(&mut batch)?;
    let left = netfilter.elements(&table, "services")?;
    same("all but one deleted", &left, &elements[..1].to_vec())
}
