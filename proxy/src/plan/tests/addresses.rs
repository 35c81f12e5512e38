//! Clients and addresses.

use super::stage::{
    CLIENTS, Client, ELSEWHERE, HERE, OUTSIDE, Outcome, Row, State, outcome, plan_of, web_under,
};
use crate::model::Policy;
use crate::plan::FrontKind;

use Outcome::{Dropped, Kept, Masqueraded, Refused};
use Policy::{Cluster, Local};
use State::{Gone, Leaving, Ready, Unready};

const BOTH: &[Row] = &[(1, HERE, Ready), (2, ELSEWHERE, Ready)];
const REMOTE: &[Row] = &[(2, ELSEWHERE, Ready)];

#[test]
fn cluster_ip() {
    #[rustfmt::skip]
    let rows = [
        ("pod, Cluster: all, not masqueraded", Client::Pod, Cluster, BOTH, Kept(vec![1, 2])),
        ("pod, Local: local ones, not masqueraded", Client::Pod, Local, BOTH, Kept(vec![1])),
        ("pod, Local, none local: dropped", Client::Pod, Local, REMOTE, Dropped),
        ("node, Cluster: all, masqueraded", Client::Node, Cluster, BOTH, Masqueraded(vec![1, 2])),
        ("node, Local: local ones, masqueraded", Client::Node, Local, BOTH, Masqueraded(vec![1])),
        ("node, Local, none local: dropped", Client::Node, Local, REMOTE, Dropped),
        ("external routed to a node, Cluster: all, masqueraded", Client::External, Cluster, BOTH, Masqueraded(vec![1, 2])),
        ("external routed to a node, Local: local ones, masqueraded", Client::External, Local, BOTH, Masqueraded(vec![1])),
        ("external routed to a node, Local, none local: dropped", Client::External, Local, REMOTE, Dropped),
        ("Local falls back to terminating ones on the node", Client::Pod, Local,
            &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], Kept(vec![1])),
        ("Local never falls back to terminating ones elsewhere", Client::Pod, Local, &[(2, ELSEWHERE, Leaving)], Dropped),
    ];
    for (says, client, internal, endpoints, expected) in rows {
        for external in [Cluster, Local] {
            let plan = plan_of(&web_under(internal, external), endpoints);
            assert_eq!(
                outcome(&plan, FrontKind::ClusterIp, client),
                expected,
                "{says}, whatever the external policy"
            );
        }
    }
}

#[test]
fn no_usable_endpoint_anywhere_is_refused_to_everybody_everywhere() {
    let none: [&[Row]; 3] = [
        &[],
        &[(1, HERE, Unready)],
        &[(1, HERE, Gone), (2, ELSEWHERE, Gone)],
    ];
    for endpoints in none {
        for (internal, external) in [
            (Cluster, Cluster),
            (Cluster, Local),
            (Local, Cluster),
            (Local, Local),
        ] {
            let plan = plan_of(&web_under(internal, external), endpoints);
            for kind in OUTSIDE.into_iter().chain([FrontKind::ClusterIp]) {
                for client in CLIENTS {
                    assert_eq!(
                        outcome(&plan, kind, client),
                        Refused,
                        "{endpoints:?} {internal:?} {external:?} {kind:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn node_port_external_ip_and_vip_by_client() {
    #[rustfmt::skip]
    let rows = [
        ("pod, Cluster: all, masqueraded", Client::Pod, Cluster, BOTH, Masqueraded(vec![1, 2])),
        ("pod, Local: short-circuit to all, source kept", Client::Pod, Local, BOTH, Kept(vec![1, 2])),
        ("node, Cluster: all, masqueraded", Client::Node, Cluster, BOTH, Masqueraded(vec![1, 2])),
        ("node, Local: all, masqueraded", Client::Node, Local, BOTH, Masqueraded(vec![1, 2])),
        ("external, Cluster: all, masqueraded", Client::External, Cluster, BOTH, Masqueraded(vec![1, 2])),
        ("external, Local: local ones, source kept", Client::External, Local, BOTH, Kept(vec![1])),
        ("external, Local, none local: dropped", Client::External, Local, REMOTE, Dropped),
    ];
    for (says, client, external, endpoints, expected) in rows {
        for internal in [Cluster, Local] {
            let plan = plan_of(&web_under(internal, external), endpoints);
            for kind in OUTSIDE {
                assert_eq!(
                    outcome(&plan, kind, client),
                    expected,
                    "{says}, whatever the internal policy: {kind:?}"
                );
            }
        }
    }
}

#[test]
fn node_port_external_ip_and_vip_by_endpoints() {
    /// What it says, the endpoints, whom all reach under Cluster, and under Local pods and the node, and others.
    type Case = (
        &'static str,
        &'static [Row],
        &'static [u8],
        &'static [u8],
        Option<&'static [u8]>,
    );
    #[rustfmt::skip]
    let rows: [Case; 5] = [
        ("local ready and remote", BOTH, &[1, 2], &[1, 2], Some(&[1])),
        ("only remote ready", REMOTE, &[2], &[2], None),
        ("local terminating and remote ready",
            &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], &[2], &[2], Some(&[1])),
        ("only terminating, local", &[(1, HERE, Leaving)], &[1], &[1], Some(&[1])),
        ("only terminating, remote", &[(2, ELSEWHERE, Leaving)], &[2], &[2], None),
    ];
    for (says, endpoints, under_cluster, inside, outside) in rows {
        for kind in OUTSIDE {
            let plan = plan_of(&web_under(Cluster, Cluster), endpoints);
            for client in CLIENTS {
                assert_eq!(
                    outcome(&plan, kind, client),
                    Masqueraded(under_cluster.to_vec()),
                    "{says}: Cluster, {kind:?}"
                );
            }
            let plan = plan_of(&web_under(Cluster, Local), endpoints);
            assert_eq!(
                outcome(&plan, kind, Client::Pod),
                Kept(inside.to_vec()),
                "{says}: Local, pod, {kind:?}"
            );
            assert_eq!(
                outcome(&plan, kind, Client::Node),
                Masqueraded(inside.to_vec()),
                "{says}: Local, node, {kind:?}"
            );
            let external = outside.map_or(Dropped, |outside| Kept(outside.to_vec()));
            assert_eq!(
                outcome(&plan, kind, Client::External),
                external,
                "{says}: Local, external, {kind:?}"
            );
        }
    }
    // The table's last row, no endpoint at all, is the test above that refuses.
}

#[test]
fn the_two_policies_are_independent() {
    for (internal, external) in [
        (Cluster, Cluster),
        (Cluster, Local),
        (Local, Cluster),
        (Local, Local),
    ] {
        let plan = plan_of(&web_under(internal, external), REMOTE);
        let inside = if internal == Local {
            Dropped
        } else {
            Kept(vec![2])
        };
        let outside = if external == Local {
            Dropped
        } else {
            Masqueraded(vec![2])
        };
        assert_eq!(
            outcome(&plan, FrontKind::ClusterIp, Client::Pod),
            inside,
            "{internal:?} {external:?}"
        );
        assert_eq!(
            outcome(&plan, FrontKind::NodePort, Client::External),
            outside,
            "{internal:?} {external:?}"
        );
    }
}
