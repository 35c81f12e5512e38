//! Whatever a client sends is answered with an object or a Status, and at a bounded cost: a panic would end the
//! connection instead.

use onehop_apiserver::{ApiServer, Config};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

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

/// A server and a client of it.
struct Lab {
    client: Client,
    url: String,
}

impl Lab {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let api = ApiServer::new(Config::default()).expect("a server");
        tokio::spawn(api.serve(listener));
        Self {
            client: Client::new(),
            url,
        }
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: String) -> Response {
        let what = format!("{method} {path} {content_type} {body:.200}");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client
            .request(method, format!("{}{path}", self.url))
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// The code and the body.
    async fn json(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> (u16, Value) {
        let reply = self.send(method, path, content_type, body).await;
        let code = reply.status().as_u16();
        let body = reply.json().await;
        (
            code,
            body.unwrap_or_else(|error| panic!("{method} {path}: {error:?}")),
        )
    }

    /// Creates a valid object named `x`, if it is not there.
    async fn make(&self, collection: &str) {
        let plural = collection.rsplit('/').next().unwrap_or_default();
        let body = object(plural).to_string();
        let (code, answer) = self
            .json("POST", collection, "application/json", body)
            .await;
        assert!(matches!(code, 201 | 409), "{collection}: {answer}");
    }
}

/// A valid object of a kind, named `x`.
fn object(plural: &str) -> Value {
    let rest = match plural {
        "services" => json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "selector": {"a": "b"}, "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}),
        "endpointslices" => json!({"addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]}),
        "pods" => json!({"spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}),
        "events" => {
            json!({"reason": "a", "type": "Normal", "reportingController": "a", "reportingInstance": "a",
            "action": "a", "eventTime": "2026-01-01T00:00:00.000000Z"})
        }
        "servicecidrs" => json!({"spec": {"cidrs": ["172.30.0.0/24"]}}),
        "leases" => json!({"spec": {"holderIdentity": "me"}}),
        _ => json!({}),
    };
    let mut object =
        json!({"metadata": {"name": "x", "finalizers": ["a.example/b"], "labels": {"a": "b"}}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

#[tokio::test]
async fn every_body_is_answered() {
    let lab = Lab::start().await;
    for collection in COLLECTIONS {
        for (method, content_type) in TYPES {
            for body in BODIES {
                for status in ["", "/status"] {
                    let path = match *method {
                        "POST" => (*collection).to_string(),
                        _ => format!("{collection}/x{status}?fieldManager=a"),
                    };
                    if *method != "POST" {
                        lab.make(collection).await;
                    }
                    let body = (*body).to_string();
                    let what = format!("{method} {path} {content_type} {body}");
                    let (code, json) = lab.json(method, &path, content_type, body).await;
                    assert!(json["kind"].is_string(), "{what}: {json}");
                    // Some refusals are unclassified upstream, too, and have 500 but no reason; a bug is an InternalError.
                    assert!(code < 500 || json["reason"].is_null(), "{what}: {json}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_query_is_answered() {
    let lab = Lab::start().await;
    for (query, expected) in [
        ("watch=true&resourceVersion=-1", 500),
        ("limit=x", 400),
        ("timeoutSeconds=abc", 400),
        ("timeoutSeconds=9223372036854775808", 400),
        ("labelSelector=%ff", 400),
        ("fieldSelector==", 400),
        // Go leaves out what it cannot read, too.
        ("%", 200),
    ] {
        let path = format!("/api/v1/services?{query}");
        let (code, json) = lab.json("GET", &path, "", String::new()).await;
        assert_eq!(code, expected, "{query}: {json}");
    }
    for seconds in ["9223372036854775807", "-1", "0"] {
        let path = format!("/api/v1/services?watch=true&timeoutSeconds={seconds}");
        let reply = lab.send("GET", &path, "", String::new()).await;
        assert_eq!(reply.status(), 200, "{seconds}");
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_patch_cannot_build_what_it_does_not_contain() {
    let lab = Lab::start().await;
    lab.make(MAPS).await;
    let patch = |operations: Vec<Value>| {
        let (lab, body) = (&lab, Value::Array(operations).to_string());
        async move {
            lab.json(
                "PATCH",
                &format!("{MAPS}/x"),
                "application/json-patch+json",
                body,
            )
            .await
        }
    };
    // A tower of 100 levels in each step, put on top of the one before.
    let tower = (0..100).fold(json!("top"), |inner, _| json!({"x": inner}));
    let top = format!("/b{}", "/x".repeat(100));
    let mut nested = vec![json!({"op": "add", "path": "/a", "value": "base"})];
    for _ in 0..1000 {
        nested.push(json!({"op": "add", "path": "/b", "value": tower}));
        nested.push(json!({"op": "move", "from": "/a", "path": top}));
        nested.push(json!({"op": "move", "from": "/b", "path": "/a"}));
    }
    let (code, answer) = patch(nested).await;
    assert_eq!(code, 422, "{answer}");
    let mut copies = vec![json!({"op": "add", "path": "/zz", "value": {"a": "x"}})];
    for index in 0..24 {
        copies.push(json!({"op": "copy", "from": "/zz", "path": format!("/zz/c{index}")}));
    }
    let (code, answer) = patch(copies).await;
    assert_eq!(code, 422, "{answer}");
    let (code, answer) = patch(vec![
        json!({"op": "add", "path": "/data", "value": {"a": "b"}}),
    ])
    .await;
    assert_eq!((code, &answer["data"]["a"]), (200, &json!("b")));
}

#[tokio::test]
async fn large_objects_and_many_complaints_are_bounded() {
    let lab = Lab::start().await;
    let map = |size: usize| {
        json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(size)}}).to_string()
    };
    let (code, answer) = lab
        .json("POST", MAPS, "application/json", map((1 << 20) + 1))
        .await;
    assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
    let (code, _) = lab
        .json("POST", MAPS, "application/json", map(1 << 20))
        .await;
    assert_eq!(code, 201);
    let unknown: Vec<String> = (0..50_000)
        .map(|n| format!("\"colour-{n}\":1,\"colour-{n}\":1"))
        .collect();
    let body = format!("{{\"metadata\":{{\"name\":\"n\"}},{}}}", unknown.join(","));
    let reply = lab.send("POST", MAPS, "application/json", body).await;
    assert_eq!(reply.status(), 201);
    let warnings: Vec<_> = reply.headers().get_all("warning").iter().collect();
    let length: usize = warnings.iter().map(|warning| warning.len()).sum();
    assert!((10..=90).contains(&warnings.len()), "{}", warnings.len());
    assert!(length < 8192, "{length}");
}

#[tokio::test]
async fn many_ports_are_checked_in_time() {
    let lab = Lab::start().await;
    let ports: Vec<Value> = (0..20_000)
        .map(|n| json!({"name": format!("p{n}"), "port": 1}))
        .collect();
    let body =
        json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [], "ports": ports});
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let (code, answer) = lab
        .json("POST", path, "application/json", body.to_string())
        .await;
    assert_eq!(code, 201, "{}", answer["message"]);
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_empty_and_nobody_holds_it() {
    let lab = Lab::start().await;
    let (space, maps) = ("/api/v1/namespaces/x", "/api/v1/namespaces/x/configmaps");
    lab.make("/api/v1/namespaces").await;
    lab.make(maps).await;
    let get = |path: &str| {
        let (lab, path) = (&lab, path.to_string());
        async move { lab.json("GET", &path, "", String::new()).await }
    };
    let free = |path: String| {
        let lab = &lab;
        let body = json!({"metadata": {"finalizers": null}}).to_string();
        async move {
            lab.json("PATCH", &path, "application/merge-patch+json", body)
                .await
        }
    };
    lab.json("DELETE", space, "", String::new()).await;
    let (_, held) = get(space).await;
    assert_eq!(held["status"]["phase"], "Terminating");
    assert_eq!(held["spec"]["finalizers"], json!(["kubernetes"]));
    free(format!("{maps}/x")).await;
    assert_eq!(get(&format!("{maps}/x")).await.0, 404);
    let (code, empty) = get(space).await;
    assert_eq!(
        (code, empty["spec"].get("finalizers")),
        (200, None),
        "its own finalizer holds it"
    );
    free(space.to_string()).await;
    assert_eq!(get(space).await.0, 404);
    // In the other order, the last object takes the namespace along.
    lab.make("/api/v1/namespaces").await;
    lab.make(maps).await;
    lab.json("DELETE", space, "", String::new()).await;
    free(space.to_string()).await;
    assert_eq!(get(space).await.0, 200);
    free(format!("{maps}/x")).await;
    assert_eq!(get(space).await.0, 404);
}

/// What is in the way of clients: how they find resources and tell formats apart.
#[tokio::test]
async fn clients_find_what_is_served() {
    let lab = Lab::start().await;
    let get = |path: &'static str| {
        let lab = &lab;
        async move { lab.json("GET", path, "", String::new()).await.1 }
    };
    assert_eq!(get("/version").await["minor"], "36");
    let groups = get("/apis").await;
    let names = |value: &Value, list: &str| -> Vec<String> {
        let list = value[list].as_array().cloned().unwrap_or_default();
        let name = |item: &Value| item["name"].as_str().unwrap_or_default().to_string();
        list.iter().map(name).collect()
    };
    assert_eq!(
        names(&groups, "groups"),
        [
            "events.k8s.io",
            "networking.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io"
        ]
    );
    let core = names(&get("/api/v1").await, "resources");
    for resource in [
        "services",
        "services/status",
        "nodes",
        "pods",
        "namespaces",
        "configmaps",
        "events",
    ] {
        assert!(
            core.iter().any(|name| name == resource),
            "{resource} is not in {core:?}"
        );
    }
    let beta = get("/apis/networking.k8s.io/v1beta1/servicecidrs/kubernetes").await;
    assert_eq!(beta["apiVersion"], "networking.k8s.io/v1beta1");
    assert_eq!(beta["spec"]["cidrs"][0], "10.96.0.0/16");
    let openapi = get("/openapi/v3").await;
    for path in openapi["paths"].as_object().expect("paths").values() {
        let url = path["serverRelativeURL"].as_str().expect("a URL");
        let (code, _) = lab.json("GET", url, "", String::new()).await;
        assert_eq!(code, 200, "{url}");
    }
    let reply = lab
        .client
        .get(format!("{}/api/v1/namespaces/default", lab.url))
        .header("accept", "application/vnd.kubernetes.protobuf")
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.headers()["content-type"], "application/json");
}
