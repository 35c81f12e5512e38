use onehop_nft::netlink::{flags, messages};

use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// An entry of each family, in zones and with an identity.
fn entries() -> [Entry; 2] {
    let entry = |source, destination, answers_from| Entry {
        flow: Flow {
            source: socket(source),
            destination: socket(destination),
            answers_from: socket(answers_from),
        },
        zone: Some(9),
        original_zone: Some(3),
        id: Some(0x0102_0304),
    };
    [
        entry("10.244.1.1:40000", "10.96.0.10:53", "10.244.2.4:5353"),
        entry("[fd00::1]:40000", "[fd00:96::a]:53", "[fd00::4]:5353"),
    ]
}

/// The message with which the kernel would describe an entry: it names it, and adds the reply.
fn described(entry: &Entry) -> Vec<u8> {
    let mut out = Builder::new();
    out.message(kind::of(SUBSYSTEM, 0), flags::ACK, 7, (2, 0), |out| {
        put_entry(out, entry);
        out.nest(CTA_TUPLE_REPLY, |out| {
            put_tuple(out, entry.flow.answers_from, entry.flow.source);
        });
        out.be32(3, 0);
    });
    out.as_bytes().to_vec()
}

#[test]
fn an_entry_is_read_back_with_its_zones_and_identity() {
    for written in entries() {
        let bytes = described(&written);
        let message = messages(&bytes).next().expect("one").expect("well formed");
        assert_eq!(entry(&message), Ok(Some(written)));
    }
}

#[test]
fn other_protocols_are_no_entries() {
    let [written, _] = entries();
    let bytes = described(&written);
    let udp = bytes
        .windows(5)
        .position(|part| part == [5, 0, 1, 0, 17])
        .expect("a protocol");
    for protocol in [1, 6, 132] {
        let mut changed = bytes.clone();
        changed[udp + 4] = protocol;
        let message = messages(&changed)
            .next()
            .expect("one")
            .expect("well formed");
        assert_eq!(entry(&message), Ok(None), "{protocol}");
    }
}

#[test]
fn whatever_the_kernel_sends_is_read_or_malformed() {
    for written in entries() {
        let whole = described(&written);
        for at in 0..whole.len() {
            for value in [0, 1, 3, 4, 5, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                for message in messages(&changed).flatten() {
                    // No panic, and whatever is read is UDP's.
                    let _ = entry(&message);
                }
            }
        }
    }
}
