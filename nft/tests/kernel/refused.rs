//! What happens when the kernel does not take a transaction.

use std::process::{Command, ExitCode};

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use onehop_nft::*;

use crate::support::{contains, enter_user_namespace, same};
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "an_error_in_the_middle_undoes_all_and_names_the_rule",
        Needs::Nothing,
        undone,
    ),
    (
        "an_error_names_the_element",
        Needs::Nothing,
        names_the_element,
    ),
    (
        "an_error_has_the_kernels_own_words",
        Needs::Nothing,
        own_words,
    ),
    (
        "thousands_of_errors_are_one_error",
        Needs::Buffer,
        many_errors,
    ),
    (
        "a_transaction_of_an_older_generation_is_refused",
        Needs::Nothing,
        older_generation,
    ),
    (
        "an_empty_transaction_and_reading_change_nothing",
        Needs::Nothing,
        empty,
    ),
    (
        "a_transaction_that_is_too_large_says_so_and_its_size",
        Needs::Nothing,
        too_large,
    ),
];

fn undone() -> Result<(), Failed> {
    let table = Table::new(Family::Ip, "t");
    let mut netfilter = Netfilter::open()?;
    let mut batch = Batch::new();
    batch.add_table(&table);
    for name in ["one", "two", "three"] {
        batch.add_chain(&table, &Chain::regular(name));
    }
    batch.add_set(&table, &Set::new("s", &[Type::Mark]));
    batch.add_rule(&table, "one", &Rule::new().jump("two"));
    batch.add_rule(&table, "two", &Rule::new().jump("nowhere"));
    batch.add_rule(&table, "three", &Rule::new().accept());
    let Err(Error::Refused(refusal)) = netfilter.commit(&mut batch) else {
        return Err("it was not refused".into());
    };
    let want = Refusal {
        what: "add a rule to chain ip t two".to_owned(),
        errno: nix::libc::ENOENT,
        text: None,
        others: 0,
    };
    same("the refusal", &refusal, &want)?;
    same("tables", &netfilter.tables(None)?, &vec![])?;

    // A loop is found only when the kernel follows all jumps.
    batch.clear();
    batch.add_table(&table);
    batch.add_chain(
        &table,
        &Chain::base("one", ChainKind::Filter, Hook::Input, 0),
    );
    batch.add_chain(&table, &Chain::regular("two"));
    batch.add_rule(&table, "one", &Rule::new().jump("two"));
    batch.add_rule(&table, "two", &Rule::new().jump("two"));
    let Err(Error::Refused(refusal)) = netfilter.commit(&mut batch) else {
        return Err("a loop was not refused".into());
    };
    same("too many jumps", &refusal.errno, &nix::libc::EMLINK)?;
    same("tables", &netfilter.tables(None)?, &vec![])
}

fn names_the_element() -> Result<(), Failed> {
    let table = Table::new(Family::Ip, "t");
    let mut netfilter = Netfilter::open()?;
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_set(&table, &Set::verdict_map("m", &[Type::InetService]));
    let element = |port: u16, chain: &str| {
        Element::verdict(Value::new().port(port), Verdict::goto(chain)).comment("of some length")
    };
    batch.add_chain(&table, &Chain::regular("c"));
    let elements: Vec<_> = (1..100).map(|port| element(port, "c")).collect();
    batch.add_elements(&table, "m", &elements);
    batch.add_elements(
        &table,
        "m",
        &[
            element(200, "c"),
            element(0x1234, "nowhere"),
            element(201, "c"),
        ],
    );
    let error = netfilter.commit(&mut batch).err().ok_or("not refused")?;
    same(
        "the error",
        &error.to_string().as_str(),
        &"failed to add element 0x1234 of set ip t m: ENOENT: No such file or directory",
    )?;
    same("tables", &netfilter.tables(None)?, &vec![])
}

fn own_words() -> Result<(), Failed> {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Ip, "x".repeat(300)));
    let error = Netfilter::open()?.commit(&mut batch).err();
    let Some(Error::Refused(refusal)) = error else {
        return Err(format!("{error:?}").into());
    };
    let text = refusal.text.clone().ok_or("no words of the kernel")?;
    contains(&text, "policy")?;
    contains(&refusal.to_string(), &text)
}

