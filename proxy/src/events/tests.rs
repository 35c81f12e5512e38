use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::*;

/// An API that takes events, refuses them, or never answers, and remembers what it was asked.
#[derive(Default)]
struct Api {
    asked: Mutex<Vec<(String, Value)>>,
    refusing: AtomicBool,
    silent: AtomicBool,
}

impl Api {
    fn client(self: &Arc<Self>) -> kube::Client {
        let api = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&api);
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let asked = format!("{} {}", request.method(), request.uri().path());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body_json = serde_json::from_slice(&body).unwrap();
        self.asked.lock().unwrap().push((asked, body_json));
        if self.refusing.load(Ordering::Relaxed) {
            let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"no","code":403}"#;
            return Response::builder()
                .status(403)
                .body(Body::from(status.as_bytes().to_vec()))
                .unwrap();
        }
        Response::new(Body::from(body.to_vec()))
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

fn events(api: &Arc<Api>) -> (Events, Arc<Metrics>, tokio::task::JoinHandle<()>) {
    let metrics = Arc::new(Metrics::new());
    let (events, task) = Events::to_api(api.client(), "vm1", Clock::system(), Arc::clone(&metrics));
    (events, metrics, tokio::spawn(task))
}

fn failed(port: u16) -> Event {
    let service = ObjectName {
        namespace: "shop".into(),
        name: "web".into(),
    };
    Event::warning(
        Regarding::Service(service),
        "FailedToStartServiceHealthcheck",
        "Listen",
        format!("port {port}"),
    )
}

fn counted(metrics: &Metrics, fate: &str) -> bool {
    let text = metrics.open_metrics();
    text.lines()
        .any(|line| line == format!("onehop_events_total{{{fate}"))
}

#[tokio::test]
async fn an_event_reaches_the_api_as_kube_proxys_would() {
    let api = Arc::new(Api::default());
    let (events, metrics, task) = events(&api);
    events.send(failed(1));
    events.send(Event::starting("vm1"));
    drop(events);
    task.await.unwrap();
    let asked = api.asked();
    let [(service, body), (node, birth)] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(
        service,
        "POST /apis/events.k8s.io/v1/namespaces/shop/events"
    );
    for (field, value) in [
        ("/type", "Warning"),
        ("/reason", "FailedToStartServiceHealthcheck"),
        ("/action", "Listen"),
        ("/note", "port 1"),
        ("/reportingController", "kube-proxy"),
        ("/reportingInstance", "vm1"),
        ("/regarding/apiVersion", "v1"),
        ("/regarding/kind", "Service"),
        ("/regarding/namespace", "shop"),
        ("/regarding/name", "web"),
    ] {
        assert_eq!(
            body.pointer(field).and_then(Value::as_str),
            Some(value),
            "{field} of {body}"
        );
    }
    assert_eq!(
        node,
        "POST /apis/events.k8s.io/v1/namespaces/default/events"
    );
    assert_eq!(birth["regarding"]["uid"], "vm1");
    assert_eq!(birth["type"], "Normal");
    assert!(counted(&metrics, "fate=\"sent\"} 2"));
}

#[tokio::test]
async fn the_same_event_is_sent_once_and_another_one_joins_its_series() {
    let api = Arc::new(Api::default());
    let (events, metrics, task) = events(&api);
    for port in [1, 1, 2] {
        events.send(failed(port));
    }
    drop(events);
    task.await.unwrap();
    let asked = api.asked();
    let methods: Vec<_> = asked
        .iter()
        .map(|(asked, _)| asked.split(' ').next().unwrap())
        .collect();
    assert_eq!(methods, ["POST", "PATCH"]);
    assert_eq!(asked[1].1["series"]["count"], 2);
    assert!(counted(&metrics, "fate=\"repeated\"} 1"));
}

#[tokio::test]
async fn an_event_that_the_api_refused_may_be_sent_again() {
    let api = Arc::new(Api::default());
    api.refusing.store(true, Ordering::Relaxed);
    let (events, metrics, task) = events(&api);
    events.send(failed(1));
    while !counted(&metrics, "fate=\"failed\"} 1") {
        tokio::task::yield_now().await;
    }
    api.refusing.store(false, Ordering::Relaxed);
    events.send(failed(1));
    drop(events);
    task.await.unwrap();
    assert!(counted(&metrics, "fate=\"sent\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_does_not_answer_stops_nobody() {
    let api = Arc::new(Api::default());
    api.silent.store(true, Ordering::Relaxed);
    let (events, metrics, task) = events(&api);
    for port in 0..300 {
        events.send(failed(port));
    }
    assert!(counted(&metrics, "fate=\"overflowed\"} 172"));
    drop(events);
    task.await.unwrap();
    assert_eq!(api.asked(), []);
    // The API had its 10 s for each of the burst, by a clock that the limit does not read.
    assert!(counted(&metrics, "fate=\"failed\"} 25"));
    assert!(counted(&metrics, "fate=\"limited\"} 103"));
}

#[test]
fn a_note_is_cut_where_the_api_would_refuse_it() {
    let mut event = failed(1);
    event.note = "é".repeat(600);
    let note = body(&event).note.unwrap();
    assert_eq!(note.len(), 1024);
}
