use super::*;

/// A packet by etherparse, which shares no code with the parser under test.
fn tcp(v6: bool, set: impl FnOnce(&mut etherparse::TcpHeader)) -> Vec<u8> {
    let builder = if v6 {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        (a[15], b[15]) = (1, 2);
        etherparse::PacketBuilder::ipv6(a, b, 61)
    } else {
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 61)
    };
    let mut header = etherparse::TcpHeader::new(40_000, 80, 7_000, 1_024);
    set(&mut header);
    let builder = builder.tcp_header(header);
    let mut octets = Vec::new();
    builder.write(&mut octets, &[]).expect("written to memory");
    octets
}

fn answer(header: &mut etherparse::TcpHeader) {
    header.ack = true;
    header.acknowledgment_number = 0;
}

#[test]
fn a_call_is_known_by_its_sequence_number_and_an_answer_by_what_it_acknowledges() {
    for v6 in [false, true] {
        let call = parse(&tcp(v6, |h| h.syn = true)).expect("a SYN");
        assert_eq!((call.kind, call.sequence, call.ttl), (Kind::Syn, 7_000, 61));
        assert_eq!((call.source.port(), call.destination.port()), (40_000, 80));

        let accepted = parse(&tcp(v6, |h| {
            answer(h);
            h.syn = true;
        }));
        let accepted = accepted.expect("a SYN-ACK");
        assert_eq!(
            (accepted.kind, accepted.sequence),
            (Kind::SynAck, u32::MAX),
            "the number before 0 wraps around"
        );
        let refused = parse(&tcp(v6, |h| {
            answer(h);
            (h.rst, h.sequence_number) = (true, 0);
        }));
        assert_eq!(refused.expect("a RST").kind, Kind::Rst);
        let ended = parse(&tcp(v6, |h| {
            answer(h);
            h.rst = true;
        }));
        assert_eq!(ended, None, "it ends a connection that was open");
        assert_eq!(parse(&tcp(v6, |h| h.ack = true)), None);
        assert_eq!(parse(&tcp(v6, |h| h.rst = true)), None);
    }
}

#[test]
fn an_icmp_error_reads_like_the_answer_in_whose_place_it_came() {
    let quoted = tcp(false, |h| h.syn = true);
    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 60);
    let builder = builder.icmpv4_raw(3, 3, [0; 4]);
    let mut octets = Vec::new();
    builder
        .write(&mut octets, &quoted)
        .expect("written to memory");
    // The least that a host must quote: the IP header and eight octets.
    for length in [octets.len(), 20 + 8 + 20 + 8] {
        let error = parse(&octets[..length]).expect("an error about a SYN");
        assert_eq!(error.source, "10.0.0.2:80".parse().expect("an address"));
        assert_eq!(
            error.destination,
            "10.0.0.1:40000".parse().expect("an address")
        );
        assert_eq!((error.sequence, error.ttl), (7_000, 60));
        let from = IpAddr::from([10, 0, 0, 9]);
        let (type_, code) = (3, 3);
        assert_eq!(error.kind, Kind::Icmp { type_, code, from });
    }
}

#[test]
fn an_icmp_error_about_an_open_connection_is_nobodys_answer() {
    let quoted = tcp(true, |h| h.ack = true);
    let builder = etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 60);
    let builder = builder.icmpv6_raw(1, 4, [0; 4]);
    let mut octets = Vec::new();
    builder
        .write(&mut octets, &quoted)
        .expect("written to memory");
    assert_eq!(parse(&octets), None);
}

/// A datagram of a probe, from port 40000 to port 80.
fn udp(v6: bool, payload: &[u8]) -> Vec<u8> {
    let builder = if v6 {
        etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 61)
    } else {
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 61)
    };
    let mut octets = Vec::new();
    let written = builder.udp(40_000, 80).write(&mut octets, payload);
    written.expect("written to memory");
    octets
}

fn header(purpose: Purpose) -> [u8; DatagramHeader::LENGTH] {
    let nonce = 7_000;
    DatagramHeader { purpose, nonce }.to_bytes()
}

