//! One ruleset with everything in it, for each family: as text and as data.

use std::time::Duration;

use onehop_nft::*;

/// The ruleset of a family.
pub(crate) struct Ruleset {
    pub(crate) table: Table,
    pub(crate) chains: Vec<Chain>,
    pub(crate) sets: Vec<(Set, Vec<Element>)>,
    pub(crate) rules: Vec<(&'static str, Rule)>,
    /// The same, as `nft` lists it.
    pub(crate) text: String,
}

impl Ruleset {
    /// Without what `nft` 1.0.6 lists and does not take back: for keys of what `numgen` gives it has
    /// no type with a name, and it aborts on an update of a map with long IPv6 keys.
    pub(crate) fn without_what_nft_refuses(mut self) -> Self {
        self.sets.retain(|(set, _)| set.name != "endpoints");
        let aborts = self.table.family == Family::Ip6;
        self.rules
            .retain(|(chain, _)| *chain != "serve-2" && !(aborts && *chain == "remember"));
        self
    }

    /// All of it in one transaction.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        batch.add_table(&self.table);
        for chain in &self.chains {
            batch.add_chain(&self.table, chain);
        }
        for (set, _) in &self.sets {
            batch.add_set(&self.table, set);
        }
        for (chain, rule) in &self.rules {
            batch.add_rule(&self.table, chain, rule);
        }
        for (set, elements) in &self.sets {
            batch.add_elements(&self.table, &set.name, elements);
        }
        batch
    }
}

