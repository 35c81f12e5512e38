//! Tables, chains, sets, elements and rules as data. Nothing here talks to the kernel.

mod chain;
mod element;
mod expression;
mod load;
mod rule;
mod set;
mod table;
mod value;

pub use chain::{Base, Chain, ChainKind, Hook, Policy, priority};
pub use element::{Data, Element, Verdict};
pub use expression::{
    ByteorderOp, CmpOp, CtKey, Direction, DynsetOp, Expression, FibResult, LookupTo, MetaKey,
    NatKind, NumgenKind, PayloadBase, Register, Reject, ct_state, ct_status, fib_flags, nat_flags,
    reject_code,
};
pub use load::{
    CT_DIRECTION, CT_MARK, CT_ORIGINAL_IP_DADDR, CT_ORIGINAL_IP_SADDR, CT_ORIGINAL_IP6_DADDR,
    CT_ORIGINAL_IP6_SADDR, CT_ORIGINAL_PROTO_DST, CT_ORIGINAL_PROTO_SRC, CT_STATE, CT_STATUS,
    FIB_DADDR_TYPE, FIB_SADDR_TYPE, ICMP_TYPE, ICMPV6_TYPE, IIFNAME, IP_DADDR, IP_SADDR, IP6_DADDR,
    IP6_SADDR, L4PROTO, Load, MARK, NFPROTO, OIFNAME, TH_DPORT, TH_SPORT, ct_original_daddr,
    ct_original_saddr, daddr, fib, incremental, map, random, saddr,
};
pub use rule::Rule;
pub use set::{MapData, Set, Type};
pub use table::{Family, Table};
pub use value::Value;
