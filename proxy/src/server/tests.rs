use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Serves on a free port of the loopback, as long as the runtime lives.
pub(crate) fn served(handler: Handler) -> SocketAddr {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(answer(listener, handler));
    address
}

/// The head and the body of an answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    get_with(address, path, "").await
}

/// The same, with headers that end each with a line end.
pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

fn hello() -> Handler {
    Arc::new(|request| {
        let body = format!("{} {}", request.method(), request.uri().path());
        respond(StatusCode::OK, "text/plain", body)
    })
}

#[tokio::test]
async fn an_error_reads_as_gos() {
    let taken = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen(address).unwrap_err();
    let expected = format!("listen tcp4 {address}: bind: address already in use");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_wildcard_of_either_family_means_both() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let listener = listen_on_both(wildcard.parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(answer(listener, hello()));
        for host in ["127.0.0.1", "[::1]"] {
            let address = format!("{host}:{port}").parse().unwrap();
            assert_eq!(get(address, "/x").await.1, "GET /x", "{address}");
        }
    }
}

#[tokio::test]
async fn the_wildcards_of_both_families_share_a_port() {
    let v6 = listen("[::]:0".parse().unwrap()).unwrap();
    let port = v6.local_addr().unwrap().port();
    let _v4 = listen((Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
}

#[tokio::test]
async fn connections_are_kept_and_end_with_the_listener() {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(answer(listener, hello()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        stream
            .write_all(b"PUT /kept HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].ends_with(b"PUT /kept"));
    }
    task.abort();
    let _ended = task.await;
    assert_eq!(
        stream.read(&mut buffer).await.unwrap_or(0),
        0,
        "the connection ended"
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the listener ended"
    );
}

#[tokio::test]
async fn rubbish_and_silence_harm_nobody_else() {
    let address = served(hello());
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut rude = TcpStream::connect(address).await.unwrap();
    rude.write_all(b"\0\0\0\r\n\r\n").await.unwrap();
    assert_eq!(get(address, "/").await.1, "GET /");
}

/// Else a load balancer would take the node for broken while somebody holds connections open.
#[tokio::test]
async fn whoever_holds_connections_open_keeps_nobody_else_out() {
    let address = served(hello());
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS + 10 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/x").await.1, "GET /x");
    let mut byte = [0];
    let read = held[0].read(&mut byte);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "the oldest is ended");
}

#[tokio::test]
async fn hard_fail_ends_and_nothing_else_does() {
    let taken = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve("test", address, true, hello()).await;
    assert_eq!(error.address, address);

    tokio::time::pause();
    let serving = tokio::spawn(serve("test", address, false, hello()));
    tokio::time::sleep(LISTEN_AGAIN / 2).await;
    drop(taken);
    tokio::time::sleep(LISTEN_AGAIN).await;
    tokio::time::resume();
    assert_eq!(get(address, "/").await.1, "GET /");
    assert!(!serving.is_finished());
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_most() {
    let most = raise_open_files().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
}
