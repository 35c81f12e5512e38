//! A thin nfnetlink encoder: tables, sets, maps, chains, rules, and one atomic transaction.
//!
//! Objects are data ([`Table`], [`Chain`], [`Set`], [`Element`], [`Rule`]). A [`Batch`] takes what is
//! to be done with them, and [`Netfilter::commit`] carries it out, wholly or not at all. What the
//! kernel has is read back as the same data. [`Changes`] tells when somebody else wrote, and [`Traces`] which rules a packet
//! meets.
//!
//! Rules read like the text of `nft`, and their bytes are those that `nft` would send:
//!
//! ```no_run
//! use onehop_nft::*;
//!
//! let table = Table::new(Family::Ip, "example");
//! let services = Set::verdict_map("services", &[Type::Ipv4Addr, Type::InetProto, Type::InetService]);
//! let key = Value::new().ip([10, 96, 0, 1]).proto(6).port(80);
//!
//! let mut batch = Batch::new();
//! batch.add_table(&table);
//! batch.add_set(&table, &services);
//! batch.add_chain(&table, &Chain::base("entry", ChainKind::Nat, Hook::Prerouting, priority::DSTNAT));
//! // ip daddr . meta l4proto . th dport vmap @services
//! batch.add_rule(&table, "entry", &Rule::new().vmap([IP_DADDR, L4PROTO, TH_DPORT], "services"));
//! batch.add_elements(&table, "services", &[Element::verdict(key, Verdict::Drop)]);
//! Netfilter::open()?.commit(&mut batch)?;
//! # Ok::<(), Error>(())
//! ```

mod batch;
mod changes;
pub mod decode;
mod encode;
mod error;
mod netfilter;
pub mod netlink;
mod object;
mod trace;

pub use batch::Batch;
pub use changes::{Change, Changes};
pub use decode::{Existing, ExistingRule, Generation};
pub use error::{Error, Refusal};
pub use netfilter::Netfilter;
pub use netlink::NetlinkError;
pub use object::*;
pub use trace::{Met, Step, Traces};
