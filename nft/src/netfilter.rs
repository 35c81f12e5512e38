//! nftables of one network namespace: transactions in, states out.

use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;

use crate::batch::{Batch, FIRST_SEQUENCE, NFTABLES, operation};
use crate::decode::{self, Existing, ExistingRule, Generation, Object};
use crate::encode;
use crate::error::{Error, Refusal};
use crate::netlink::{
    Acknowledgement, Builder, NetlinkError, Socket, acknowledgement, kind, messages,
};
use crate::object::{Chain, Element, Family, Set, Table, Value};

/// How often a state is read at most until nobody changes it meanwhile: while it is small, one of a few attempts
/// falls between the transactions of others, and a large one would hold its reader up for long.
const ATTEMPTS: usize = 20;

/// Whether a dump must be of one generation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    OneGeneration,
    AnyGeneration,
}

/// nftables of the network namespace in which this was opened. It may be used from any thread.
#[derive(Debug)]
pub struct Netfilter {
    socket: Socket,
}

impl Netfilter {
    /// Opens nftables of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// If the kernel has no netfilter, or refuses.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open()?;
        Ok(Self { socket })
    }

    /// By which [`Generation::port`] names changes that were made through this.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// How many bytes ([`Batch::len`]) a transaction may have, if so many are wanted. Less than is
    /// wanted only without `CAP_NET_ADMIN` in the initial user namespace, where
    /// `net.core.wmem_max` bounds it.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn capacity(&self, wanted: usize) -> Result<usize, Error> {
        Ok(self.socket.capacity(wanted)?)
    }

    /// Carries a transaction out, wholly or not at all. It is left as it was given, for another
    /// attempt or for [`Batch::clear`]. An empty one does nothing.
    ///
    /// # Errors
    ///
    /// If the kernel refuses any part, if the required generation has passed, or if it is larger
    /// than [`Netfilter::capacity`].
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.socket.drain()?;
        batch.with_bytes(|bytes| self.socket.send(bytes))?;
        let answers = self.answers(batch.last_sequence())?;
        let Some(first) = answers.errors.first() else {
            return match (answers.acknowledged, answers.lost) {
                (true, _) => Ok(()),
                (false, true) => Err(NetlinkError::Lost.into()),
                (false, false) => Err(NetlinkError::NoAnswer.into()),
            };
        };
        if first.errno == libc::ERESTART && first.sequence == FIRST_SEQUENCE {
            return Err(Error::GenerationChanged);
        }
        let failed = batch.message_of(first.sequence).unwrap_or_default();
        Err(Error::Refused(Refusal {
            what: decode::describe(failed, first.offset),
            errno: first.errno,
            text: first.text.clone(),
            others: answers.errors.len() - 1,
        }))
    }

    /// Reads all that the kernel said about a transaction. It said so before the send returned.
    fn answers(&mut self, last: u32) -> Result<Answers, Error> {
        let mut answers = Answers::default();
        loop {
            let bytes = match self.socket.receive(false) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(answers),
                Err(NetlinkError::Lost) => {
                    answers.lost = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for message in messages(bytes) {
                match acknowledgement(&message?)? {
                    Some(answer) if answer.errno != 0 => answers.errors.push(answer),
                    Some(answer) => answers.acknowledged |= answer.sequence == last,
                    None => {}
                }
            }
        }
    }

    /// The present generation.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn generation(&mut self) -> Result<Generation, Error> {
        let mut found = None;
        let ask = kind::of(NFTABLES, operation::GET_GENERATION);
        self.socket.request(
            ask,
            0,
            0,
            |_| {},
            |message| {
                if let Object::Generation(generation) = decode::message(message)? {
                    found = Some(generation);
                }
                Ok(())
            },
        )?;
        found.ok_or(NetlinkError::NoAnswer.into())
    }

    /// All tables of a family, or of all.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn tables(&mut self, family: Option<Family>) -> Result<Vec<Existing<Table>>, Error> {
        let number = family.map_or(0, Family::number);
        self.dump(
            operation::GET_TABLE,
            number,
            |_| {},
            |object| match object {
                Object::Table(table) => Some(table),
                _ => None,
            },
        )
    }

    /// All chains of a table; none if there is no such table.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<Existing<Chain>>, Error> {
        self.objects(
            table,
            operation::GET_CHAIN,
            encode::table_name,
            |object| match object {
                Object::Chain(chain) => Some(chain),
                _ => None,
            },
        )
    }

    /// All rules of a table, in order within each chain; none if there is no such table.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn rules(&mut self, table: &Table) -> Result<Vec<Existing<ExistingRule>>, Error> {
        self.objects(
            table,
            operation::GET_RULE,
            encode::table_name,
            |object| match object {
                Object::Rule(rule) => Some(rule),
                _ => None,
            },
        )
    }

    /// All sets and maps of a table, those without a name of their own (`__set0`) included.
    ///
    /// # Errors
    ///
    /// If there is no such table, or the kernel refuses.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<Existing<Set>>, Error> {
        self.objects(
            table,
            operation::GET_SET,
            encode::table_name,
            |object| match object {
                Object::Set(set) => Some(set),
                _ => None,
            },
        )
    }

    /// All elements of a set or map, sorted, of one generation: nobody changed nftables meanwhile. Where others do so
    /// all the time, see [`Netfilter::elements_beside_others`].
    ///
    /// # Errors
    ///
    /// If there is no such set, the kernel refuses, or nftables never stay the same.
    pub fn elements(&mut self, table: &Table, set: &str) -> Result<Vec<Element>, Error> {
        self.settled_elements(table, set, Of::OneGeneration)
    }

    /// The same, however often others change nftables meanwhile. They are all elements if the others leave this set
    /// alone: the kernel shows those of either generation then. If they do not, what they add and remove, and others
    /// beside it, may be missing.
    ///
    /// # Errors
    ///
    /// If there is no such set, the kernel refuses, or the set never stays the same.
    pub fn elements_beside_others(
        &mut self,
        table: &Table,
        set: &str,
    ) -> Result<Vec<Element>, Error> {
        self.settled_elements(table, set, Of::AnyGeneration)
    }

    fn settled_elements(
        &mut self,
        table: &Table,
        set: &str,
        of: Of,
    ) -> Result<Vec<Element>, Error> {
        for _ in 0..ATTEMPTS {
            let mut all = self.dumped_elements(table, set, of)?;
            // The kernel goes on after each part of a dump by the number of elements that it gave. If
            // it has rehashed a growing set meanwhile, some come twice and as many are missing.
            let given = all.len();
            all.dedup_by(|one, other| place(one) == place(other));
            if all.len() == given {
                return Ok(all);
            }
        }
        Err(NetlinkError::Unsteady.into())
    }

    /// The elements of a set or map that packets change, or that need not be complete, sorted. Those that come or go
    /// while this reads, and others beside them, may be missing.
    ///
    /// # Errors
    ///
    /// If there is no such set, or the kernel refuses.
    pub fn changing_elements(&mut self, table: &Table, set: &str) -> Result<Vec<Element>, Error> {
        let mut all = self.dumped_elements(table, set, Of::AnyGeneration)?;
        all.dedup_by(|one, other| place(one) == place(other));
        Ok(all)
    }

    /// What one dump gives, sorted.
    fn dumped_elements(&mut self, table: &Table, set: &str, of: Of) -> Result<Vec<Element>, Error> {
        let body = |b: &mut Builder| encode::elements_place(b, table, set);
        let pick = |object| match object {
            Object::Elements(part) if part.table == table.name => Some(part.object.elements),
            _ => None,
        };
        let (operation, family) = (operation::GET_ELEMENT, table.family.number());
        let parts = match of {
            Of::OneGeneration => self.dump(operation, family, body, pick)?,
            Of::AnyGeneration => self.dump_once(operation, family, body, pick)?.0,
        };
        let mut all: Vec<_> = parts.into_iter().flatten().collect();
        all.sort_unstable_by(|one, other| place(one).cmp(&place(other)));
        Ok(all)
    }

    /// All objects of a kind in a table. Some kernels give those of other tables as well.
    fn objects<T>(
        &mut self,
        table: &Table,
        operation: u8,
        place: impl Fn(&mut Builder, &Table),
        pick: impl Fn(Object) -> Option<Existing<T>>,
    ) -> Result<Vec<Existing<T>>, Error> {
        self.dump(
            operation,
            table.family.number(),
            |b| place(b, table),
            |object| pick(object).filter(|object| object.table == table.name),
        )
    }

    /// All objects of a kind, of one generation. The kernel's own mark of an interrupted dump is not
    /// enough: it does not set it for elements.
    fn dump<T>(
        &mut self,
        operation: u8,
        family: u8,
        body: impl Fn(&mut Builder),
        pick: impl Fn(Object) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..ATTEMPTS {
            let before = self.generation()?.id;
            let (all, interrupted) = self.dump_once(operation, family, &body, &pick)?;
            if !interrupted && self.generation()?.id == before {
                return Ok(all);
            }
        }
        Err(NetlinkError::Unsteady.into())
    }

    /// All objects of a kind, and whether the kernel says that their state changed meanwhile.
    fn dump_once<T>(
        &mut self,
        operation: u8,
        family: u8,
        body: impl Fn(&mut Builder),
        pick: impl Fn(Object) -> Option<T>,
    ) -> Result<(Vec<T>, bool), Error> {
        self.settle()?;
        let ask = kind::of(NFTABLES, operation);
        let dumped = self.socket.dump_once(ask, family, body, |message| {
            Ok(pick(decode::message(message)?))
        });
        Ok(dumped?)
    }

    /// Waits until a transaction under way is over: the kernel counts the generation up, and only
    /// then takes out of its sets what is not in it any more. An empty transaction waits for others,
    /// and changes nothing.
    fn settle(&mut self) -> Result<(), Error> {
        Ok(Batch::new().with_bytes(|bytes| self.socket.send(bytes))?)
    }
}

impl AsFd for Netfilter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a set has only once.
fn place(element: &Element) -> (&Value, &Option<Value>, bool) {
    (&element.key, &element.key_end, element.interval_end)
}

/// What the kernel said about a transaction.
#[derive(Default)]
struct Answers {
    errors: Vec<Acknowledgement>,
    acknowledged: bool,
    lost: bool,
}
