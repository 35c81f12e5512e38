//! What was written is read back, and every operation does what it says.

use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use onehop_nft::*;

use crate::ruleset::{V4, V6, Words, ip, ruleset};
use crate::support::same;
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_written_is_read_back_ipv4", Needs::Nothing, || {
        reads_back(&V4)
    }),
    ("what_is_written_is_read_back_ipv6", Needs::Nothing, || {
        reads_back(&V6)
    }),
    (
        "rules_are_replaced_inserted_and_deleted",
        Needs::Nothing,
        rules_change,
    ),
    (
        "elements_are_added_and_deleted",
        Needs::Nothing,
        elements_change,
    ),
    ("elements_expire", Needs::Nothing, elements_expire),
    (
        "tables_chains_and_sets_come_and_go",
        Needs::Nothing,
        objects_change,
    ),
    ("intervals_reach_both_ends", Needs::Nothing, interval_ends),
    ("other_tables_are_left_out", Needs::Nothing, other_tables),
    ("a_dump_is_of_one_state", Needs::Nothing, one_state),
];

fn reads_back(words: &Words) -> Result<(), Failed> {
    let written = ruleset(words);
    let table = &written.table;
    let mut netfilter = Netfilter::open()?;
    netfilter.commit(&mut written.batch())?;

    let tables: Vec<_> = objects(netfilter.tables(None)?);
    same("tables", &tables, &vec![table.clone()])?;
    same(
        "chains",
        &objects(netfilter.chains(table)?),
        &written.chains,
    )?;
    let mut sets = objects(netfilter.sets(table)?);
    let mut wanted: Vec<_> = written.sets.iter().map(|(set, _)| set.clone()).collect();
    sets.sort_by(|one, other| one.name.cmp(&other.name));
    wanted.sort_by(|one, other| one.name.cmp(&other.name));
    same("sets", &sets, &wanted)?;
    for (set, elements) in &written.sets {
        let mut wanted = elements.clone();
        wanted.sort();
        let read = sorted(netfilter.elements(table, &set.name)?);
        same(&format!("elements of {}", set.name), &read, &wanted)?;
    }
    let rules = netfilter.rules(table)?;
    same("number of rules", &rules.len(), &written.rules.len())?;
    for chain in &written.chains {
        let read = rules.iter().filter(|rule| rule.object.chain == chain.name);
        let read: Vec<_> = read.map(|rule| rule.object.rule.clone()).collect();
        let wanted = written.rules.iter().filter(|(of, _)| *of == chain.name);
        let wanted: Vec<_> = wanted.map(|(_, rule)| rule.clone()).collect();
        same(&format!("rules of {}", chain.name), &read, &wanted)?;
    }
    Ok(())
}

fn objects<T>(existing: Vec<Existing<T>>) -> Vec<T> {
    existing.into_iter().map(|each| each.object).collect()
}

fn sorted(mut elements: Vec<Element>) -> Vec<Element> {
    elements.sort();
    elements
}

/// A table with an empty chain `c` and a set of ports, `s`.
fn prepared() -> Result<(Netfilter, Table), Failed> {
    let table = Table::new(Family::Inet, "t");
    let mut netfilter = Netfilter::open()?;
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_chain(&table, &Chain::regular("c"));
    batch.add_set(&table, &Set::new("s", &[Type::InetService]));
    netfilter.commit(&mut batch)?;
    Ok((netfilter, table))
}

fn rules_change() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    let rule = |name: &str| Rule::new().accept().comment(name);
    let mut batch = Batch::new();
    batch.add_rule(&table, "c", &rule("first"));
    batch.add_rule(&table, "c", &rule("second"));
    batch.insert_rule(&table, "c", &rule("zeroth"));
    netfilter.commit(&mut batch)?;
    let comments = |netfilter: &mut Netfilter| -> Result<Vec<_>, Error> {
        let rules = netfilter.rules(&table)?.into_iter();
        Ok(rules.filter_map(|rule| rule.object.rule.comment).collect())
    };
    same(
        "added and inserted",
        &comments(&mut netfilter)?,
        &vec!["zeroth".to_owned(), "first".to_owned(), "second".to_owned()],
    )?;

    let handles: Vec<_> = netfilter.rules(&table)?.iter().map(|r| r.handle).collect();
    batch.clear();
    batch.replace_rule(&table, "c", handles[1], &rule("replaced"));
    batch.delete_rule(&table, "c", handles[2]);
    netfilter.commit(&mut batch)?;
    same(
        "replaced and deleted",
        &comments(&mut netfilter)?,
        &vec!["zeroth".to_owned(), "replaced".to_owned()],
    )?;

    batch.clear();
    batch.flush_chain(&table, "c");
    batch.add_rule(&table, "c", &rule("anew"));
    netfilter.commit(&mut batch)?;
    same(
        "flushed",
        &comments(&mut netfilter)?,
        &vec!["anew".to_owned()],
    )
}

