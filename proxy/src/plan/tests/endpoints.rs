//! Which endpoints may serve a flow.

use super::stage::{
    ELSEWHERE, HERE, Row, State, endpoint, hinted, last, node, only_port, plan, plan_of, plan_on,
    slice,
};
use super::stage::{web, web_under};
use crate::model::{Endpoint, Node, Policy};
use crate::plan::FrontKind;

use State::{Gone, Leaving, Ready, Unready};

/// The lists of a Service under Local from outside, which needs both.
fn lists(endpoints: Vec<Endpoint>, node: &Node) -> (Vec<u8>, Vec<u8>) {
    let plan = plan_on(
        node,
        &web_under(Policy::Cluster, Policy::Local),
        &[slice(endpoints)],
    );
    let port = only_port(&plan);
    (last(&port.cluster), last(&port.local))
}

/// What it says, the endpoints, and those for policies Cluster and Local.
type Case<Endpoints> = (&'static str, Endpoints, &'static [u8], &'static [u8]);

#[test]
fn endpoints_by_their_conditions() {
    #[rustfmt::skip]
    let rows: [Case<&[Row]>; 11] = [
        ("cluster: the ready ones; local: the ready ones on the node",
            &[(1, HERE, Ready), (2, ELSEWHERE, Ready), (3, HERE, Unready), (4, ELSEWHERE, Unready)], &[1, 2], &[1]),
        ("terminating ones are not used while there are ready ones",
            &[(1, HERE, Ready), (2, ELSEWHERE, Ready), (3, HERE, Leaving), (4, ELSEWHERE, Leaving)], &[1, 2], &[1]),
        ("cluster: if there are no ready ones, all serving and terminating ones in the whole cluster",
            &[(1, HERE, Leaving), (2, ELSEWHERE, Leaving), (3, HERE, Unready)], &[1, 2], &[1]),
        ("local: if there are no ready ones on the node, the serving and terminating ones on the node",
            &[(1, HERE, Leaving), (2, ELSEWHERE, Ready), (3, ELSEWHERE, Leaving)], &[2], &[1]),
        ("terminating and not serving is never used",
            &[(1, HERE, Gone), (2, ELSEWHERE, Gone)], &[], &[]),
        ("terminating and not serving is not used beside one that serves",
            &[(1, HERE, Gone), (2, HERE, Leaving), (3, ELSEWHERE, Gone)], &[2], &[2]),
        ("not ready and not terminating is never used",
            &[(1, HERE, Unready), (2, ELSEWHERE, Unready)], &[], &[]),
        ("an endpoint without a node is local nowhere",
            &[(1, None, Ready)], &[1], &[]),
        ("the one ready one elsewhere outdoes the local terminating one under Cluster",
            &[(1, HERE, Leaving), (2, ELSEWHERE, Ready)], &[2], &[1]),
        ("all local", &[(1, HERE, Ready), (2, HERE, Ready)], &[1, 2], &[1, 2]),
        ("none", &[], &[], &[]),
    ];
    for (says, endpoints, cluster, local) in rows {
        let found = lists(endpoints.iter().copied().map(endpoint).collect(), &node());
        assert_eq!(found, (cluster.to_vec(), local.to_vec()), "{says}");
    }
}

#[test]
fn hints() {
    let near = (1, HERE, Ready);
    let far = (2, ELSEWHERE, Ready);
    let leaving = (3, ELSEWHERE, Leaving);
    let no_zone = Node {
        zone: None,
        ..node()
    };
    #[rustfmt::skip]
    let rows: [(&str, Node, Vec<Endpoint>, &[u8]); 16] = [
        ("all ready endpoints have node hints and one is for this node: same node only", node(),
            vec![hinted(near, &[], &["here"]), hinted(far, &[], &["elsewhere"])], &[1]),
        ("node hints go before zone hints", node(),
            vec![hinted(near, &["zone-2"], &["elsewhere"]), hinted(far, &["zone-1"], &["here"])], &[2]),
        ("the hinted node need not be the endpoint's own", node(),
            vec![hinted(near, &[], &["elsewhere"]), hinted(far, &[], &["here"])], &[2]),
        ("node hints, none for this node: zone hints", node(),
            vec![hinted(near, &["zone-2"], &["x"]), hinted(far, &["zone-1"], &["y"])], &[2]),
        ("node hints, none for this node, and no zone hints: no filter", node(),
            vec![hinted(near, &[], &["x"]), hinted(far, &[], &["y"])], &[1, 2]),
        ("one ready endpoint without a node hint: node hints do not count", node(),
            vec![hinted(near, &["zone-1"], &["here"]), hinted(far, &["zone-1"], &[])], &[1, 2]),
        ("one ready endpoint without a node hint: zone hints do", node(),
            vec![hinted(near, &["zone-2"], &["here"]), hinted(far, &["zone-1"], &[])], &[2]),
        ("all have zone hints and one is for this zone: same zone only", node(),
            vec![hinted(near, &["zone-1"], &[]), hinted(far, &["zone-2"], &[])], &[1]),
        ("a hint for several zones", node(),
            vec![hinted(near, &["zone-2"], &[]), hinted(far, &["zone-2", "zone-1"], &[])], &[2]),
        ("one ready endpoint without a zone hint: no filter", node(),
            vec![hinted(near, &["zone-1"], &[]), hinted(far, &[], &[])], &[1, 2]),
        ("no hint for this zone: no filter", node(),
            vec![hinted(near, &["zone-2"], &[]), hinted(far, &["zone-3"], &[])], &[1, 2]),
        ("a node without a zone: no filter", no_zone.clone(),
            vec![hinted(near, &["zone-1"], &[]), hinted(far, &["zone-2"], &[])], &[1, 2]),
        ("a node without a zone goes by node hints", no_zone,
            vec![hinted(near, &["zone-1"], &["here"]), hinted(far, &["zone-2"], &["elsewhere"])], &[1]),
        ("an unhinted endpoint that is not ready does not matter", node(),
            vec![hinted(near, &["zone-1"], &[]), hinted(far, &["zone-2"], &[]), hinted(leaving, &[], &[])], &[1]),
        ("this zone's only endpoint is not ready: no filter", node(),
            vec![hinted((1, HERE, Unready), &["zone-1"], &[]), hinted(far, &["zone-2"], &[])], &[2]),
        ("terminating ones: hints ignored", node(),
            vec![hinted((1, HERE, Leaving), &["zone-1"], &["here"]), hinted(leaving, &["zone-2"], &["elsewhere"])], &[1, 3]),
    ];
    for (says, node, endpoints, cluster) in rows {
        assert_eq!(lists(endpoints, &node).0, cluster, "{says}");
    }
}

#[test]
fn local_overrides_hints() {
    let endpoints = || {
        vec![
            hinted((1, HERE, Ready), &["zone-2"], &[]),
            hinted((2, ELSEWHERE, Ready), &["zone-1"], &[]),
        ]
    };
    assert_eq!(
        lists(endpoints(), &node()),
        (vec![2], vec![1]),
        "under Local from outside"
    );

    let mut inside = web_under(Policy::Local, Policy::Cluster);
    inside.vips.clear();
    inside.external_ips.clear();
    inside.ports[0].node_port = None;
    let plan = plan(&inside, &[slice(endpoints())]);
    assert_eq!(last(&only_port(&plan).local), [1], "under Local inside");
    assert!(
        &only_port(&plan).cluster.is_empty(),
        "no front sends traffic there"
    );
}

#[test]
fn lists_that_no_front_uses_are_empty() {
    let rows = [(1, HERE, Ready), (2, ELSEWHERE, Ready)];
    let plan = plan_of(&web(), &rows);
    assert_eq!(
        (
            last(&only_port(&plan).cluster),
            last(&only_port(&plan).local)
        ),
        (vec![1, 2], vec![])
    );

    let mut not_outside = web_under(Policy::Cluster, Policy::Local);
    not_outside.vips.clear();
    not_outside.external_ips.clear();
    not_outside.ports[0].node_port = None;
    let plan = plan_of(&not_outside, &rows);
    assert!(
        &only_port(&plan).local.is_empty(),
        "externalTrafficPolicy without an outside address"
    );
    assert_eq!(
        only_port(&plan)
            .fronts
            .iter()
            .map(|front| front.kind)
            .collect::<Vec<_>>(),
        [FrontKind::ClusterIp]
    );
}

#[test]
fn one_of_two_slices_that_have_the_same_endpoint_counts() {
    #[rustfmt::skip]
    let rows: [Case<(Row, Row)>; 6] = [
        ("the same twice", ((1, HERE, Ready), (1, HERE, Ready)), &[1], &[1]),
        ("a new pod has the address of one that is terminating", ((1, HERE, Leaving), (1, ELSEWHERE, Ready)), &[1], &[]),
        ("what is not terminating counts, ready or not", ((1, HERE, Leaving), (1, HERE, Unready)), &[], &[]),
        ("what is ready counts", ((1, HERE, Unready), (1, ELSEWHERE, Ready)), &[1], &[]),
        ("what is local counts", ((1, HERE, Ready), (1, ELSEWHERE, Ready)), &[1], &[1]),
        ("what serves counts", ((1, HERE, Gone), (1, HERE, Leaving)), &[1], &[1]),
    ];
    let of = web_under(Policy::Cluster, Policy::Local);
    for (says, (one, other), cluster, local) in rows {
        for (one, other) in [(one, other), (other, one)] {
            let (one, other) = (endpoint(one), endpoint(other));
            let plan = plan(&of, &[slice([one.clone()]), slice([other.clone()])]);
            let found = (
                last(&only_port(&plan).cluster),
                last(&only_port(&plan).local),
            );
            assert_eq!(found, (cluster.to_vec(), local.to_vec()), "{says}");
            assert_eq!(
                super::stage::plan(&of, &[slice([one, other])]),
                plan,
                "{says}: in one slice"
            );
        }
    }
}

#[test]
fn a_node_without_a_name_has_no_endpoints() {
    let nameless = Node::default();
    let endpoints = vec![endpoint((1, Some(""), Ready)), endpoint((2, None, Ready))];
    assert_eq!(lists(endpoints, &nameless), (vec![1, 2], vec![]));
}

/// A Service that publishes addresses before they are ready has endpoints that are ready and do not serve.
#[test]
fn of_two_that_do_not_terminate_the_ready_one_counts() {
    let published = Endpoint {
        serving: false,
        ..endpoint((1, HERE, Ready))
    };
    let only_serving = Endpoint {
        ready: false,
        ..endpoint((1, HERE, Ready))
    };
    assert_eq!(
        lists(vec![only_serving.clone(), published.clone()], &node()),
        (vec![1], vec![1])
    );
    assert_eq!(
        lists(vec![published, only_serving], &node()),
        (vec![1], vec![1])
    );
}
