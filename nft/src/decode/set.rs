//! Reading sets.

use std::time::Duration;

use super::{Existing, comment};
use crate::encode::attribute as a;
use crate::netlink::{Attributes, Malformed};
use crate::object::{Family, MapData, Set, Type};

pub(super) fn set(family: Option<Family>, all: Attributes<'_>) -> Result<Existing<Set>, Malformed> {
    let mut set = Set::new("", &[]);
    let (mut table, mut handle, mut flags) = (String::new(), 0, 0);
    let (mut key, mut data) = ((0, 0), (0, 0));
    for each in all {
        let each = each?;
        match each.kind {
            a::SET_TABLE => each.text()?.clone_into(&mut table),
            a::SET_NAME => each.text()?.clone_into(&mut set.name),
            a::SET_HANDLE => handle = each.be64()?,
            a::SET_FLAGS => flags = each.be32()?,
            a::SET_KEY_TYPE => key.0 = each.be32()?,
            a::SET_KEY_LENGTH => key.1 = each.be32()?,
            a::SET_DATA_TYPE => data.0 = each.be32()?,
            a::SET_DATA_LENGTH => data.1 = each.be32()?,
            a::SET_DESCRIPTION => set.size = size(each.nested())?,
            a::SET_TIMEOUT => set.timeout = Some(Duration::from_millis(each.be64()?)),
            a::SET_USERDATA => set.comment = comment(each.value, a::SET_COMMENT),
            _ => {}
        }
    }
    set.key = types(key);
    set.interval = flags & a::SET_INTERVAL != 0;
    set.dynamic = flags & a::SET_DYNAMIC != 0;
    set.expiring = flags & a::SET_EXPIRING != 0;
    if flags & a::SET_MAP != 0 {
        set.data = Some(if data.0 == a::DATA_TYPE_VERDICT {
            MapData::Verdict
        } else {
            MapData::Value(types(data))
        });
    }
    Ok(Existing {
        family,
        table,
        handle,
        object: set,
    })
}

/// The types in nft's number of them: 6 bits each. Whoever made the set may have put anything there.
fn types((number, length): (u32, u32)) -> Vec<Type> {
    let fields = (0..5).rev().map(|field| number >> (6 * field) & 0x3f);
    let fields: Vec<_> = fields.skip_while(|id| *id == 0).collect();
    let known = |id: u32| Type::ALL.into_iter().find(|known| known.id() == id);
    let other = |id| Type::Other {
        id,
        length: if fields.len() == 1 { length } else { 0 },
    };
    let fields = fields.iter().map(|id| known(*id).unwrap_or(other(*id)));
    fields.collect()
}

fn size(all: Attributes<'_>) -> Result<Option<u32>, Malformed> {
    for each in all {
        let each = each?;
        if each.kind == a::DESCRIPTION_SIZE {
            return each.be32().map(Some);
        }
    }
    Ok(None)
}