fn elements_change() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    let port = |port: u16| Element::new(Value::new().port(port));
    let mut batch = Batch::new();
    batch.add_elements(&table, "s", &[port(1), port(2), port(3)]);
    // Adding what is there changes nothing.
    batch.add_elements(&table, "s", &[port(2)]);
    batch.delete_elements(&table, "s", &[port(1)]);
    netfilter.commit(&mut batch)?;
    let read = sorted(netfilter.elements(&table, "s")?);
    same("added and deleted", &read, &vec![port(2), port(3)])?;

    batch.clear();
    batch.create_elements(&table, "s", &[port(3)]);
    let refused = netfilter
        .commit(&mut batch)
        .err()
        .map(|error| error.to_string());
    same(
        "created twice",
        &refused.as_deref(),
        &Some("failed to add element 0x0003 of set inet t s: EEXIST: File exists"),
    )?;

    batch.clear();
    batch.flush_set(&table, "s");
    batch.add_elements(&table, "s", &[port(4)]);
    netfilter.commit(&mut batch)?;
    same("flushed", &netfilter.elements(&table, "s")?, &vec![port(4)])?;

    batch.clear();
    batch.add_elements(&table, "s", &[]);
    same("nothing to add", &batch.is_empty(), &true)
}

fn elements_expire() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    let set = Set::new("e", &[Type::InetService]).timeout(Duration::from_secs(3600));
    let own = Duration::from_millis(90_500);
    let mut batch = Batch::new();
    batch.add_set(&table, &set);
    batch.add_elements(
        &table,
        "e",
        &[
            Element::new(Value::new().port(1)),
            Element::new(Value::new().port(2)).timeout(own),
        ],
    );
    netfilter.commit(&mut batch)?;
    let read = sorted(netfilter.elements(&table, "e")?);
    let [default, special] = &read[..] else {
        return Err(format!("{read:?}").into());
    };
    same("its own timeout", &special.timeout, &Some(own))?;
    for (element, longest) in [(default, Duration::from_secs(3600)), (special, own)] {
        let expires = element.expires.ok_or("it does not say when it expires")?;
        // Timing decides nothing: a test that takes a minute here has failed elsewhere.
        if expires > longest || expires + Duration::from_secs(60) < longest {
            return Err(format!("{expires:?} of {longest:?}").into());
        }
    }
    Ok(())
}

fn objects_change() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    let mut batch = Batch::new();
    batch.delete_chain(&table, "c");
    batch.delete_set(&table, "s");
    netfilter.commit(&mut batch)?;
    same("chains", &netfilter.chains(&table)?.len(), &0)?;
    same("sets", &netfilter.sets(&table)?.len(), &0)?;

    batch.clear();
    batch.create_table(&table);
    let refused = netfilter
        .commit(&mut batch)
        .err()
        .map(|error| error.to_string());
    same(
        "created twice",
        &refused.as_deref(),
        &Some("failed to add table inet t: EEXIST: File exists"),
    )?;

    batch.clear();
    batch.destroy_table(&table);
    for _ in 0..2 {
        netfilter.commit(&mut batch)?;
        same("tables", &netfilter.tables(None)?.len(), &0)?;
    }
    batch.clear();
    batch.delete_table(&table);
    let refused = netfilter
        .commit(&mut batch)
        .err()
        .map(|error| error.to_string());
    same(
        "deleted and not there",
        &refused.as_deref(),
        &Some("failed to delete table inet t: ENOENT: No such file or directory"),
    )
}

