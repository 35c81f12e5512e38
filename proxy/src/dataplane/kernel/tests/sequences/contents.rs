//! What the kernel has, in the words of plans.

use std::collections::BTreeMap;

use onehop_nft::{Data, Element, Value, Verdict};

use super::super::*;
use crate::dataplane::layout;

/// What a front does: its chain, its refusal, its endpoints and its sources.
pub(in super::super) type Doing = (String, String, Vec<String>, Vec<String>);

/// What the kernel has, without the numbers of classes, Service ports and endpoints.
pub(in super::super) fn contents(dataplane: &mut Dataplane) -> BTreeMap<String, Doing> {
    let mut contents = BTreeMap::new();
    for family in Family::ALL {
        let mut maps = BTreeMap::new();
        for set in layout::sets(family) {
            // Affinity is the clients', and apart: see `remembered`.
            if set.name != layout::AFFINITY {
                let elements = dataplane.netfilter.elements(&table(family), &set.name);
                maps.insert(set.name, elements.expect("every table has every set"));
            }
        }
        for name in [
            layout::CLUSTER_IPS,
            layout::HAIRPINS,
            layout::NODE_PORT_ADDRESSES,
        ] {
            for element in &maps[name] {
                contents.insert(format!("{name} {:?}", element.key), Doing::default());
            }
        }
        let ids = by_key(&maps[layout::SERVICE_IDS]);
        let checked = by_key(&maps[layout::SOURCE_CHECKED]);
        for front in &maps[layout::SERVICES] {
            let class = value(front);
            let id = ids[front.key.as_slice()];
            let chain = verdict(&maps[layout::CLASSES], class);
            let endpoints = endpoints_of(&maps, id, chain.contains("sticky"));
            let sources = checked.get(front.key.as_slice()).map(|checked| {
                assert_eq!(*checked, id);
                let ranges = &maps[layout::SOURCE_RANGES];
                let ranges = ranges
                    .iter()
                    .filter(|range| range.key.as_slice()[..4] == *id);
                let range = |range: &Element| {
                    let last = range.key_end.unwrap_or(range.key);
                    format!("{:?}", (&range.key.as_slice()[4..], &last.as_slice()[4..]))
                };
                let mut ranges: Vec<_> = ranges.map(range).collect();
                ranges.sort();
                ranges
            });
            let doing = (
                chain,
                verdict(&maps[layout::REFUSALS], class),
                endpoints,
                sources.unwrap_or_default(),
            );
            contents.insert(format!("{family:?} {:?}", front.key), doing);
        }
    }
    contents
}

fn by_key(elements: &[Element]) -> BTreeMap<&[u8], &[u8]> {
    let elements = elements.iter();
    elements
        .map(|element| (element.key.as_slice(), value(element)))
        .collect()
}

fn value(element: &Element) -> &[u8] {
    match &element.data {
        Some(Data::Value(value)) => value.as_slice(),
        other => panic!("no value but {other:?}"),
    }
}

fn verdict(map: &[Element], class: &[u8]) -> String {
    let element = map.iter().find(|element| element.key.as_slice() == class);
    match element.and_then(|element| element.data.as_ref()) {
        Some(Data::Verdict(Verdict::Goto(chain))) => chain.to_string(),
        Some(Data::Verdict(verdict)) => format!("{verdict:?}"),
        _ => String::new(),
    }
}

