//! What the index costs. Bytes are counted, not timed.

use onehop_proxy::index::Index;
use serde_json::json;

const SERVICES: u32 = 10_000;

/// Services as a cluster has them: long names, one port, two endpoints in one slice.
fn filled() -> Index {
    let mut index = Index::new("node-17.cluster.example");
    for at in 0..SERVICES {
        let name = format!("checkout-backend-{at:05}");
        let [high, low] = u16::try_from(at).unwrap().to_be_bytes();
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "production-shop", "name": name},
            "spec": {
                "type": "ClusterIP", "clusterIP": format!("10.96.{high}.{low}"),
                "clusterIPs": [format!("10.96.{high}.{low}")], "ipFamilies": ["IPv4"],
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            },
        });
        let endpoint = |second: u8| {
            json!({
                "addresses": [format!("10.{second}.{high}.{low}")], "nodeName": format!("node-{}.cluster.example", at % 50),
                "conditions": {"ready": true, "serving": true, "terminating": false},
            })
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "production-shop", "name": format!("{name}-x7b2q"),
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [endpoint(1), endpoint(2)],
        });
        let problems = index
            .observe_service(&serde_json::from_value(service).unwrap())
            .problems;
        assert_eq!(problems, []);
        index.observe_slice(&serde_json::from_value(slice).unwrap());
    }
    index
}

#[test]
fn ten_thousand_services_with_two_endpoints_are_a_few_megabytes() {
    let mut index = None;
    let allocated = allocation_counter::measure(|| index = Some(filled()));
    let index = index.unwrap();
    assert_eq!(index.services().count(), SERVICES as usize);
    let bytes = allocated.bytes_current;
    println!("{bytes} bytes in {} allocations", allocated.count_current);
    assert!(bytes < 9_000_000, "{bytes} bytes");
    // A count that counts nothing would pass as well.
    assert!(bytes > 1_000_000, "{bytes} bytes");
}