fn interval_ends() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    for networks in [
        vec![("0.0.0.0", 0)],
        vec![("0.0.0.0", 8), ("10.1.2.3", 32), ("255.255.255.255", 32)],
        vec![("::", 0)],
        vec![("::", 128), ("2001:db8::1", 33), ("ffff::", 16)],
    ] {
        let address = if networks[0].0.contains(':') {
            Type::Ipv6Addr
        } else {
            Type::Ipv4Addr
        };
        let mut batch = Batch::new();
        batch.add_set(&table, &Set::new("n", &[address]).interval());
        let elements: Vec<_> = networks
            .iter()
            .flat_map(|(address, prefix)| {
                Element::network(address.parse().expect("an address"), *prefix)
            })
            .collect();
        batch.add_elements(&table, "n", &elements);
        netfilter.commit(&mut batch)?;
        let read = sorted(netfilter.elements(&table, "n")?);
        same(&format!("{networks:?}"), &read, &sorted(elements))?;
        batch.clear();
        batch.delete_set(&table, "n");
        netfilter.commit(&mut batch)?;
    }
    let bounds = Element::network("10.1.2.3".parse()?, 30);
    let want = vec![
        Element::new(ip("10.1.2.0")),
        Element {
            interval_end: true,
            ..Element::new(ip("10.1.2.4"))
        },
    ];
    same("a network's bounds", &bounds, &want)
}

fn other_tables() -> Result<(), Failed> {
    let (mut netfilter, table) = prepared()?;
    let mut batch = Batch::new();
    for other in [Table::new(Family::Inet, "t2"), Table::new(Family::Ip, "t")] {
        batch.add_table(&other);
        batch.add_chain(&other, &Chain::regular("other"));
        batch.add_rule(&other, "other", &Rule::new().drop());
        batch.add_set(&other, &Set::new("other", &[Type::Mark]));
    }
    netfilter.commit(&mut batch)?;
    let names = |netfilter: &mut Netfilter| -> Result<Vec<String>, Error> {
        let chains = netfilter.chains(&table)?.into_iter().map(|c| c.object.name);
        let mut names: Vec<_> = chains.collect();
        names.extend(netfilter.sets(&table)?.into_iter().map(|s| s.object.name));
        Ok(names)
    };
    same(
        "objects",
        &names(&mut netfilter)?,
        &vec!["c".to_owned(), "s".to_owned()],
    )?;
    same("rules", &netfilter.rules(&table)?.len(), &0)?;
    same("tables", &netfilter.tables(None)?.len(), &3)?;
    same(
        "of a family",
        &netfilter.tables(Some(Family::Ip))?.len(),
        &1,
    )?;
    let nowhere = Table::new(Family::Ip6, "nowhere");
    same("no table", &netfilter.chains(&nowhere)?.len(), &0)
}

/// While another thread swaps all elements again and again.
fn one_state() -> Result<(), Failed> {
    const COUNT: u32 = 5000;
    const SWAPS: u32 = 40;
    let (mut netfilter, table) = prepared()?;
    let generation = |number: u32| -> Vec<Element> {
        let keys = (0..COUNT).map(|key| Value::new().number(number).number(key));
        keys.map(Element::new).collect()
    };
    let mut batch = Batch::new();
    batch.add_set(&table, &Set::new("n", &[Type::Mark, Type::Mark]));
    batch.add_elements(&table, "n", &generation(0));
    netfilter.commit(&mut batch)?;
    let mut writer = Netfilter::open()?;
    let of = table.clone();
    let swapping = thread::spawn(move || -> Result<(), Error> {
        for number in 1..=SWAPS {
            // So that dumps find time between two swaps.
            thread::sleep(Duration::from_millis(20));
            let mut batch = Batch::new();
            batch.flush_set(&of, "n");
            batch.add_elements(&of, "n", &generation(number));
            writer.commit(&mut batch)?;
        }
        Ok(())
    });
    let mut states = std::collections::BTreeSet::new();
    while !swapping.is_finished() {
        let read = sorted(netfilter.elements(&table, "n")?);
        let first = read
            .first()
            .ok_or("an empty state, which there never was")?;
        let number = u32::from_ne_bytes(first.key.as_slice()[..4].try_into()?);
        if read != sorted(generation(number)) {
            return Err(format!("a mix: {} elements from {first:?}", read.len()).into());
        }
        states.insert(number);
    }
    swapping.join().expect("no panic")?;
    same("several states were seen", &(states.len() > 1), &true)
}
