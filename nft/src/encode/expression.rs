//! The attributes of each expression.

use super::attribute as a;
use super::{milliseconds, value, verdict_data};
use crate::netlink::Builder;
use crate::object::{
    ByteorderOp, CmpOp, Direction, DynsetOp, Expression, FibResult, LookupTo, NatKind, NumgenKind,
    PayloadBase, Register, Reject,
};

/// The number of the register that takes a verdict.
const VERDICT_REGISTER: u32 = 0;
/// The number of the first 32-bit register.
const FIRST_REGISTER: u32 = 8;

/// Writes the name and the attributes of an expression.
pub(super) fn write(b: &mut Builder, expression: &Expression) {
    b.text(a::EXPRESSION_NAME, name(expression));
    if let Expression::Other { data, .. } = expression {
        b.bytes(a::EXPRESSION_DATA, data);
    } else {
        b.nest(a::EXPRESSION_DATA, |b| attributes(b, expression));
    }
}

fn name(expression: &Expression) -> &str {
    match expression {
        Expression::Meta { .. } | Expression::MetaSet { .. } => "meta",
        Expression::Payload { .. } => "payload",
        Expression::Cmp { .. } => "cmp",
        Expression::Range { .. } => "range",
        Expression::Bitwise { .. } => "bitwise",
        Expression::Byteorder { .. } => "byteorder",
        Expression::Immediate { .. } | Expression::Verdict(_) => "immediate",
        Expression::Lookup { .. } => "lookup",
        Expression::Dynset { .. } => "dynset",
        Expression::Numgen { .. } => "numgen",
        Expression::Nat { .. } => "nat",
        Expression::Masquerade { .. } => "masq",
        Expression::Ct { .. } | Expression::CtSet { .. } => "ct",
        Expression::Fib { .. } => "fib",
        Expression::Reject(_) => "reject",
        Expression::Counter { .. } => "counter",
        Expression::Other { name, .. } => name,
    }
}

fn attributes(b: &mut Builder, expression: &Expression) {
    match expression {
        Expression::Meta { key, to } => {
            register(b, 1, *to);
            b.be32(2, key.number());
        }
        Expression::MetaSet { key, from } => {
            b.be32(2, key.number());
            register(b, 3, *from);
        }
        Expression::Payload {
            base,
            offset,
            length,
            to,
        } => {
            register(b, 1, *to);
            b.be32(2, base_number(*base));
            b.be32(3, *offset);
            b.be32(4, *length);
        }
        Expression::Cmp { from, op, value: v } => {
            register(b, 1, *from);
            b.be32(2, cmp_number(*op));
            value(b, 3, v.as_slice());
        }
        Expression::Range {
            from,
            outside,
            first,
            last,
        } => {
            register(b, 1, *from);
            b.be32(2, u32::from(*outside));
            value(b, 3, first.as_slice());
            value(b, 4, last.as_slice());
        }
        Expression::Bitwise { .. } | Expression::Byteorder { .. } => arithmetic(b, expression),
        Expression::Immediate { value: v, to } => {
            register(b, 1, *to);
            value(b, 2, v.as_slice());
        }
        Expression::Verdict(verdict) => {
            b.be32(1, VERDICT_REGISTER);
            verdict_data(b, 2, verdict);
        }
        Expression::Lookup { .. } | Expression::Dynset { .. } => of_set(b, expression),
        Expression::Numgen {
            kind,
            modulus,
            offset,
            to,
        } => {
            register(b, 1, *to);
            b.be32(2, *modulus);
            b.be32(3, numgen_number(*kind));
            b.be32(4, *offset);
        }
        Expression::Nat { .. } | Expression::Masquerade { .. } => rewriting(b, expression),
        Expression::Ct { key, direction, to } => {
            register(b, 1, *to);
            b.be32(2, key.number());
            if let Some(direction) = direction {
                b.u8(3, direction_number(*direction));
            }
        }
        Expression::CtSet { key, from } => {
            b.be32(2, key.number());
            register(b, 4, *from);
        }
        Expression::Fib { flags, result, to } => {
            register(b, 1, *to);
            b.be32(2, fib_number(*result));
            b.be32(3, *flags);
        }
        Expression::Reject(how) => {
            let (kind, code) = match how {
                Reject::Icmp(code) => (0, *code),
                Reject::TcpReset => (1, 0),
                Reject::Icmpx(code) => (2, *code),
            };
            b.be32(1, kind);
            b.u8(2, code);
        }
        Expression::Counter { packets, bytes } => {
            b.be64(1, *bytes);
            b.be64(2, *packets);
        }
        Expression::Other { .. } => {}
    }
}

