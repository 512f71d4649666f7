//! This host's TCP ports for a direct path: who connects to them, and how servers see them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_net::{
    tcp_port::{TcpPort, set_up},
    tcp_stun::{self, Asked},
};
use p2pdbg_punch::{PunchKey, Role, TcpPorts};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    TcpEvent,
    connection::{Greeted, Proven, greet},
    newcomers::{Newcomers, Verdict},
};

/// How long a server may take to answer the first question.
const ANSWER: Duration = Duration::from_millis(1_500);

/// How long the others are waited for once one has answered.
const GRACE: Duration = Duration::from_millis(150);

/// How often a server is asked again, so that neither NAT nor server forgets the connection.
const ASK: Duration = Duration::from_secs(5);

/// For so long a connection to a server is kept at the most.
const KEPT: Duration = Duration::from_secs(40);

/// The pause after accepting has failed, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(500);

/// Connections that have begun as the peer does and may go on to prove it. They are out of the crowd's reach.
const GREETED: usize = 8;

/// What became of a connection.
enum Step {
    /// The first word was the peer's, or not; which one it was.
    Greeted(u64, io::Result<Greeted>),
    Proven(io::Result<Proven>),
}

/// Lets whoever connects prove to be the peer.
pub(super) async fn accept(
    listener: TcpListener,
    key: PunchKey,
    role: Role,
    expected: watch::Receiver<Vec<IpAddr>>,
    events: mpsc::Sender<TcpEvent>,
) {
    let mut newcomers: Newcomers<u64> = Newcomers::new();
    let mut proving = JoinSet::new();
    let mut handles: Vec<(u64, AbortHandle)> = Vec::new();
    let (mut count, mut greeted) = (0, 0);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, from) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                set_up(&stream);
                let from = from.ip().to_canonical();
                match newcomers.judge(from, &expected.borrow()) {
                    Verdict::Admit => {}
                    Verdict::Replace(oldest) => {
                        newcomers.remove(oldest);
                        handles.iter().filter(|(k, _)| *k == oldest).for_each(|(_, h)| h.abort());
                    }
                    Verdict::Refuse => continue,
                }
                count += 1;
                newcomers.add(count, from);
                let (key, number) = (key.clone(), count);
                let handle = proving.spawn(async move {
                    Step::Greeted(number, greet(stream, &key, role, false).await)
                });
                handles.push((number, handle));
            }
            Some(ended) = proving.join_next() => {
                match ended {
                    Ok(Step::Greeted(number, Ok(connection))) => {
                        newcomers.remove(number);
                        if greeted < GREETED {
                            greeted += 1;
                            proving.spawn(async move { Step::Proven(connection.prove().await) });
                        }
                    }
                    Ok(Step::Greeted(number, Err(error))) => {
                        newcomers.remove(number);
                        tracing::debug!(%error, "a connection was not the peer's");
                    }
                    Ok(Step::Proven(proven)) => {
                        greeted -= 1;
                        match proven {
                            Ok(proven) => {
                                let _ = events.send(TcpEvent::Proven(proven)).await;
                            }
                            Err(error) => tracing::debug!(%error, "the peer did not go on"),
                        }
                    }
                    // One that had to make room is known to be gone.
                    Err(_) => {}
                }
                handles.retain(|(_, handle)| !handle.is_finished());
            }
        }
    }
}

/// Asks the servers how they see the ports, tells it, and holds the connections for a while.
pub(super) async fn ask(
    ports: Vec<TcpPort>,
    servers: Vec<SocketAddr>,
    mut known: TcpPorts,
    events: mpsc::Sender<TcpEvent>,
) {
    let mut asking = JoinSet::new();
    for server in servers {
        let port = ports.iter().find(|port| port.is_of_family_of(server.ip()));
        if let Some(port) = port.copied() {
            asking.spawn(async move { timeout(ANSWER, tcp_stun::ask(port, server)).await });
        }
    }
    let mut answers: Vec<Asked> = Vec::new();
    loop {
        let next = asking.join_next();
        let answered = match answers.is_empty() {
            true => next.await,
            false => match timeout(GRACE, next).await {
                Ok(answered) => answered,
                Err(_) => break,
            },
        };
        match answered {
            Some(Ok(Ok(Ok(answer)))) => answers.push(answer),
            Some(Ok(Ok(Err(error)))) => tracing::debug!(%error, "a server gives no STUN over TCP"),
            Some(_) => {}
            None => break,
        }
    }
    drop(asking);
    known.server_rtt = answers.iter().map(|answer| answer.rtt).min();
    known.seen = seen(answers.iter().map(|answer| answer.mapped));
    if events.send(TcpEvent::Ports(known)).await.is_err() {
        return;
    }
    let until = Instant::now() + KEPT;
    while Instant::now() < until && !answers.is_empty() {
        tokio::time::sleep(ASK).await;
        let mut kept = Vec::new();
        for mut answer in answers {
            let again = timeout(ANSWER, answer.again()).await;
            if matches!(again, Ok(Ok(mapped)) if mapped == answer.mapped) {
                kept.push(answer);
            }
        }
        answers = kept;
    }
}

/// What is of use to a peer: of each family the address that all its servers see.
fn seen(mapped: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = mapped.collect();
    all.sort_unstable();
    all.dedup();
    let alone = |address: &SocketAddr| {
        let of_family = all.iter().filter(|a| a.is_ipv4() == address.is_ipv4());
        of_family.count() == 1
    };
    all.iter().copied().filter(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn mapping_that_depends_on_the_server_is_not_told_and_that_of_the_other_family_is() {
        let one = addresses(&["192.0.2.1:5", "192.0.2.1:5", "[2001:db8::1]:7"]);
        assert_eq!(
            seen(one.into_iter()),
            addresses(&["192.0.2.1:5", "[2001:db8::1]:7"])
        );
        let two = addresses(&["192.0.2.1:5", "192.0.2.1:6", "[2001:db8::1]:7"]);
        assert_eq!(seen(two.into_iter()), addresses(&["[2001:db8::1]:7"]));
        assert_eq!(seen(std::iter::empty()), []);
    }
}
