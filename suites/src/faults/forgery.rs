//! Answers on a health check port that are not the proxy's.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use onehop_harness::lab::NAMESPACE;
use onehop_harness::run::Victim;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::commit::Going;
use super::rules::{Rules, rewrite_arriving};

/// The request that is answered is not longer.
const REQUEST: usize = 1024;

/// What somebody else says on the health check port of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgery {
    pub(super) node: &'static str,
    pub(super) status: &'static str,
    /// How many local endpoints the body has.
    pub(super) counted: u32,
    /// The weight in the header, which load balancers read.
    pub(super) weight: u32,
}

impl Forgery {
    /// Listens on the node, by the victim's own port.
    pub(super) fn serve(self, victim: &Victim<'_>) -> io::Result<Going> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, victim.port));
        let node = victim.lab.netns().namespace(self.node);
        let listener = node.within(|| std::net::TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let answer = self.answer(victim.name);
        Ok(Going::start(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; REQUEST];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }))
    }

    /// Diverts what calls the health check port to this one.
    pub(super) fn divert(self, health_port: u16, own: u16, rules: &mut Rules) {
        let rule = format!("tcp dport {health_port} redirect to :{own}");
        rules.on(self.node, &rewrite_arriving(&rule));
    }

    /// All that kube-proxy says, but for what is forged.
    fn answer(self, service: &str) -> String {
        let Self {
            status,
            counted,
            weight,
            ..
        } = self;
        let body = format!(
            r#"{{"service":{{"namespace":"{NAMESPACE}","name":"{service}"}},"localEndpoints":{counted},"serviceProxyHealthy":true}}"#
        );
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n\
             x-load-balancing-endpoint-weight: {weight}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}
