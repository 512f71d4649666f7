//! TCP to the rendezvous through a proxy: reaching the proxy itself, at whichever of its addresses answers.

use std::{collections::VecDeque, net::SocketAddr, sync::atomic::Ordering};

use p2pdbg_base::Untrusted;
use p2pdbg_net::tcp_port;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use super::{
    LinkError,
    names::{Addresses, Batch, REACHED_AFTER, STAGGER},
    proxy::{Proxy, Refused},
    tls::{TcpRoute, set_up},
};

impl TcpRoute {
    /// A connection that the proxy has opened to that authority.
    ///
    /// # Errors
    /// What the proxy says, or why it is not reached.
    pub(super) async fn through(
        &self,
        proxy: &Proxy,
        authority: &str,
    ) -> Result<TcpStream, LinkError> {
        let failed = |why: String| LinkError::Proxy {
            proxy: proxy.to_string(),
            why,
        };
        let at = proxy.at();
        let addresses = self.names().look_up(&at, REACHED_AFTER);
        let (mut stream, address) = connect_any(addresses).await.map_err(failed)?;
        set_up(&stream);
        let opened = proxy.open(&mut stream, authority).await;
        if !matches!(opened, Err(Refused::Silent | Refused::Lost)) {
            self.proxy_answered.store(true, Ordering::Relaxed);
            self.names().note_reached(&at, address);
        }
        opened.map_err(|refused| failed(refused.to_string()))?;
        self.proxy_opened.store(true, Ordering::Relaxed);
        Ok(stream)
    }
}

/// Connects to one of these addresses, each a little later than the one before or as soon as that has failed.
///
/// # Errors
/// Why none accepts: that of the last.
async fn connect_any(mut addresses: Addresses) -> Result<(TcpStream, SocketAddr), String> {
    let mut attempts = JoinSet::new();
    let (mut begun, mut waiting) = (Vec::new(), VecDeque::new());
    let (mut next_at, mut more_may_come) = (Instant::now(), true);
    let mut why = None;
    loop {
        tokio::select! {
            biased;
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => {
                    why = Some(error);
                    next_at = Instant::now();
                }
                Err(_) => {}
            },
            batch = addresses.next(), if more_may_come => match batch {
                Some(Batch::Found(found) | Batch::Reached(found)) => waiting.extend(found),
                Some(Batch::Failed(failure)) => why = Some(failure),
                None => more_may_come = false,
            },
            () = tokio::time::sleep_until(next_at), if !waiting.is_empty() => {
                let Some(address) = waiting.pop_front() else { continue };
                if begun.contains(&address) {
                    continue;
                }
                begun.push(address);
                attempts.spawn(async move {
                    let connected = tcp_port::connect(address, None).await;
                    let stream = connected.map_err(|error| Untrusted::of_error(&error).to_string())?;
                    Ok((stream, address))
                });
                next_at = Instant::now() + STAGGER;
            }
            else => return Err(why.unwrap_or_else(|| "its name has no address".to_owned())),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use p2pdbg_proto::url::HostAt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::names::Names;

    /// A port that takes no connection and refuses none: its queue is full. What fills it.
    async fn black_hole() -> (SocketAddr, TcpListener, [TcpStream; 2]) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        // One more than it is told.
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let queued = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];
        (address, listener, queued)
    }

    #[tokio::test]
    async fn proxy_one_address_of_which_takes_nothing_is_reached_at_the_other() {
        let (dead, _listener, _queued) = black_hole().await;
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = live.local_addr().unwrap();
        let names = Names::asking(move |_| Box::pin(async move { Ok(vec![dead, live]) }));
        let at: HostAt = "proxy.example:3128".parse().unwrap();
        let reached = connect_any(names.look_up(&at, REACHED_AFTER));
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert_eq!(reached.unwrap().unwrap().1, live);
    }

    #[tokio::test]
    async fn proxy_that_refuses_everywhere_is_told_of_as_the_system_does() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let names = Names::asking(move |_| Box::pin(async move { Ok(vec![address; 3]) }));
        let at: HostAt = "proxy.example:3128".parse().unwrap();
        let why = connect_any(names.look_up(&at, REACHED_AFTER)).await;
        assert!(why.unwrap_err().contains("refused"));
    }
}
