//! A small server of HTTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a server that says nothing keeps a connection open.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// What a server answers to a request line; nothing for silence.
type Answers = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// A server of HTTP for the rest of the test. Its requests are remembered.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(
        address: SocketAddr,
        answers: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers): (_, Arc<Answers>) = (requests.clone(), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answers) = (seen.clone(), answers.clone());
                thread::spawn(move || answer(&stream, &seen, &*answers));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

fn answer(mut stream: &TcpStream, seen: &Mutex<Vec<String>>, answers: &Answers) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    // The rest of the head.
    lines.find(String::is_empty);
    seen.lock().expect("no holder panics").push(request.clone());
    match answers(&request) {
        None => thread::sleep(SILENCE),
        Some((status, body)) => {
            let length = body.len();
            // Whoever asked may be gone.
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: \
                 {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    }
}
