//! An agent's process: it waits for whoever has its token, and does what they ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::frame::{self, Reader, decode, encode};
use super::session::Session;
use super::wire::{Answer, Hello, Request, VERSION};
use crate::error::chain;

/// Answers that wait to be sent.
const WAITING: usize = 64;
/// How long a stream may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an agent is started. It has a secret, and no `Debug`.
#[derive(Clone)]
pub struct AgentOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a session must begin with.
    pub token: String,
}

/// Serves sessions until `ends`. Then each session ends as it does when its stream does: what it has
/// changed is undone.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(options: AgentOptions, ends: impl Future<Output = ()>) -> io::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    tracing::info!(listen = %options.listen, "the agent is ready");
    let token = Arc::new(options.token);
    let ending = CancellationToken::new();
    let mut sessions = JoinSet::new();
    let mut ends = std::pin::pin!(ends);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ends => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                sessions.spawn(serve_stream(
                    stream,
                    peer,
                    Arc::clone(&token),
                    ending.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while sessions.try_join_next().is_some() {}
    }
    ending.cancel();
    sessions.join_all().await;
    Ok(())
}

async fn serve_stream(
    stream: TcpStream,
    peer: SocketAddr,
    token: Arc<String>,
    ending: CancellationToken,
) {
    // Requests are short, and somebody waits for each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::warn!(%error, "answers may be late");
    }
    tracing::info!(%peer, "a session begins");
    match session(stream, &token, &ending).await {
        Ok(()) => tracing::info!(%peer, "the session has ended"),
        Err(error) => tracing::warn!(%peer, error = chain(&error), "the session has ended"),
    }
}

/// Serves one session, until its stream ends or it is to. What it has opened ends with it.
pub(super) async fn session<S>(stream: S, token: &str, ending: &CancellationToken) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = frame::split(stream);
    let begun = timeout(PATIENCE, begin(&mut reader, token)).await;
    let (number, hello) = begun.map_err(|_| io::ErrorKind::TimedOut)??;
    let said: Answer = match &hello {
        Ok(_) => Ok(ByteBuf::new()),
        Err(said) => Err(Failure {
            blind: false,
            said: said.clone(),
        }),
    };
    frame::send(&mut writer, number, &encode(&said)).await?;
    let hello = hello.map_err(io::Error::other)?;

    let session = Arc::new(Session::new(&hello));
    let (answers, mut to_send) = mpsc::channel::<(u64, Vec<u8>)>(WAITING);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some((number, answer)) = to_send.recv().await {
            if frame::send(&mut writer, number, &answer).await.is_err() {
                return;
            }
        }
    });
    let served = loop {
        let next = tokio::select! {
            next = frame::next(&mut reader) => next,
            () = ending.cancelled() => break Ok(()),
        };
        let request = match next {
            Ok(Some(request)) => request,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (number, octets) = request;
        let request: Request = match decode(&octets) {
            Ok(request) => request,
            Err(error) => break Err(error),
        };
        let (session, answers) = (Arc::clone(&session), answers.clone());
        tasks.spawn(async move {
            let answer = session.answer(request).await;
            let answer: Answer = answer.map(ByteBuf::from).map_err(Failure::from);
            // Whoever asked may have gone; then so does the session.
            let _ = answers.send((number, encode(&answer))).await;
        });
        while tasks.try_join_next().is_some() {}
    };
    // Requests under way are abandoned, and what they hold with them.
    tasks.shutdown().await;
    session.end().await;
    served
}

/// Reads how a session begins: what it says, or why it is refused.
async fn begin<S>(reader: &mut Reader<S>, token: &str) -> io::Result<(u64, Result<Hello, String>)>
where
    S: AsyncRead + AsyncWrite,
{
    let first = frame::next(reader).await?;
    let (number, octets) = first.ok_or(io::ErrorKind::UnexpectedEof)?;
    let Request::Hello(hello) = decode(&octets)? else {
        return Err(io::Error::other("a session begins with another request"));
    };
    let checked = if hello.version != VERSION {
        Err(format!(
            "the agent is onehop {VERSION}, and not {}",
            hello.version
        ))
    } else if hello.token != token {
        Err("the agent expects another token: it belongs to another run".to_owned())
    } else {
        Ok(*hello)
    };
    Ok((number, checked))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::agent::{AgentError, Remote, Site};
    use crate::probe::Batch;
    use crate::timing::Timing;
    use crate::world::{Length, Protocol};

    const TOKEN: &str = "a token";

    /// A session, or why there is none, and what ends it from the other side.
    async fn begun(token: &str) -> (Result<Remote, AgentError>, CancellationToken) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let ending = CancellationToken::new();
        let ends = ending.clone();
        tokio::spawn(async move { session(far, TOKEN, &ends).await });
        let timing = Timing::default();
        let remote = Remote::begin(near, "vm1", token, 1, Duration::ZERO, &timing);
        (remote.await, ending)
    }

    #[tokio::test]
    async fn a_session_needs_the_agents_token() {
        assert!(begun(TOKEN).await.0.is_ok());
        let refused = begun("another").await.0.expect_err("it is refused");
        let text = refused.to_string();
        assert!(
            text.contains("vm1") && text.contains("another token"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_agent_without_hosts_says_so_and_goes_on() {
        let (remote, _ending) = begun(TOKEN).await;
        let site = Site::There(remote.expect("the token is right"));
        for _ in 0..2 {
            let batch = Batch {
                protocol: Protocol::Tcp,
                remotes: vec![SocketAddr::from(([127, 0, 0, 1], 1))],
                length: Length::Brief,
                mark: None,
                fences: Vec::new(),
            };
            let error = site
                .call("web-0", batch)
                .await
                .expect_err("it has no hosts");
            assert!(
                matches!(error, AgentError::There { blind: false, .. }),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn whoever_asks_an_agent_that_has_gone_is_told() {
        let (remote, ending) = begun(TOKEN).await;
        let site = Site::There(remote.expect("the token is right"));
        ending.cancel();
        loop {
            // The first question may still be on its way when the session ends.
            match site.seen(&[1]).await {
                Err(AgentError::Gone { agent, .. }) => break assert_eq!(agent, "vm1"),
                other => assert!(matches!(other, Err(AgentError::There { .. })), "{other:?}"),
            }
        }
    }
}
