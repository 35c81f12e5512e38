//! Whatever a client sends is answered with an object or a Status: a panic would end the connection instead.

use onehop_apiserver::{ApiServer, Config};
use reqwest::{Client, Method};

const BODIES: &[&str] = &[
    "",
    "null",
    "0",
    "\"x\"",
    "[]",
    "{}",
    "{",
    "\u{0}",
    r#"{"metadata":null}"#,
    r#"{"metadata":5}"#,
    r#"{"metadata":{"name":null}}"#,
    r#"{"metadata":{"name":"x","labels":null,"finalizers":[""],"annotations":{"":""}}}"#,
    r#"{"metadata":{"name":"x"},"spec":null,"status":null}"#,
    r#"{"metadata":{"name":"x"},"spec":{},"status":{}}"#,
    r#"{"metadata":{"name":"x"},"spec":5,"status":[]}"#,
    r#"{"metadata":{"name":"x"},"spec":{"ports":[null]},"endpoints":[null],"ports":[null]}"#,
    r#"{"metadata":{"name":"x"},"spec":{"clusterIPs":["","",""],"ipFamilies":[""],"ports":[{"port":-1}]}}"#,
    r#"{"metadata":{"name":"x"},"spec":{"clusterIP":"None","clusterIPs":["None","None"],"ipFamilies":["IPv6","IPv4"]}}"#,
    r#"{"metadata":{"name":"x"},"spec":{"type":"LoadBalancer","healthCheckNodePort":-5,"externalTrafficPolicy":"Local","ports":[{"port":1,"nodePort":-9}]}}"#,
    r#"{"metadata":{"name":"x"},"addressType":"IPv4","endpoints":[{}],"ports":[{}]}"#,
    r#"{"metadata":{"name":"x"},"spec":{"containers":[{"ports":[{}]}]},"data":{"a":"b"}}"#,
    r#"{"metadata":{"generateName":"é"},"apiVersion":"v1","kind":"Service"}"#,
    r#"{"apiVersion":5,"kind":[]}"#,
    r#"{"$patch":"replace","metadata":{"$patch":"delete"}}"#,
    r#"{"$setElementOrder/spec":[1],"$deleteFromPrimitiveList/metadata":[1],"$retainKeys":["spec"]}"#,
    r#"[{"op":"replace","path":"","value":5}]"#,
    r#"[{"op":"remove","path":"/metadata"}]"#,
    r#"[{"op":"add","path":"/spec/-","value":1},{"op":"move","from":"/a","path":"/b"}]"#,
];

const COLLECTIONS: &[&str] = &[
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/events",
    "/apis/events.k8s.io/v1/namespaces/default/events",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/networking.k8s.io/v1/servicecidrs",
];

const TYPES: &[(&str, &str)] = &[
    ("POST", "application/json"),
    ("POST", "application/yaml"),
    ("POST", "application/vnd.kubernetes.protobuf"),
    ("PUT", "application/json"),
    ("PATCH", "application/json-patch+json"),
    ("PATCH", "application/merge-patch+json"),
    ("PATCH", "application/strategic-merge-patch+json"),
    ("PATCH", "application/apply-patch+yaml"),
    ("DELETE", "application/json"),
];

#[tokio::test]
async fn every_body_is_answered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a listener");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let api = ApiServer::new(Config::default()).expect("a server");
    tokio::spawn(api.serve(listener));
    let client = Client::new();
    for collection in COLLECTIONS {
        for (method, content_type) in TYPES {
            for body in BODIES {
                for status in ["", "/status"] {
                    let path = match *method {
                        "POST" => (*collection).to_string(),
                        _ => format!("{collection}/x{status}?fieldManager=a"),
                    };
                    let sent = client
                        .request(
                            Method::from_bytes(method.as_bytes()).expect("a method"),
                            format!("{server}{path}"),
                        )
                        .header("content-type", *content_type)
                        .body(*body)
                        .send()
                        .await;
                    let what = format!("{method} {path} {content_type} {body}");
                    let reply = sent.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    let json: serde_json::Value = reply
                        .json()
                        .await
                        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(json["kind"].is_string(), "{what}: {json}");
                }
            }
        }
    }
    for query in [
        "?watch=true&resourceVersion=-1",
        "?limit=x",
        "?labelSelector=%ff",
        "?fieldSelector==",
        "?%",
    ] {
        let reply = client
            .get(format!("{server}/api/v1/services{query}"))
            .send()
            .await
            .expect("an answer");
        let json: serde_json::Value = reply.json().await.expect("JSON");
        assert!(json["kind"].is_string(), "{query}: {json}");
    }
}
