//! Serves the embedded API on an address, for trying it out with kubectl: `cargo run --example serve -- 127.0.0.1:8001`.

use onehop_apiserver::{ApiServer, Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    ApiServer::new(Config::default())?.serve(listener).await?;
    Ok(())
}
