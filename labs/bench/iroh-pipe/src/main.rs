//! One TCP port over iroh and its relay, as dumbpipe carries one over iroh and its paths.
//!
//! dumbpipe cannot be told which relay to use, and would leave it for a direct path at once. Here the endpoints have no
//! path but the relay: `iroh-pipe listen RELAY-URL TARGET` prints its id and connects whoever comes to the target,
//! `iroh-pipe connect RELAY-URL ID ADDRESS` takes connections at the address. Each connection is an iroh connection of
//! its own with one stream, encrypted from end to end, and its bytes are copied as dumbpipe copies them. For
//! measurements only: ends together when either direction fails, says nothing about errors but the first line.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl,
    endpoint::{Connection, presets},
};
use tokio::{
    io::{AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

const ALPN: &[u8] = b"p2pdbg-bench/1";

/// What the connecting side says first, since a stream is seen only once something was sent on it.
const GREETING: [u8; 5] = *b"hello";

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["listen", relay, target] => listen(relay.parse()?, target.parse()?).await,
        ["connect", relay, id, at] => connect(relay.parse()?, id.parse()?, at.parse()?).await,
        _ => bail!("usage: iroh-pipe listen RELAY-URL TARGET | connect RELAY-URL ID ADDRESS"),
    }
}

async fn endpoint(relay: RelayUrl) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::custom([relay]))
        .clear_ip_transports();
    let endpoint = builder.bind().await?;
    endpoint.online().await;
    Ok(endpoint)
}

async fn listen(relay: RelayUrl, target: SocketAddr) -> Result<()> {
    let endpoint = endpoint(relay).await?;
    println!("id {}", endpoint.id());
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            let (send, mut receive) = connection.accept_bi().await?;
            let mut greeting = GREETING;
            receive.read_exact(&mut greeting).await?;
            let stream = TcpStream::connect(target).await?;
            pipe(stream, connection, send, receive).await
        });
    }
    Ok(())
}

async fn connect(relay: RelayUrl, id: EndpointId, at: SocketAddr) -> Result<()> {
    let endpoint = endpoint(relay.clone()).await?;
    let peer = EndpointAddr::new(id).with_relay_url(relay);
    let listener = TcpListener::bind(at).await?;
    println!("listening");
    loop {
        let (stream, _) = listener.accept().await?;
        let (endpoint, peer) = (endpoint.clone(), peer.clone());
        tokio::spawn(async move {
            let connection = endpoint.connect(peer, ALPN).await?;
            let (mut send, receive) = connection.open_bi().await?;
            send.write_all(&GREETING).await?;
            pipe(stream, connection, send, receive).await
        });
    }
}

async fn pipe(
    stream: TcpStream,
    connection: Connection,
    mut send: iroh::endpoint::SendStream,
    mut receive: iroh::endpoint::RecvStream,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let up = async {
        copy(&mut reader, &mut send).await.context("up")?;
        send.finish()?;
        anyhow::Ok(())
    };
    let down = async {
        copy(&mut receive, &mut writer).await.context("down")?;
        writer.shutdown().await?;
        anyhow::Ok(())
    };
    let both = tokio::try_join!(up, down);
    connection.close(0u32.into(), b"");
    both.map(|_| ())
}
