//! Rules, built to read like the text of `nft`.

use std::sync::Arc;
use std::time::Duration;

use super::element::Verdict;
use super::expression::{
    CmpOp, CtKey, DynsetOp, Expression, LookupTo, MetaKey, NatKind, Register, Reject,
};
use super::load::{Load, emit, emit_all, words};
use super::table::Family;
use super::value::Value;

/// A rule: expressions that the kernel runs one after the other until one says no.
///
/// ```
/// # use onehop_nft::*;
/// // ct state new ip daddr . meta l4proto . th dport vmap @services
/// Rule::new()
///     .any(CT_STATE, ct_state::NEW)
///     .vmap([IP_DADDR, L4PROTO, TH_DPORT], "services");
/// // meta l4proto tcp dnat ip to ip daddr . th dport . numgen random mod 3 map @endpoints
/// Rule::new()
///     .eq(L4PROTO, Value::new().proto(6))
///     .dnat(Family::Ip, [map([IP_DADDR, TH_DPORT, random(3)], "endpoints", 8)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its expressions.
    pub expressions: Vec<Expression>,
    /// A comment, which `nft list` shows. At most 128 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without expressions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// With one more expression, as it is.
    #[must_use]
    pub fn push(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }

    /// Puts what a load gives into registers, from this one on.
    #[must_use]
    pub fn load(mut self, load: Load, to: Register) -> Self {
        emit(&mut self.expressions, load, to);
        self
    }

    /// `LOAD == value`.
    #[must_use]
    pub fn eq(self, load: Load, value: impl Into<Value>) -> Self {
        self.compare(load, CmpOp::Eq, value)
    }

    /// `LOAD != value`.
    #[must_use]
    pub fn ne(self, load: Load, value: impl Into<Value>) -> Self {
        self.compare(load, CmpOp::Ne, value)
    }

    /// `LOAD op value`. The kernel compares bytes, so that orders are those of big-endian numbers.
    #[must_use]
    pub fn compare(mut self, load: Load, op: CmpOp, value: impl Into<Value>) -> Self {
        emit(&mut self.expressions, load, Register::FIRST);
        self.push(Expression::Cmp {
            from: Register::FIRST,
            op,
            value: value.into(),
        })
    }

    /// `LOAD first-last`, in the order of big-endian numbers.
    #[must_use]
    pub fn between(self, load: Load, first: impl Into<Value>, last: impl Into<Value>) -> Self {
        self.compare(load, CmpOp::Gte, first).push(Expression::Cmp {
            from: Register::FIRST,
            op: CmpOp::Lte,
            value: last.into(),
        })
    }

    /// `LOAD != first-last`, in the order of big-endian numbers.
    #[must_use]
    pub fn outside(mut self, load: Load, first: impl Into<Value>, last: impl Into<Value>) -> Self {
        emit(&mut self.expressions, load, Register::FIRST);
        self.push(Expression::Range {
            from: Register::FIRST,
            outside: true,
            first: first.into(),
            last: last.into(),
        })
    }

    /// Any of these bits of a number is set: `ct state established,related`.
    #[must_use]
    pub fn any(self, load: Load, bits: u32) -> Self {
        self.ne(load.and(bits), Value::new().number(0))
    }

    /// `LOAD . LOAD @set`.
    #[must_use]
    pub fn in_set(self, key: impl Into<Vec<Load>>, set: impl Into<Arc<str>>) -> Self {
        self.lookup(key.into(), set.into(), LookupTo::Match)
    }

    /// `LOAD . LOAD != @set`.
    #[must_use]
    pub fn not_in_set(self, key: impl Into<Vec<Load>>, set: impl Into<Arc<str>>) -> Self {
        self.lookup(key.into(), set.into(), LookupTo::NoMatch)
    }

    /// `LOAD . LOAD vmap @map`.
    #[must_use]
    pub fn vmap(self, key: impl Into<Vec<Load>>, map: impl Into<Arc<str>>) -> Self {
        self.lookup(key.into(), map.into(), LookupTo::Verdict)
    }

    fn lookup(mut self, key: Vec<Load>, set: Arc<str>, to: LookupTo) -> Self {
        emit_all(&mut self.expressions, key, Register::FIRST);
        self.push(Expression::Lookup {
            set,
            from: Register::FIRST,
            to,
        })
    }

    /// `add @set { LOAD . LOAD }`: a new element, if there is none yet. An empty `data` is for
    /// sets. Without a timeout the set's own counts.
    #[must_use]
    pub fn add_element(
        self,
        set: impl Into<Arc<str>>,
        key: impl Into<Vec<Load>>,
        data: impl Into<Vec<Load>>,
        timeout: Option<Duration>,
    ) -> Self {
        self.dynset(DynsetOp::Add, set.into(), key.into(), data.into(), timeout)
    }

    /// `update @map { LOAD . LOAD : LOAD }`: a new element, or the old one's timeout begins anew.
    #[must_use]
    pub fn update_element(
        self,
        set: impl Into<Arc<str>>,
        key: impl Into<Vec<Load>>,
        data: impl Into<Vec<Load>>,
        timeout: Option<Duration>,
    ) -> Self {
        self.dynset(
            DynsetOp::Update,
            set.into(),
            key.into(),
            data.into(),
            timeout,
        )
    }

    /// `delete @map { LOAD . LOAD }`.
    #[must_use]
    pub fn delete_element(self, set: impl Into<Arc<str>>, key: impl Into<Vec<Load>>) -> Self {
        self.dynset(DynsetOp::Delete, set.into(), key.into(), Vec::new(), None)
    }

    fn dynset(
        mut self,
        op: DynsetOp,
        set: Arc<str>,
        key: Vec<Load>,
        data: Vec<Load>,
        timeout: Option<Duration>,
    ) -> Self {
        // As nft does: the key has a 128-bit register at least.
        let taken = key.iter().map(words).sum::<u8>().max(4);
        emit_all(&mut self.expressions, key, Register::FIRST);
        let data_register = (!data.is_empty()).then(|| Register::FIRST.after(taken));
        if let Some(register) = data_register {
            emit_all(&mut self.expressions, data, register);
        }
        self.push(Expression::Dynset {
            set,
            op,
            key: Register::FIRST,
            data: data_register,
            timeout,
        })
    }

    /// `meta mark set LOAD`.
    #[must_use]
    pub fn set_mark(mut self, load: Load) -> Self {
        emit(&mut self.expressions, load, Register::FIRST);
        self.push(Expression::MetaSet {
            key: MetaKey::Mark,
            from: Register::FIRST,
        })
    }

    /// `meta nftrace set 1`: from here on, [`Traces`](crate::Traces) tells which rules the packet meets.
    #[must_use]
    pub fn set_nftrace(mut self) -> Self {
        let load = Load::Constant(Value::new().byte(1));
        emit(&mut self.expressions, load, Register::FIRST);
        self.push(Expression::MetaSet {
            key: MetaKey::NfTrace,
            from: Register::FIRST,
        })
    }

    /// `ct mark set LOAD`.
    #[must_use]
    pub fn set_ct_mark(mut self, load: Load) -> Self {
        emit(&mut self.expressions, load, Register::FIRST);
        self.push(Expression::CtSet {
            key: CtKey::Mark,
            from: Register::FIRST,
        })
    }

    /// `dnat FAMILY to ADDRESS . PORT`: the loads give an address and a port, or an address alone
    /// (then the port stays). A map gives both if its length says so.
    #[must_use]
    pub fn dnat(self, family: Family, to: impl Into<Vec<Load>>) -> Self {
        self.nat(NatKind::Dnat, family, to.into(), 0)
    }

    /// `snat FAMILY to ADDRESS . PORT`.
    #[must_use]
    pub fn snat(self, family: Family, to: impl Into<Vec<Load>>) -> Self {
        self.nat(NatKind::Snat, family, to.into(), 0)
    }

    /// `dnat` or `snat` with flags ([`nat_flags`](super::nat_flags)).
    #[must_use]
    pub fn nat(mut self, kind: NatKind, family: Family, to: Vec<Load>, flags: u32) -> Self {
        let address_words = if family == Family::Ip6 { 4 } else { 1 };
        let has_port = to.iter().map(words).sum::<u8>() > address_words;
        emit_all(&mut self.expressions, to, Register::FIRST);
        self.push(Expression::Nat {
            kind,
            family,
            address: Some(Register::FIRST),
            port: has_port.then(|| Register::FIRST.after(address_words)),
            flags,
        })
    }

    /// `masquerade`, with flags ([`nat_flags`](super::nat_flags)).
    #[must_use]
    pub fn masquerade(self, flags: u32) -> Self {
        self.push(Expression::Masquerade { flags })
    }

    /// `reject with …`.
    #[must_use]
    pub fn reject(self, how: Reject) -> Self {
        self.push(Expression::Reject(how))
    }

    /// `counter`.
    #[must_use]
    pub fn counter(self) -> Self {
        self.push(Expression::Counter {
            packets: 0,
            bytes: 0,
        })
    }

    /// A verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.push(Expression::Verdict(verdict))
    }

    /// `accept`.
    #[must_use]
    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    /// `drop`.
    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// `return`.
    #[must_use]
    pub fn ret(self) -> Self {
        self.verdict(Verdict::Return)
    }

    /// `jump chain`.
    #[must_use]
    pub fn jump(self, chain: impl Into<Arc<str>>) -> Self {
        self.verdict(Verdict::jump(chain))
    }

    /// `goto chain`.
    #[must_use]
    pub fn goto(self, chain: impl Into<Arc<str>>) -> Self {
        self.verdict(Verdict::goto(chain))
    }
}
