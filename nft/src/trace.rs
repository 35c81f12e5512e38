//! Which rules a packet meets, as the kernel tells it: what `nft monitor trace` shows.

use std::collections::VecDeque;

use crate::batch::{NFTABLES, operation};
use crate::decode;
use crate::error::Error;
use crate::netlink::{Attributes, Malformed, Message, Socket, messages};
use crate::object::{Family, Verdict};

/// The bit of the group that hears of traced packets (`NFNLGRP_NFTRACE`).
const GROUP: u32 = 1 << (9 - 1);

/// Attributes of a report (`enum nft_trace_attributes`).
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const RULE_HANDLE: u16 = 3;
    pub(super) const TYPE: u16 = 4;
    pub(super) const VERDICT: u16 = 5;
    pub(super) const ID: u16 = 6;
    pub(super) const POLICY: u16 = 16;
}

/// What a packet met (`enum nft_trace_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The end of a base chain, whose policy decided.
    Policy,
    /// The end of a chain, from where it goes back to where it came from, or to the policy.
    Return,
    /// A rule that applied to it, by its handle.
    Rule(u64),
}

/// One step of a packet on its way through the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Tells the steps of one packet from those of others. It stays the same from hook to hook.
    pub packet: u32,
    /// The family of the table; `None` for one that this crate does not know.
    pub family: Option<Family>,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What it met there.
    pub met: Met,
    /// What became of it; `None` for a verdict that this crate does not know, such as that it was queued.
    pub verdict: Option<Verdict>,
}

impl Step {
    /// What a message reports, if it is about a traced packet.
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.of_subsystem(NFTABLES) != Some(operation::TRACE) {
            return Ok(None);
        }
        let (family, attributes) = message.body()?;
        step(Family::of(family), attributes).map(Some)
    }
}

fn step(family: Option<Family>, all: Attributes<'_>) -> Result<Step, Malformed> {
    let (mut table, mut chain) = (String::new(), String::new());
    let (mut packet, mut kind, mut handle) = (None, None, None);
    let (mut verdict, mut policy) = (None, None);
    for each in all {
        let each = each?;
        match each.kind {
            attribute::TABLE => each.text()?.clone_into(&mut table),
            attribute::CHAIN => each.text()?.clone_into(&mut chain),
            attribute::RULE_HANDLE => handle = Some(each.be64()?),
            attribute::TYPE => kind = Some(each.be32()?),
            attribute::VERDICT => verdict = decode::verdict(each.nested()).ok(),
            attribute::ID => packet = Some(each.be32()?),
            attribute::POLICY => policy = Some(each.be32()?),
            _ => {}
        }
    }
    let met = match (kind, handle) {
        (Some(1), _) => Met::Policy,
        // Kernels differ in what they call a rule that returns.
        (Some(2 | 3), Some(handle)) => Met::Rule(handle),
        // What ends every chain is a rule to the kernel, without a handle.
        (Some(2 | 3), None) => Met::Return,
        _ => return Err(Malformed("a trace of nothing that is known")),
    };
    if met == Met::Policy {
        verdict = match policy {
            Some(0) => Some(Verdict::Drop),
            Some(1) => Some(Verdict::Accept),
            _ => None,
        };
    }
    Ok(Step {
        packet: packet.ok_or(Malformed("a trace without its packet"))?,
        family,
        table,
        chain,
        met,
        verdict,
    })
}

/// Every step of every packet that is traced ([`Rule::set_nftrace`](crate::Rule::set_nftrace)) in the network namespace in which
/// this was opened.
#[derive(Debug)]
pub struct Traces {
    socket: Socket,
    pending: VecDeque<Step>,
}

impl Traces {
    /// Begins to listen in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// If the kernel has no netfilter, or refuses.
    pub fn subscribe() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::with_groups(GROUP)?,
            pending: VecDeque::new(),
        })
    }

    /// The next step, without waiting; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, a report is malformed, or steps came faster than they were read, so that some were lost.
    pub fn read(&mut self) -> Result<Option<Step>, Error> {
        loop {
            if let Some(step) = self.pending.pop_front() {
                return Ok(Some(step));
            }
            let bytes = match self.socket.receive(false) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            for message in messages(bytes) {
                self.pending.extend(Step::of(&message?)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes;

    /// An attribute as the kernel writes it.
    fn encoded(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).expect("a short value");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn place(kind: u32) -> Vec<u8> {
        [
            encoded(attribute::ID, &7_u32.to_be_bytes()),
            encoded(attribute::TYPE, &kind.to_be_bytes()),
            encoded(attribute::TABLE, b"kube-proxy\0"),
            encoded(attribute::CHAIN, b"services\0"),
        ]
        .concat()
    }

    fn verdict(code: i32, chain: &[u8]) -> Vec<u8> {
        let mut nested = encoded(1, &code.to_be_bytes());
        if !chain.is_empty() {
            nested.extend(encoded(2, chain));
        }
        encoded(attribute::VERDICT, &nested)
    }

    #[test]
    fn rules_ends_and_policies_are_told_apart() {
        let read = |bytes: &[u8]| step(Some(Family::Ip), attributes(bytes));
        let rule = encoded(attribute::RULE_HANDLE, &12_u64.to_be_bytes());
        let jump = [place(3), rule.clone(), verdict(-3, b"external\0")].concat();
        let jump = read(&jump).expect("a rule");
        assert_eq!((&*jump.table, &*jump.chain), ("kube-proxy", "services"));
        assert_eq!((jump.packet, jump.met), (7, Met::Rule(12)));
        assert_eq!(jump.verdict, Some(Verdict::jump("external")));
        let returned = [place(2), rule.clone(), verdict(-5, b"")].concat();
        assert_eq!(read(&returned).expect("a rule").met, Met::Rule(12));
        let queued = [place(3), rule, verdict(3, b"")].concat();
        assert_eq!(read(&queued).expect("a rule").verdict, None);
        let end = [place(2), verdict(-5, b"")].concat();
        assert_eq!(read(&end).expect("an end").met, Met::Return);
        let last = [place(3), verdict(-1, b"")].concat();
        assert_eq!(read(&last).expect("an end").met, Met::Return);
        let policy = encoded(attribute::POLICY, &0_u32.to_be_bytes());
        let dropped = [place(1), verdict(-1, b""), policy].concat();
        let dropped = read(&dropped).expect("a policy");
        assert_eq!(
            (dropped.met, dropped.verdict),
            (Met::Policy, Some(Verdict::Drop))
        );
    }

    #[test]
    fn what_is_of_no_packet_or_of_nothing_is_malformed() {
        let read = |bytes: &[u8]| step(None, attributes(bytes));
        assert!(read(&place(9)).is_err(), "nothing that is known");
        let nobody = encoded(attribute::TYPE, &2_u32.to_be_bytes());
        assert!(read(&nobody).is_err(), "no packet");
    }
}