/// More errors than the receive buffer can hold.
fn many_errors() -> Result<(), Failed> {
    let table = Table::new(Family::Ip, "t");
    let mut netfilter = Netfilter::open()?;
    let mut batch = Batch::new();
    batch.add_table(&table);
    for number in 0..20_000 {
        batch.add_chain(&table, &Chain::regular(format!("c{number}")));
        batch.add_rule(&table, "nowhere", &Rule::new().accept());
    }
    let Err(Error::Refused(refusal)) = netfilter.commit(&mut batch) else {
        return Err("it was not refused".into());
    };
    same(
        "the first",
        &refusal.what.as_str(),
        &"add a rule to chain ip t nowhere",
    )?;
    same("there are others", &(refusal.others > 0), &true)?;
    // Nothing of it is left for the next one.
    batch.clear();
    batch.add_table(&table);
    netfilter.commit(&mut batch)?;
    same("tables", &netfilter.tables(None)?.len(), &1)
}

fn older_generation() -> Result<(), Failed> {
    let (table, other) = (Table::new(Family::Ip, "t"), Table::new(Family::Ip, "other"));
    let mut ours = Netfilter::open()?;
    let read = ours.generation()?;
    let mut batch = Batch::new();
    batch.add_table(&other);
    Netfilter::open()?.commit(&mut batch)?;

    batch.clear();
    batch.require_generation(read.id);
    batch.add_table(&table);
    let Err(Error::GenerationChanged) = ours.commit(&mut batch) else {
        return Err("it was not refused".into());
    };
    same("tables", &ours.tables(None)?.len(), &1)?;
    let now = ours.generation()?;
    same("one change", &now.id, &(read.id + 1))?;
    batch.require_generation(now.id);
    ours.commit(&mut batch)?;
    same("tables", &ours.tables(None)?.len(), &2)
}

fn empty() -> Result<(), Failed> {
    let mut netfilter = Netfilter::open()?;
    let before = netfilter.generation()?;
    let mut changes = Changes::subscribe()?;
    netfilter.commit(&mut Batch::new())?;
    // Reading waits for others by a transaction of its own.
    netfilter.tables(None)?;
    same("the generation", &netfilter.generation()?, &before)?;
    same("no change", &changes.read()?, &None)
}

/// What a process without rights over the whole machine is started with.
const CHILD: &str = "--too-large-a-transaction";
/// So that a machine with a huge limit fails this instead of filling its memory.
const SENSIBLE: usize = 256 << 20;

/// In a process of its own, because only one with a single thread can enter a user namespace, and
/// only there the kernel bounds the buffer.
fn too_large() -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// The other side of [`too_large`]; nothing if this process is not it.
pub(crate) fn child() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(CHILD) {
        return None;
    }
    let result = refuses_too_large();
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn refuses_too_large() -> Result<(), Box<dyn std::error::Error>> {
    enter_user_namespace()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let mut netfilter = Netfilter::open()?;
    let limit = netfilter.capacity(SENSIBLE)?;
    if limit >= SENSIBLE {
        return Err(format!("the limit is {limit} bytes, too many for this test").into());
    }
    let table = Table::new(Family::Ip, "t");
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_set(&table, &Set::new("s", &[Type::Mark]));
    let elements: Vec<_> = (0..1000)
        .map(|number| Element::new(Value::new().number(number)))
        .collect();
    while batch.len() <= limit {
        batch.add_elements(&table, "s", &elements);
    }
    match netfilter.commit(&mut batch) {
        Err(Error::Netlink(NetlinkError::TooLarge { size, limit: said }))
            if size >= batch.len() && said == limit => {}
        other => return Err(format!("{other:?}").into()),
    }
    if !netfilter.tables(None)?.is_empty() {
        return Err("some of it was carried out".into());
    }
    // One that fits still works.
    batch.clear();
    batch.add_table(&table);
    netfilter.commit(&mut batch)?;
    Ok(())
}
