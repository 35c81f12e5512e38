//! Reading expressions. One that this crate would not write is kept as it is.

use std::sync::Arc;
use std::time::Duration;

use super::{data, value};
use crate::encode::attribute as a;
use crate::netlink::{Attribute, Attributes, Malformed, attributes};
use crate::object::{
    ByteorderOp, CmpOp, CtKey, Data, Direction, DynsetOp, Expression, Family, FibResult, LookupTo,
    MetaKey, NatKind, NumgenKind, PayloadBase, Register, Reject, Value,
};

/// Reads an expression: its name and its attributes.
pub(super) fn read(all: Attributes<'_>) -> Result<Expression, Malformed> {
    let (mut name, mut bytes) = ("", &[][..]);
    for each in all {
        let each = each?;
        match each.kind {
            a::EXPRESSION_NAME => name = each.text()?,
            a::EXPRESSION_DATA => bytes = each.value,
            _ => {}
        }
    }
    let fields = Fields::of(attributes(bytes))?;
    let known = match name {
        "meta" => meta(&fields)?,
        "payload" => payload(&fields)?,
        "cmp" => cmp(&fields)?,
        "range" => range(&fields)?,
        "bitwise" => bitwise(&fields)?,
        "byteorder" => byteorder(&fields)?,
        "immediate" => immediate(&fields)?,
        "lookup" => lookup(&fields)?,
        "dynset" => dynset(&fields)?,
        "numgen" => numgen(&fields)?,
        "nat" => nat(&fields)?,
        "masq" => masquerade(&fields)?,
        "ct" => ct(&fields)?,
        "fib" => fib(&fields)?,
        "reject" => reject(&fields)?,
        "counter" => counter(&fields)?,
        _ => None,
    };
    Ok(known.unwrap_or_else(|| Expression::Other {
        name: name.to_owned(),
        data: bytes.to_owned(),
    }))
}

/// The attributes of an expression, by their numbers; the highest that any has is below 16.
struct Fields<'a>([Option<Attribute<'a>>; 16]);

/// What reading gives: nothing for an expression that this crate would not write.
type Known = Result<Option<Expression>, Malformed>;

/// Takes the value out of an option, or ends with "not known".
macro_rules! known {
    ($option:expr) => {
        match $option {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl<'a> Fields<'a> {
    fn of(all: Attributes<'a>) -> Result<Self, Malformed> {
        let mut fields = [None; 16];
        for each in all {
            let each = each?;
            if let Some(field) = fields.get_mut(usize::from(each.kind)) {
                *field = Some(each);
            }
        }
        Ok(Self(fields))
    }

    fn get(&self, number: usize) -> Option<Attribute<'a>> {
        self.0[number]
    }

    fn has(&self, number: usize) -> bool {
        self.get(number).is_some()
    }

    fn be32(&self, number: usize) -> Result<Option<u32>, Malformed> {
        self.get(number).map(|each| each.be32()).transpose()
    }

    fn be64(&self, number: usize) -> Result<Option<u64>, Malformed> {
        self.get(number).map(|each| each.be64()).transpose()
    }

    fn value(&self, number: usize) -> Result<Option<Value>, Malformed> {
        self.get(number)
            .map(|each| value(each.nested()))
            .transpose()
    }

    fn text(&self, number: usize) -> Result<Option<Arc<str>>, Malformed> {
        let text = self.get(number).map(|each| each.text()).transpose()?;
        Ok(text.map(Arc::from))
    }

    fn register(&self, number: usize) -> Result<Option<Register>, Malformed> {
        Ok(self.be32(number)?.and_then(register))
    }
}

/// The kernel numbers registers by 16 bytes where it can (1 to 4), and else by 4 (8 to 23).
fn register(number: u32) -> Option<Register> {
    let word = match number {
        1..=4 => (number - 1) * 4,
        8.. => number - 8,
        _ => return None,
    };
    Register::new(u8::try_from(word).ok()?)
}

fn meta(fields: &Fields<'_>) -> Known {
    let number = known!(fields.be32(2)?);
    let key = MetaKey::ALL.into_iter().find(|key| key.number() == number);
    let key = known!(key);
    if let Some(to) = fields.register(1)? {
        return Ok(Some(Expression::Meta { key, to }));
    }
    let from = known!(fields.register(3)?);
    Ok(Some(Expression::MetaSet { key, from }))
}

fn payload(fields: &Fields<'_>) -> Known {
    let base = match known!(fields.be32(2)?) {
        0 => PayloadBase::Link,
        1 => PayloadBase::Network,
        2 => PayloadBase::Transport,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Payload {
        base,
        offset: known!(fields.be32(3)?),
        length: known!(fields.be32(4)?),
        to: known!(fields.register(1)?),
    }))
}

fn cmp(fields: &Fields<'_>) -> Known {
    let op = match known!(fields.be32(2)?) {
        0 => CmpOp::Eq,
        1 => CmpOp::Ne,
        2 => CmpOp::Lt,
        3 => CmpOp::Lte,
        4 => CmpOp::Gt,
        5 => CmpOp::Gte,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Cmp {
        from: known!(fields.register(1)?),
        op,
        value: known!(fields.value(3)?),
    }))
}

fn range(fields: &Fields<'_>) -> Known {
    let outside = match known!(fields.be32(2)?) {
        0 => false,
        1 => true,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Range {
        from: known!(fields.register(1)?),
        outside,
        first: known!(fields.value(3)?),
        last: known!(fields.value(4)?),
    }))
}