/// The endpoints of a Service port, by list. Under affinity, each slot has to have one.
fn endpoints_of(maps: &BTreeMap<String, Vec<Element>>, id: &[u8], sticky: bool) -> Vec<String> {
    let all = by_key(&maps[layout::ENDPOINTS]);
    let of_id = |map: &str| {
        let elements = maps[map].iter();
        let elements = elements.filter(|element| element.key.as_slice()[..4] == *id);
        elements.cloned().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if sticky {
        for slot in of_id(layout::SLOTS) {
            let list = list(&slot.key.as_slice()[4..]);
            let mut key = id.to_vec();
            key.extend(value(&slot));
            key[7] |= list;
            found.push(format!("{list} {:?}", all[&key[..]]));
        }
    } else {
        for endpoint in of_id(layout::ENDPOINTS) {
            let list = list(&endpoint.key.as_slice()[4..]);
            found.push(format!("{list} {:?}", value(&endpoint)));
        }
    }
    found.sort();
    found
}

/// What clients' affinity is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// By number of the Service port and client: the slot. The rules alone write these.
    pub(super) raw: BTreeMap<Value, Value>,
    /// By front: each client, and the endpoint of list Cluster that it stays with.
    pub(super) by_front: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// Each client that is remembered.
pub(super) fn remembered(dataplane: &mut Dataplane) -> Remembered {
    let mut remembered = Remembered {
        raw: BTreeMap::new(),
        by_front: BTreeMap::new(),
    };
    for family in Family::ALL {
        let clients = dataplane
            .netfilter
            .changing_elements(&table(family), layout::AFFINITY);
        let clients = clients.expect("every table has every set");
        for client in &clients {
            let slot = Value::raw(value(client)).expect("a slot");
            remembered.raw.insert(client.key, slot);
        }
        let mut read = |set: &str| {
            let elements = dataplane.netfilter.elements(&table(family), set);
            elements.expect("every table has every set")
        };
        let (ids, endpoints) = (read(layout::SERVICE_IDS), read(layout::ENDPOINTS));
        let endpoints = by_key(&endpoints);
        for front in &ids {
            let own = clients
                .iter()
                .filter(|client| starts_with(client, value(front)));
            let places = own.filter_map(|client| {
                let mut key = value(front).to_vec();
                key.extend(value(client));
                let endpoint = endpoints.get(&key[..])?;
                Some((client.key.as_slice()[4..].to_vec(), endpoint.to_vec()))
            });
            let front = format!("{family:?} {:?}", front.key);
            remembered.by_front.insert(front, places.collect());
        }
    }
    remembered
}

/// The fronts, as [`Remembered`] has them, of Service ports that have their own cluster address. By that a process
/// knows which number its predecessor gave. Every real Service has one; another's may have been taken from it.
pub(super) fn numbered(dataplane: &mut Dataplane) -> Vec<String> {
    let mut numbered = Vec::new();
    for family in Family::ALL {
        let fronts = dataplane
            .netfilter
            .elements(&table(family), layout::SERVICE_IDS);
        let state = &dataplane.state;
        for front in fronts.expect("every table has every set") {
            let id = u32::from_ne_bytes(value(&front).try_into().expect("a number"));
            if state.has_its_cluster_ip(id) {
                numbered.push(format!("{family:?} {:?}", front.key));
            }
        }
    }
    numbered
}

/// The bit that tells the list in the last byte of a number.
fn list(number: &[u8]) -> u8 {
    number[3] & 0x80
}

fn starts_with(element: &Element, id: &[u8]) -> bool {
    element.key.as_slice()[..4] == *id
}

/// Has every Service port with affinity remember one more client, which went to an endpoint of list Cluster.
pub(super) fn remember(dataplane: &mut Dataplane, client: u8) {
    let mut batch = Batch::new();
    for family in Family::ALL {
        let slots = dataplane
            .netfilter
            .elements(&table(family), layout::SLOTS)
            .expect("every table has every set");
        let cluster = slots
            .iter()
            .filter(|slot| list(&slot.key.as_slice()[4..]) == 0);
        let address: IpAddr = match family {
            Family::V4 => [192, 0, 2, client].into(),
            Family::V6 => [0xfd00, 0, 0, 1, 0, 0, 0, client.into()].into(),
        };
        // Of several endpoints of a Service port the last, as the others are the same element.
        let clients: BTreeMap<_, _> = cluster
            .map(|slot| {
                let key = Value::new().field(&slot.key.as_slice()[..4]).ip(address);
                (key, slot.data.clone())
            })
            .collect();
        let clients: Vec<_> = clients
            .into_iter()
            .map(|(key, data)| Element {
                data,
                timeout: Some(Duration::from_secs(3600)),
                ..Element::new(key)
            })
            .collect();
        batch.add_elements(&table(family), layout::AFFINITY, &clients);
    }
    let mut netfilter = Netfilter::open().expect("nftables");
    netfilter.commit(&mut batch).expect("the kernel takes it");
}
