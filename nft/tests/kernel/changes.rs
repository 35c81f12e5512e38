//! Changes are noticed, and who made them.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::gettid;
use onehop_nft::*;

use crate::large::services;
use crate::support::same;
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "ones_own_change_is_told_from_anothers",
        Needs::Nothing,
        own_and_other,
    ),
    (
        "tables_changed_by_others_are_named",
        Needs::Nothing,
        tables_of_others,
    ),
    (
        "a_change_by_nft_is_noticed_with_its_process",
        Needs::Nft,
        by_nft,
    ),
    ("a_large_change_is_one_event", Needs::Buffer, one_event),
    ("lost_events_are_noticed", Needs::Nothing, lost),
];

fn readable(changes: &Changes, patience: u16) -> Result<bool, Failed> {
    let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(patience))? > 0)
}

fn all(changes: &mut Changes) -> Result<Vec<Change>, Error> {
    let mut all = Vec::new();
    while let Some(change) = changes.read()? {
        all.push(change);
    }
    Ok(all)
}

fn one_generation(changes: &mut Changes) -> Result<Generation, Failed> {
    match &all(changes)?[..] {
        [Change::Generation(generation)] => Ok(generation.clone()),
        other => Err(format!("not one generation: {other:?}").into()),
    }
}

fn adding(name: &str) -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Ip, name));
    batch
}

/// Whether the kernel's numbers of processes are the ones that this process sees.
fn initial_process_namespace() -> Result<bool, Failed> {
    let link = std::fs::read_link("/proc/self/ns/pid")?;
    Ok(link.to_str() == Some("pid:[4026531836]"))
}

fn own_and_other() -> Result<(), Failed> {
    let mut changes = Changes::subscribe()?;
    let (mut ours, mut others) = (Netfilter::open()?, Netfilter::open()?);
    same("no change yet", &readable(&changes, 0)?, &false)?;
    same("nothing to read", &changes.read()?, &None)?;
    ours.commit(&mut adding("ours"))?;
    same("readable", &readable(&changes, 0)?, &true)?;
    let own = one_generation(&mut changes)?;
    same("our port", &own.port, &ours.port())?;
    same("the number", &own.id, &ours.generation()?.id)?;
    same("not readable", &readable(&changes, 0)?, &false)?;

    others.commit(&mut adding("theirs"))?;
    let other = one_generation(&mut changes)?;
    same("their port", &other.port, &others.port())?;
    same(
        "their port is not ours",
        &(others.port() != ours.port()),
        &true,
    )?;
    same("the number", &other.id, &(own.id + 1))?;
    if initial_process_namespace()? {
        let thread = u32::try_from(gettid().as_raw())?;
        same("the thread", &other.process, &Some(thread))?;
    }
    let name = std::fs::read_to_string("/proc/thread-self/comm")?;
    same(
        "its name",
        &other.process_name.as_deref(),
        &Some(name.trim_end()),
    )
}

/// Its objects are in the table as well, and so is what of it is deleted.
fn tables_of_others() -> Result<(), Failed> {
    let mut changes = Changes::subscribe()?;
    let (mut ours, mut others) = (Netfilter::open()?, Netfilter::open()?);
    changes.report_tables_but_of(ours.port())?;
    ours.commit(&mut adding("ours"))?;
    one_generation(&mut changes)?;

    let ours_too = Table::new(Family::Ip, "ours");
    let mut batch = adding("theirs");
    batch.add_chain(&ours_too, &Chain::regular("c"));
    batch.add_rule(&ours_too, "c", &Rule::new().drop());
    let named = |family, name: &str| Change::Table {
        family: Some(family),
        name: name.to_owned(),
    };
    others.commit(&mut batch)?;
    let changed = all(&mut changes)?;
    let expected = ["theirs", "ours"].map(|name| named(Family::Ip, name));
    same(
        "of both",
        &changed[..changed.len() - 1].to_vec(),
        &expected.to_vec(),
    )?;

    let mut batch = Batch::new();
    batch.delete_table(&ours_too);
    others.commit(&mut batch)?;
    let changed = all(&mut changes)?;
    same("deleted", &changed.first(), &Some(&expected[1]))?;
    same("and no other", &changed.contains(&expected[0]), &false)
}

fn by_nft() -> Result<(), Failed> {
    let mut changes = Changes::subscribe()?;
    let mut child = Command::new("nft")
        .args(["add", "table", "ip", "foreign"])
        .stdin(Stdio::null())
        .spawn()?;
    let id = child.id();
    same("nft's success", &child.wait()?.success(), &true)?;
    let change = one_generation(&mut changes)?;
    same(
        "the process's name",
        &change.process_name.as_deref(),
        &Some("nft"),
    )?;
    if initial_process_namespace()? {
        same("the process", &change.process, &Some(id))?;
    }
    same(
        "not ours",
        &(change.port != Netfilter::open()?.port()),
        &true,
    )
}

/// The kernel reports each of the elements, which would be more than a buffer holds.
fn one_event() -> Result<(), Failed> {
    let mut changes = Changes::subscribe()?;
    let table = Table::new(Family::Ip, "t");
    let (set, elements) = services(Family::Ip);
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_set(&table, &set);
    batch.add_elements(&table, "services", &elements);
    let mut netfilter = Netfilter::open()?;
    netfilter.commit(&mut batch)?;
    same(
        "the change",
        &one_generation(&mut changes)?.port,
        &netfilter.port(),
    )
}

fn lost() -> Result<(), Failed> {
    let mut changes = Changes::subscribe()?;
    let mut netfilter = Netfilter::open()?;
    for number in 0..2000 {
        netfilter.commit(&mut adding(&number.to_string()))?;
    }
    let noticed = all(&mut changes)?;
    same("some were lost", &noticed.contains(&Change::Lost), &true)?;
    // And it goes on.
    netfilter.commit(&mut adding("last"))?;
    let last = one_generation(&mut changes)?;
    same("the last", &last.id, &netfilter.generation()?.id)
}