fn bitwise(fields: &Fields<'_>) -> Known {
    if fields.be32(6)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    Ok(Some(Expression::Bitwise {
        from: known!(fields.register(1)?),
        to: known!(fields.register(2)?),
        mask: known!(fields.value(4)?),
        xor: known!(fields.value(5)?),
    }))
}

fn byteorder(fields: &Fields<'_>) -> Known {
    let op = match known!(fields.be32(3)?) {
        0 => ByteorderOp::NetworkToHost,
        1 => ByteorderOp::HostToNetwork,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Byteorder {
        from: known!(fields.register(1)?),
        to: known!(fields.register(2)?),
        op,
        length: known!(fields.be32(4)?),
        size: known!(fields.be32(5)?),
    }))
}

fn immediate(fields: &Fields<'_>) -> Known {
    match data(known!(fields.get(2)).nested())? {
        Data::Verdict(verdict) => Ok(Some(Expression::Verdict(verdict))),
        Data::Value(value) => Ok(Some(Expression::Immediate {
            value,
            to: known!(fields.register(1)?),
        })),
    }
}

fn lookup(fields: &Fields<'_>) -> Known {
    let to = match (fields.be32(3)?, fields.be32(5)?.unwrap_or(0)) {
        (None, 0) => LookupTo::Match,
        (None, 1) => LookupTo::NoMatch,
        (Some(0), 0) => LookupTo::Verdict,
        (Some(number), 0) => LookupTo::Register(known!(register(number))),
        _ => return Ok(None),
    };
    Ok(Some(Expression::Lookup {
        set: known!(fields.text(1)?),
        from: known!(fields.register(2)?),
        to,
    }))
}

fn dynset(fields: &Fields<'_>) -> Known {
    let op = match known!(fields.be32(3)?) {
        0 => DynsetOp::Add,
        1 => DynsetOp::Update,
        2 => DynsetOp::Delete,
        _ => return Ok(None),
    };
    let has_expressions = fields.has(7) || fields.has(10);
    if has_expressions || fields.be32(9)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    Ok(Some(Expression::Dynset {
        set: known!(fields.text(1)?),
        op,
        key: known!(fields.register(4)?),
        data: fields.register(5)?,
        // The kernel says 0 where the set's own timeout counts.
        timeout: fields
            .be64(6)?
            .filter(|time| *time != 0)
            .map(Duration::from_millis),
    }))
}

fn numgen(fields: &Fields<'_>) -> Known {
    let kind = match known!(fields.be32(3)?) {
        0 => NumgenKind::Incremental,
        1 => NumgenKind::Random,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Numgen {
        kind,
        modulus: known!(fields.be32(2)?),
        offset: fields.be32(4)?.unwrap_or(0),
        to: known!(fields.register(1)?),
    }))
}

fn nat(fields: &Fields<'_>) -> Known {
    // That there is an address and a port; the kernel sets these bits by itself.
    const IMPLIED: u32 = 1 | 1 << 1;
    let kind = match known!(fields.be32(1)?) {
        0 => NatKind::Snat,
        1 => NatKind::Dnat,
        _ => return Ok(None),
    };
    let family = u8::try_from(known!(fields.be32(2)?)).ok();
    let (address, port) = (fields.register(3)?, fields.register(5)?);
    // The kernel gives the last of each range as well; this crate has ranges of one alone.
    let is_range = fields
        .register(4)?
        .is_some_and(|last| Some(last) != address)
        || fields.register(6)?.is_some_and(|last| Some(last) != port);
    if is_range {
        return Ok(None);
    }
    Ok(Some(Expression::Nat {
        kind,
        family: known!(family.and_then(Family::of)),
        address,
        port,
        flags: fields.be32(7)?.unwrap_or(0) & !IMPLIED,
    }))
}

fn masquerade(fields: &Fields<'_>) -> Known {
    if fields.has(2) || fields.has(3) {
        return Ok(None);
    }
    Ok(Some(Expression::Masquerade {
        flags: fields.be32(1)?.unwrap_or(0),
    }))
}

fn ct(fields: &Fields<'_>) -> Known {
    let number = known!(fields.be32(2)?);
    let key = CtKey::ALL.into_iter().find(|key| key.number() == number);
    let key = known!(key);
    if let Some(from) = fields.register(4)? {
        return Ok(Some(Expression::CtSet { key, from }));
    }
    let direction = match fields.get(3).map(|each| each.u8()).transpose()? {
        None => None,
        Some(0) => Some(Direction::Original),
        Some(1) => Some(Direction::Reply),
        Some(_) => return Ok(None),
    };
    Ok(Some(Expression::Ct {
        key,
        direction,
        to: known!(fields.register(1)?),
    }))
}

fn fib(fields: &Fields<'_>) -> Known {
    let result = match known!(fields.be32(2)?) {
        1 => FibResult::Oif,
        2 => FibResult::OifName,
        3 => FibResult::AddrType,
        _ => return Ok(None),
    };
    Ok(Some(Expression::Fib {
        flags: known!(fields.be32(3)?),
        result,
        to: known!(fields.register(1)?),
    }))
}

fn reject(fields: &Fields<'_>) -> Known {
    let code = fields.get(2).map(|each| each.u8()).transpose()?;
    let how = match known!(fields.be32(1)?) {
        0 => Reject::Icmp(known!(code)),
        1 => Reject::TcpReset,
        2 => Reject::Icmpx(known!(code)),
        _ => return Ok(None),
    };
    Ok(Some(Expression::Reject(how)))
}

fn counter(fields: &Fields<'_>) -> Known {
    Ok(Some(Expression::Counter {
        bytes: fields.be64(1)?.unwrap_or(0),
        packets: fields.be64(2)?.unwrap_or(0),
    }))
}