fn arithmetic(b: &mut Builder, expression: &Expression) {
    match expression {
        Expression::Bitwise {
            from,
            to,
            mask,
            xor,
        } => {
            register(b, 1, *from);
            register(b, 2, *to);
            b.be32(3, u32::try_from(mask.len()).expect("at most 64"));
            value(b, 4, mask.as_slice());
            value(b, 5, xor.as_slice());
        }
        Expression::Byteorder {
            from,
            to,
            op,
            length,
            size,
        } => {
            register(b, 1, *from);
            register(b, 2, *to);
            b.be32(3, byteorder_number(*op));
            b.be32(4, *length);
            b.be32(5, *size);
        }
        _ => {}
    }
}

fn of_set(b: &mut Builder, expression: &Expression) {
    match expression {
        Expression::Lookup { set, from, to } => {
            b.text(1, set);
            register(b, 2, *from);
            match to {
                LookupTo::Match => {}
                LookupTo::NoMatch => b.be32(5, 1),
                LookupTo::Register(to) => register(b, 3, *to),
                LookupTo::Verdict => b.be32(3, VERDICT_REGISTER),
            }
        }
        Expression::Dynset {
            set,
            op,
            key,
            data,
            timeout,
        } => {
            b.text(1, set);
            b.be32(3, dynset_number(*op));
            register(b, 4, *key);
            if let Some(data) = data {
                register(b, 5, *data);
            }
            if let Some(timeout) = timeout {
                b.be64(6, milliseconds(*timeout));
            }
        }
        _ => {}
    }
}

fn rewriting(b: &mut Builder, expression: &Expression) {
    match expression {
        Expression::Nat {
            kind,
            family,
            address,
            port,
            flags,
        } => {
            b.be32(1, nat_number(*kind));
            b.be32(2, u32::from(family.number()));
            if let Some(address) = address {
                register(b, 3, *address);
            }
            if let Some(port) = port {
                register(b, 5, *port);
            }
            if *flags != 0 {
                b.be32(7, *flags);
            }
        }
        Expression::Masquerade { flags } if *flags != 0 => b.be32(1, *flags),
        _ => {}
    }
}

fn register(b: &mut Builder, kind: u16, register: Register) {
    b.be32(kind, FIRST_REGISTER + u32::from(register.number()));
}

const fn base_number(base: PayloadBase) -> u32 {
    match base {
        PayloadBase::Link => 0,
        PayloadBase::Network => 1,
        PayloadBase::Transport => 2,
    }
}

const fn cmp_number(op: CmpOp) -> u32 {
    match op {
        CmpOp::Eq => 0,
        CmpOp::Ne => 1,
        CmpOp::Lt => 2,
        CmpOp::Lte => 3,
        CmpOp::Gt => 4,
        CmpOp::Gte => 5,
    }
}

const fn byteorder_number(op: ByteorderOp) -> u32 {
    match op {
        ByteorderOp::NetworkToHost => 0,
        ByteorderOp::HostToNetwork => 1,
    }
}

const fn dynset_number(op: DynsetOp) -> u32 {
    match op {
        DynsetOp::Add => 0,
        DynsetOp::Update => 1,
        DynsetOp::Delete => 2,
    }
}

const fn numgen_number(kind: NumgenKind) -> u32 {
    match kind {
        NumgenKind::Incremental => 0,
        NumgenKind::Random => 1,
    }
}

const fn nat_number(kind: NatKind) -> u32 {
    match kind {
        NatKind::Snat => 0,
        NatKind::Dnat => 1,
    }
}

const fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::Original => 0,
        Direction::Reply => 1,
    }
}

const fn fib_number(result: FibResult) -> u32 {
    match result {
        FibResult::Oif => 1,
        FibResult::OifName => 2,
        FibResult::AddrType => 3,
    }
}
