//! The layer below, which other subsystems of netfilter use as well.

use std::thread;

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use onehop_nft::netlink::{Socket, flags, kind};
use onehop_nft::*;

use crate::support::same;
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "connection_tracking_is_asked_by_the_same_socket",
        Needs::Nothing,
        connection_tracking,
    ),
    (
        "a_socket_stays_in_its_namespace_whoever_uses_it",
        Needs::Nothing,
        stays_in_its_namespace,
    ),
];

const CONNTRACK: u8 = 1;
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;

/// Makes an entry, finds it, deletes it, and is told that it is gone.
fn connection_tracking() -> Result<(), Failed> {
    let mut socket = Socket::open()?;
    let dump = |socket: &mut Socket| {
        socket.dump(
            kind::of(CONNTRACK, GET),
            2,
            |_| {},
            |message| Ok((message.of_subsystem(CONNTRACK) == Some(NEW)).then_some(())),
        )
    };
    same("no entries yet", &dump(&mut socket)?.len(), &0)?;
    let tuple = |b: &mut netlink::Builder, reply: bool| {
        let (from, to) = if reply { (2, 1) } else { (1, 2) };
        b.nest(if reply { 2 } else { 1 }, |b| {
            b.nest(1, |b| {
                b.bytes(1, &[10, 0, 0, from]);
                b.bytes(2, &[10, 0, 0, to]);
            });
            b.nest(2, |b| {
                b.u8(1, 17);
                b.be16(2, 1000 + u16::from(from));
                b.be16(3, 1000 + u16::from(to));
            });
        });
    };
    let make = flags::CREATE | flags::EXCLUSIVE;
    socket.request(
        kind::of(CONNTRACK, NEW),
        make,
        2,
        |b| {
            tuple(b, false);
            tuple(b, true);
            b.be32(7, 300);
        },
        |_| Ok(()),
    )?;
    same("an entry", &dump(&mut socket)?.len(), &1)?;
    let mut delete = || {
        let ask = kind::of(CONNTRACK, DELETE);
        socket.request(ask, 0, 2, |b| tuple(b, false), |_| Ok(()))
    };
    delete()?;
    let gone = delete().err().and_then(|error| error.refused());
    same("gone", &gone, &Some(nix::libc::ENOENT))?;
    same("no entries any more", &dump(&mut socket)?.len(), &0)
}

fn stays_in_its_namespace() -> Result<(), Failed> {
    let mut netfilter = Netfilter::open()?;
    let there = thread::spawn(
        move || -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let mut batch = Batch::new();
            batch.add_table(&Table::new(Family::Ip, "t"));
            netfilter.commit(&mut batch)?;
            Ok(Netfilter::open()?.tables(None)?.len())
        },
    );
    let there = there.join().expect("no panic").map_err(|e| e.to_string())?;
    same("tables there", &there, &0)?;
    same("tables here", &Netfilter::open()?.tables(None)?.len(), &1)
}
