use super::*;

fn name(text: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: text.into(),
    }
}

fn conflict(address: &str, winner: &str, losers: &[&str]) -> Conflict {
    Conflict {
        front: FrontKey {
            address: address.parse().expect("an address"),
            protocol: Protocol::Udp,
            port: 53,
        },
        winner: name(winner),
        cluster_ip: address.starts_with("10.96."),
        losers: losers.iter().map(|loser| name(loser)).collect(),
    }
}

fn losers(told: Vec<Lost>) -> Vec<String> {
    told.into_iter()
        .map(|lost| lost.loser.name.to_string())
        .collect()
}

#[test]
fn a_conflict_is_told_once_and_anew_after_it_was_resolved() {
    let mut conflicts = Conflicts::default();
    let both = || vec![conflict("192.0.2.1", "a", &["b", "c"])];
    assert_eq!(losers(conflicts.learn(both())), ["b", "c"]);
    assert_eq!(losers(conflicts.learn(both())), [""; 0]);
    let fewer = vec![conflict("192.0.2.1", "a", &["c"])];
    assert_eq!(losers(conflicts.learn(fewer)), [""; 0]);
    assert_eq!(losers(conflicts.learn(both())), ["b"]);
    let other = vec![conflict("192.0.2.1", "b", &["c"])];
    assert_eq!(losers(conflicts.learn(other)), ["c"], "another winner");
}

#[test]
fn an_event_names_the_front_and_who_has_it() {
    let mut conflicts = Conflicts::default();
    let told = conflicts.learn(vec![
        conflict("2001:db8::1", "a", &["b"]),
        conflict("0.0.0.0", "a", &["b"]),
        conflict("10.96.0.1", "c", &["b"]),
    ]);
    let events: Vec<_> = told.iter().map(Lost::event).collect();
    let ends = "leads to Service default/a, which asks for it as well and is first by name";
    assert_eq!(
        events[0].note,
        format!("node port 53/UDP of IPv4 {ends}"),
        "sorted by address"
    );
    let of_cluster = "leads to Service default/c, whose cluster address it is";
    assert_eq!(
        events[1].note,
        format!("port 53/UDP of 10.96.0.1 {of_cluster}")
    );
    assert_eq!(events[2].note, format!("port 53/UDP of 2001:db8::1 {ends}"));
    assert!(events.iter().all(|event| event.warning));
    assert_eq!(events[0].regarding, Regarding::Service(name("b")));
}

#[test]
fn a_problem_is_an_event_of_its_object() {
    for (kind, regarding) in [
        ("Service", Regarding::Service(name("x"))),
        ("EndpointSlice", Regarding::EndpointSlice(name("x"))),
        ("ServiceCIDR", Regarding::ServiceCidr("x".into())),
        ("Node", Regarding::Node("x".into())),
    ] {
        let event = event_of(&Problem {
            kind,
            object: name("x"),
            field: "spec.externalIPs[1]".to_owned(),
            why: "no address".to_owned(),
        });
        assert_eq!(event.regarding, regarding);
        assert_eq!(event.note, "spec.externalIPs[1]: no address");
        assert!(event.warning);
    }
}