#[test]
fn datagrams_are_known_by_the_nonce_of_their_payload() {
    for v6 in [false, true] {
        let ask = parse(&udp(v6, &header(Purpose::Ask))).expect("a probe's");
        assert_eq!((ask.kind, ask.sequence), (Kind::Datagram, 7_000));
        assert_eq!((ask.source.port(), ask.destination.port()), (40_000, 80));
        assert_eq!(ask.ttl, 61);
        let said = [&header(Purpose::Answer)[..], b"{}"].concat();
        let answer = parse(&udp(v6, &said)).expect("a probe's");
        assert_eq!((answer.kind, answer.sequence), (Kind::Answer, 7_000));
        assert_eq!(parse(&udp(v6, b"somebody else's")), None);
    }
}

#[test]
fn an_icmp_error_about_a_datagram_is_the_answer_in_whose_place_it_came() {
    for v6 in [false, true] {
        let about = |payload: &[u8]| {
            let mut octets = Vec::new();
            let quoted = udp(v6, payload);
            let written = if v6 {
                let builder = etherparse::PacketBuilder::ipv6([9; 16], [1; 16], 60);
                builder.icmpv6_raw(1, 4, [0; 4]).write(&mut octets, &quoted)
            } else {
                let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 60);
                builder.icmpv4_raw(3, 3, [0; 4]).write(&mut octets, &quoted)
            };
            written.expect("written to memory");
            octets
        };
        let error = parse(&about(&header(Purpose::Ask))).expect("an error about a probe");
        let (type_, code) = if v6 { (1, 4) } else { (3, 3) };
        let is_right =
            |kind| matches!(kind, Kind::Icmp { type_: t, code: c, .. } if (t, c) == (type_, code));
        assert!(is_right(error.kind), "{}", error.kind);
        assert_eq!((error.sequence, error.ttl), (7_000, 60));
        assert_eq!(
            (error.source.port(), error.destination.port()),
            (80, 40_000)
        );
        // What is quoted is no call, or cannot be told from one.
        assert_eq!(parse(&about(&header(Purpose::Answer))), None);
        let whole = about(&header(Purpose::Ask));
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
    }
}

/// The fragment of a datagram that begins at this octet of what is behind the IP header.
fn fragment(v6: bool, payload: &[u8], offset: u16) -> Vec<u8> {
    let whole = udp(v6, payload);
    let units = etherparse::IpFragOffset::try_new(offset / 8).expect("below 2^13");
    let mut octets = Vec::new();
    let behind = if v6 {
        let (ip, behind) = etherparse::Ipv6Header::from_slice(&whole).expect("an IPv6 header");
        let fragment = etherparse::Ipv6FragmentHeader::new(ip.next_header, units, offset == 0, 77);
        let ip = etherparse::Ipv6Header {
            next_header: etherparse::IpNumber::IPV6_FRAGMENTATION_HEADER,
            ..ip
        };
        ip.write(&mut octets).expect("written to memory");
        fragment.write(&mut octets).expect("written to memory");
        behind
    } else {
        let (mut ip, behind) = etherparse::Ipv4Header::from_slice(&whole).expect("an IPv4 header");
        (ip.fragment_offset, ip.more_fragments, ip.dont_fragment) = (units, offset == 0, false);
        ip.write(&mut octets).expect("written to memory");
        behind
    };
    octets.extend(&behind[usize::from(offset)..]);
    octets
}

#[test]
fn a_datagram_in_fragments_is_known_by_the_first_and_by_no_other() {
    for v6 in [false, true] {
        // Were it not the first, the second would read like another question.
        let payload = [
            &header(Purpose::Ask)[..],
            &[0; 4],
            &header(Purpose::Ask)[..],
        ]
        .concat();
        let first = parse(&fragment(v6, &payload, 0)).expect("a probe's");
        assert_eq!((first.kind, first.sequence), (Kind::Datagram, 7_000));
        assert_eq!(
            (first.source.port(), first.destination.port()),
            (40_000, 80)
        );
        assert_eq!(first.ttl, 61);
        let second = fragment(v6, &payload, 16);
        assert_eq!(parse(&second), None);
        assert!(
            second.ends_with(&payload[8..]),
            "it has a magic where a first one has it"
        );
    }
}

#[test]
fn a_packet_cut_anywhere_is_read_or_passed_over() {
    for whole in [
        tcp(true, |h| h.syn = true),
        udp(true, &header(Purpose::Ask)),
        fragment(true, &header(Purpose::Ask), 0),
    ] {
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
    }
}
