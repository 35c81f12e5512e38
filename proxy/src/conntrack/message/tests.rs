use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// The attributes of a tuple, as the kernel sends them.
fn put_tuple(out: &mut Vec<u8>, kind: u16, source: &str, destination: &str, protocol: u8) {
    let (source, destination) = (socket(source), socket(destination));
    let put_address = |out: &mut Vec<u8>, address: IpAddr, v4, v6| match address {
        IpAddr::V4(address) => attribute(out, v4, |out| out.extend(address.octets())),
        IpAddr::V6(address) => attribute(out, v6, |out| out.extend(address.octets())),
    };
    attribute(out, kind | NLA_F_NESTED, |out| {
        attribute(out, CTA_TUPLE_IP | NLA_F_NESTED, |out| {
            put_address(out, source.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC);
            put_address(out, destination.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST);
        });
        attribute(out, CTA_TUPLE_PROTO | NLA_F_NESTED, |out| {
            attribute(out, CTA_PROTO_NUM, |out| out.push(protocol));
            attribute(out, CTA_PROTO_SRC_PORT, |out| {
                out.extend(source.port().to_be_bytes())
            });
            attribute(out, CTA_PROTO_DST_PORT, |out| {
                out.extend(destination.port().to_be_bytes());
            });
        });
    });
}

/// A whole message with an entry.
fn sent(original: [&str; 2], reply: [&str; 2], protocol: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let family = Family::of(socket(original[0]).ip());
    message(&mut out, 0, 2, family, 7, |out| {
        put_tuple(out, CTA_TUPLE_ORIG, original[0], original[1], protocol);
        put_tuple(out, CTA_TUPLE_REPLY, reply[0], reply[1], protocol);
        attribute(out, CTA_ZONE, |out| out.extend(9_u16.to_be_bytes()));
        attribute(out, 3, |out| out.extend([0; 4]));
        attribute(out, CTA_ID, |out| out.extend([1, 2, 3, 4]));
    });
    out
}

fn only(datagram: &[u8]) -> &[u8] {
    let mut all = messages(datagram);
    let Some(Message {
        answer: Answer::Entry(body),
        sequence: 7,
        ..
    }) = all.next()
    else {
        panic!("an entry expected");
    };
    assert_eq!(all.next(), None);
    body
}

#[test]
fn an_entry_is_read_and_its_deletion_names_tuple_zone_and_identity() {
    for (original, reply) in [
        (
            ["10.244.1.1:40000", "10.96.0.10:53"],
            ["10.244.2.4:5353", "172.18.0.11:40000"],
        ),
        (
            ["[fd00::1]:40000", "[fd00:96::a]:53"],
            ["[fd00::4]:5353", "[fd00::1]:40000"],
        ),
    ] {
        let datagram = sent(original, reply, 17);
        let read = entry(only(&datagram)).expect("a UDP flow");
        assert_eq!(
            read.flow,
            Flow {
                source: socket(original[0]),
                destination: socket(original[1]),
                answers_from: socket(reply[0]),
            }
        );
        let mut request = Vec::new();
        delete_request(&mut request, &read, 7);
        let body = only(&request);
        let kinds: Vec<_> = all(&body[FAMILY_HEADER..])
            .map(|(kind, _)| kind & NLA_TYPE)
            .collect();
        assert_eq!(kinds, [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID]);
        let (source, destination) =
            tuple(find(&body[FAMILY_HEADER..], CTA_TUPLE_ORIG).expect("it is there")).expect("udp");
        assert_eq!([source, destination], original.map(socket));
    }
}

#[test]
fn other_protocols_are_no_entries() {
    let (original, reply) = (["10.0.0.1:1", "10.0.0.2:2"], ["10.0.0.2:2", "10.0.0.1:1"]);
    for protocol in [1, 6, 132] {
        assert_eq!(
            entry(only(&sent(original, reply, protocol))),
            None,
            "{protocol}"
        );
    }
}

#[test]
fn whatever_the_kernel_sends_is_read_or_passed_over() {
    let (original, reply) = (["10.0.0.1:1", "10.0.0.2:2"], ["10.0.0.2:2", "10.0.0.1:1"]);
    let whole = sent(original, reply, 17);
    for length in 0..whole.len() {
        for message in messages(&whole[..length]) {
            panic!("{message:?} of {length} bytes");
        }
    }
    // Every byte changed, to every kind of value: read or not, never a panic.
    for at in 0..whole.len() {
        for value in [0, 1, 3, 4, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            for message in messages(&changed) {
                if let Answer::Entry(body) = message.answer {
                    entry(body);
                }
            }
        }
    }
}

#[test]
fn the_end_of_a_dump_and_errors_are_told_from_entries() {
    let done = |kind: u16, error: i32| {
        let mut out = Vec::new();
        out.extend(20_u32.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(NLM_F_DUMP_INTR.to_ne_bytes());
        out.extend([0; 8]);
        out.extend((-error).to_ne_bytes());
        out
    };
    for (kind, error) in [(NLMSG_DONE, 0), (NLMSG_ERROR, 2)] {
        let datagram = done(kind, error);
        let message = messages(&datagram).next().expect("a message");
        assert_eq!(message.answer, Answer::Done(error));
        assert!(message.interrupted);
    }
}