/// What differs between the families.
pub(crate) struct Words {
    family: Family,
    /// `ip` or `ip6`.
    ip: &'static str,
    address: Type,
    /// The address's length.
    length: u32,
    port_unreachable: u8,
    one: &'static str,
    two: &'static str,
    pod: &'static str,
    /// A network, its first and last address.
    network: (&'static str, &'static str, &'static str),
}

/// The words of IPv4.
pub(crate) const V4: Words = Words {
    family: Family::Ip,
    ip: "ip",
    address: Type::Ipv4Addr,
    length: 4,
    port_unreachable: reject_code::ICMP_PORT_UNREACHABLE,
    one: "10.96.0.1",
    two: "10.96.0.2",
    pod: "10.244.1.7",
    network: ("192.0.2.0/24", "192.0.2.0", "192.0.2.255"),
};

/// The words of IPv6.
pub(crate) const V6: Words = Words {
    family: Family::Ip6,
    ip: "ip6",
    address: Type::Ipv6Addr,
    length: 16,
    port_unreachable: reject_code::ICMPV6_PORT_UNREACHABLE,
    one: "fd00:10:96::1",
    two: "fd00:10:96::2",
    pod: "fd00:10:244::7",
    network: (
        "2001:db8::/64",
        "2001:db8::",
        "2001:db8::ffff:ffff:ffff:ffff",
    ),
};

impl Words {
    /// A listing less what [`Ruleset::without_what_nft_refuses`] leaves out.
    pub(crate) fn without_what_nft_refuses(&self, text: &str) -> String {
        let aborts = self.family == Family::Ip6;
        let map = text.find("\tmap endpoints").expect("the map");
        let end = map + text[map..].find("}\n\n").expect("its end") + 3;
        let text = format!("{}{}", &text[..map], &text[end..]);
        let gone = |line: &str| {
            line.contains("@endpoints") || (aborts && line.contains("update @affinity"))
        };
        let lines = text.lines().filter(|line| !gone(line));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

pub(crate) fn ip(text: &str) -> Value {
    Value::new().ip(text.parse::<std::net::IpAddr>().expect("an address"))
}

pub(crate) fn ruleset(words: &Words) -> Ruleset {
    Ruleset {
        table: Table::new(words.family, "example").comment("made by a test"),
        chains: chains(),
        sets: sets(words),
        rules: rules(words),
        text: text(words),
    }
}

fn chains() -> Vec<Chain> {
    vec![
        Chain::regular("refuse").comment("tells the client"),
        Chain::regular("serve-2"),
        Chain::regular("remember"),
        Chain::base(
            "prerouting",
            ChainKind::Nat,
            Hook::Prerouting,
            priority::DSTNAT,
        ),
        Chain::base("input", ChainKind::Filter, Hook::Input, priority::FILTER),
        Chain::base("forward", ChainKind::Filter, Hook::Forward, -10).policy(Policy::Drop),
        Chain::base("output", ChainKind::Route, Hook::Output, priority::MANGLE),
        Chain::base(
            "postrouting",
            ChainKind::Nat,
            Hook::Postrouting,
            priority::SRCNAT,
        ),
    ]
}

fn sets(words: &Words) -> Vec<(Set, Vec<Element>)> {
    let service = [words.address, Type::InetProto, Type::InetService];
    let key = |address: &str, port: u16| ip(address).proto(6).port(port);
    let (_, first, last) = words.network;
    vec![
        (
            Set::verdict_map("services", &service).comment("by address"),
            vec![
                Element::verdict(key(words.one, 80), Verdict::goto("serve-2"))
                    .comment("default/web"),
                Element::verdict(key(words.two, 443), Verdict::jump("refuse")),
                Element::verdict(ip(words.two).proto(17).port(53), Verdict::Drop),
            ],
        ),
        (
            Set::map(
                "endpoints",
                &[words.address, Type::InetService, Type::Mark],
                &[words.address, Type::InetService],
            )
            .size(4096),
            vec![
                Element::value(ip(words.one).port(80).number(0), ip(words.pod).port(8080)),
                Element::value(ip(words.one).port(80).number(1), ip(words.two).port(8081)),
            ],
        ),
        (
            Set::map("marks", &[words.address], &[Type::Mark]),
            vec![Element::value(ip(words.one), Value::new().number(0x4000))],
        ),
        (
            Set::new("ports", &[Type::InetService]),
            vec![Element::new(Value::new().port(22))],
        ),
        (
            Set::new("bridges", &[Type::IfName]),
            vec![Element::new(Value::new().interface("cni0"))],
        ),
        (
            Set::new("networks", &[words.address]).interval(),
            Element::new(ip(first)).interval_to(ip(last)),
        ),
        (
            Set::new(
                "allowed",
                &[words.address, Type::InetService, words.address],
            )
            .interval(),
            vec![
                Element::new(ip(words.one).port(80).field(ip(first).as_slice()))
                    .to(ip(words.one).port(90).field(ip(last).as_slice())),
            ],
        ),
        (
            Set::map("affinity", &service, &[words.address, Type::InetService])
                .dynamic()
                .timeout(Duration::from_secs(10800))
                .size(65536),
            vec![],
        ),
    ]
}

fn rules(words: &Words) -> Vec<(&'static str, Rule)> {
    let (saddr, daddr) = (saddr(words.family), daddr(words.family));
    let number = |number: u32| Value::new().number(number);
    let (tcp, udp) = (Value::new().proto(6), Value::new().proto(17));
    let service = || [daddr.clone(), L4PROTO, TH_DPORT];
    vec![
        (
            "refuse",
            Rule::new().eq(L4PROTO, tcp).reject(Reject::TcpReset),
        ),
        (
            "refuse",
            Rule::new().reject(Reject::Icmp(words.port_unreachable)),
        ),
        (
            "serve-2",
            Rule::new().eq(L4PROTO, tcp).dnat(
                words.family,
                map(
                    [daddr.clone(), TH_DPORT, random(2)],
                    "endpoints",
                    words.length + 4,
                ),
            ),
        ),
        (
            "remember",
            Rule::new().update_element(
                "affinity",
                [saddr.clone(), L4PROTO, TH_DPORT],
                [daddr.clone(), TH_DPORT],
                Some(Duration::from_secs(60)),
            ),
        ),
        (
            "prerouting",
            Rule::new()
                .any(CT_STATE, ct_state::NEW)
                .vmap(service(), "services")
                .comment("every service"),
        ),
        (
            "prerouting",
            Rule::new()
                .eq(FIB_DADDR_TYPE, number(2))
                .in_set(TH_DPORT, "ports")
                .goto("serve-2"),
        ),
        (
            "prerouting",
            Rule::new().not_in_set(IIFNAME, "bridges").jump("remember"),
        ),
        (
            "input",
            Rule::new()
                .any(CT_STATE, ct_state::ESTABLISHED | ct_state::RELATED)
                .counter()
                .accept(),
        ),
        (
            "input",
            Rule::new()
                .eq(IIFNAME, Value::new().interface("lo"))
                .accept(),
        ),
        (
            "input",
            Rule::new()
                .eq(IIFNAME, Value::interface_prefix("veth"))
                .ret(),
        ),
        (
            "input",
            Rule::new()
                .eq(L4PROTO, tcp)
                .between(TH_DPORT, Value::new().port(30000), Value::new().port(32767))
                .drop(),
        ),
        (
            "forward",
            Rule::new().any(CT_STATE, ct_state::INVALID).drop(),
        ),
        (
            "forward",
            Rule::new().in_set(saddr.clone(), "networks").accept(),
        ),
        (
            "forward",
            Rule::new()
                .in_set([daddr.clone(), TH_DPORT, saddr.clone()], "allowed")
                .accept(),
        ),
        (
            "forward",
            Rule::new()
                .eq(L4PROTO, udp)
                .ne(TH_SPORT, Value::new().port(53))
                .ret(),
        ),
        ("output", Rule::new().set_mark(MARK.or(0x4000))),
        (
            "output",
            Rule::new().set_mark(map(daddr.clone(), "marks", 4)),
        ),
        ("output", Rule::new().set_ct_mark(MARK)),
        (
            "output",
            Rule::new()
                .eq(CT_DIRECTION, Value::new().byte(0))
                .set_mark(CT_MARK),
        ),
        (
            "postrouting",
            Rule::new().eq(MARK.and(0x4000), number(0)).ret(),
        ),
        (
            "postrouting",
            Rule::new()
                .any(CT_STATUS, ct_status::DNAT)
                .masquerade(nat_flags::FULLY_RANDOM),
        ),
        (
            "postrouting",
            Rule::new()
                .eq(L4PROTO, tcp)
                .eq(ct_original_daddr(words.family), ip(words.one))
                .eq(CT_ORIGINAL_PROTO_DST, Value::new().port(80))
                .masquerade(0),
        ),
        (
            "postrouting",
            Rule::new()
                .eq(OIFNAME, Value::new().interface("eth0"))
                .snat(words.family, Load::Constant(ip(words.one))),
        ),
    ]
}

/// As `nft` lists it; each set's elements in one line, and sorted. `nft` leaves the protocol out
/// where it follows from the rest of a rule.
fn text(words: &Words) -> String {
    let Words {
        ip,
        one,
        two,
        pod,
        network: (network, ..),
        ..
    } = words;
    let address = if *ip == "ip" {
        "ipv4_addr"
    } else {
        "ipv6_addr"
    };
    format!(
        r#"table {ip} example {{
	comment "made by a test"
	map services {{
		type {address} . inet_proto . inet_service : verdict
		comment "by address"
		elements = {{ {one} . tcp . 80 comment "default/web" : goto serve-2, {two} . tcp . 443 : jump refuse, {two} . udp . 53 : drop }}
	}}

	map endpoints {{
		type {address} . inet_service . mark : {address} . inet_service
		size 4096
		elements = {{ {one} . 80 . 0x00000000 : {pod} . 8080, {one} . 80 . 0x00000001 : {two} . 8081 }}
	}}

	map marks {{
		type {address} : mark
		elements = {{ {one} : 0x00004000 }}
	}}

	set ports {{
		type inet_service
		elements = {{ 22 }}
	}}

	set bridges {{
		type ifname
		elements = {{ "cni0" }}
	}}

	set networks {{
		type {address}
		flags interval
		elements = {{ {network} }}
	}}

	set allowed {{
		type {address} . inet_service . {address}
		flags interval
		elements = {{ {one} . 80-90 . {network} }}
	}}

	map affinity {{
		type {address} . inet_proto . inet_service : {address} . inet_service
		size 65536
		flags dynamic,timeout
		timeout 3h
	}}

	chain refuse {{
		comment "tells the client"
		reject with tcp reset
		reject
	}}

	chain serve-2 {{
		dnat {ip} to {ip} daddr . tcp dport . numgen random mod 2 map @endpoints
	}}

	chain remember {{
		update @affinity {{ {ip} saddr . meta l4proto . th dport timeout 1m : {ip} daddr . th dport }}
	}}

	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		ct state new {ip} daddr . meta l4proto . th dport vmap @services comment "every service"
		fib daddr type local th dport @ports goto serve-2
		iifname != @bridges jump remember
	}}

	chain input {{
		type filter hook input priority filter; policy accept;
		ct state established,related counter packets 0 bytes 0 accept
		iifname "lo" accept
		iifname "veth*" return
		tcp dport 30000-32767 drop
	}}

	chain forward {{
		type filter hook forward priority filter - 10; policy drop;
		ct state invalid drop
		{ip} saddr @networks accept
		{ip} daddr . th dport . {ip} saddr @allowed accept
		udp sport != 53 return
	}}

	chain output {{
		type route hook output priority mangle; policy accept;
		meta mark set meta mark | 0x00004000
		meta mark set {ip} daddr map @marks
		ct mark set meta mark
		ct direction original meta mark set ct mark
	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00000000 return
		ct status dnat masquerade fully-random
		meta l4proto tcp ct original {ip} daddr {one} ct original proto-dst 80 masquerade
		oifname "eth0" snat to {one}
	}}
}}
"#
    )
}
