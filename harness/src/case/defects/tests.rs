use std::time::Duration;

use super::*;
use crate::case::{Backend, Entry, Hops, Place, Policy, Reach, Service, Source, Target};
use crate::world::{CLIENT_PRIVATE, Family};

const TO: Target = Target::ClusterIp;

fn caller() -> Place {
    Place::External(CLIENT_PRIVATE.to_owned())
}

fn case() -> Case {
    Case::new("subject/case", "claim", Service::node_port(), &["web-0"])
}

fn reached(from: &Place, to: Target) -> Question {
    let reach = Reach::pods(
        &["web-0"],
        Source::Preserved,
        Hops::Direct,
        Entry::Node("vm1".to_owned()),
    );
    from.calls(to, Expectation::Reaches(reach))
}

#[test]
fn traffic_begins_where_the_check_right_before_it_has_seen_its_way_served() {
    let is_hasty = |case: Case| case.traffic("outside", &caller(), TO).has_hasty_traffic();
    let after = |asked: Question| is_hasty(case().check("one", [asked]));
    assert!(!after(reached(&caller(), TO)));
    assert!(is_hasty(case()), "no check before");
    assert!(after(reached(&Place::Node("vm1".to_owned()), TO)));
    assert!(after(reached(
        &caller(),
        Target::NodePort("vm1".to_owned())
    )));
    assert!(after(reached(&caller(), TO).only(Family::V4)));
    assert!(after(reached(&caller(), TO).on_port("admin")));
    assert!(after(caller().calls(TO, Expectation::Dropped)));

    let changed = case().check("one", [reached(&caller(), TO)]);
    let changed = changed.change(Change::ExternalPolicy(Policy::Local));
    assert!(is_hasty(changed), "a change between");

    let mut of_one_family = case();
    of_one_family.service.families = Families::Only(Family::V4);
    let seen = of_one_family.check("one", [reached(&caller(), TO).only(Family::V4)]);
    assert!(!is_hasty(seen));
}

#[test]
fn a_check_after_a_change_asks_what_was_not_so_before() {
    let alone = || Change::Backends(vec![Backend::ready("web-0")]);
    let inside = || reached(&Place::Node("vm1".to_owned()), TO);
    let asked = || {
        case()
            .check("one", [reached(&caller(), TO)])
            .traffic("outside", &caller(), TO)
    };
    let answered = || Question::Answered("outside");
    let changed = || asked().change(alone());
    assert!(
        changed()
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
    assert!(
        changed()
            .check("traffic alone", [answered()])
            .has_blind_check()
    );
    let more = [reached(&caller(), TO), inside(), answered()];
    assert!(!changed().check("more than before", more).has_blind_check());
    let dropped = [caller().calls(TO, Expectation::Dropped)];
    assert!(
        !changed()
            .check("another than before", dropped)
            .has_blind_check()
    );

    let unchanged = asked().check("as it was", [reached(&caller(), TO)]);
    assert!(!unchanged.has_blind_check());
    let late = changed().wait(Duration::from_secs(1));
    assert!(
        !late
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
    let restarted = asked().change(Change::RestartProxies);
    assert!(
        !restarted
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
    let at_once = changed().wait(Duration::from_millis(30));
    assert!(
        at_once
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
    // What was asked in two checks, with no change between them.
    let in_two = asked().check("two", [inside()]).change(alone());
    assert!(
        in_two
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
    let hasty = asked().wait(Duration::from_secs(1)).change(alone());
    assert!(
        hasty
            .check("as it was", [reached(&caller(), TO)])
            .has_blind_check()
    );
}
