//! A thin nfnetlink encoder: tables, sets, maps, chains, rules, and one atomic transaction.

mod object;

pub use object::*;
