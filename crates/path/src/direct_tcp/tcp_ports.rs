//! This host's TCP ports for a direct path: who connects to them, and how servers see them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_net::{
    stun_over_tcp::{self, Asked},
    tcp_port::{TcpPort, set_up},
};
use p2pdbg_punch::{PunchKey, Role, TcpPorts, is_of_web, tcp_seen};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::timeout,
};

use super::{
    DirectTcpEvent,
    connection::{Greeted, Proven, greet},
    newcomers::{Newcomers, Verdict},
};

/// How long a server may take to answer the first question.
const ANSWER: Duration = Duration::from_millis(1_500);

/// How long the others are waited for once one has answered that is not of the web.
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
    events: mpsc::Sender<DirectTcpEvent>,
) {
    let mut door = Door::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => door.let_in(stream, &key, role, &expected.borrow()),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = door.proving.join_next() => {
                if let Some(proven) = door.on_step(ended) {
                    let _ = events.send(DirectTcpEvent::Proven(proven)).await;
                }
            }
        }
    }
}

/// The connections at a port that have not proved to be the peer's.
struct Door {
    newcomers: Newcomers<u64>,
    proving: JoinSet<Step>,
    handles: Vec<(u64, AbortHandle)>,
    /// Numbers them.
    count: u64,
    greeted: usize,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            newcomers: Newcomers::new(),
            proving: JoinSet::new(),
            handles: Vec::new(),
            count: 0,
            greeted: 0,
        }
    }
}

impl Door {
    /// Listens to a connection, if there is room for it.
    fn let_in(&mut self, stream: TcpStream, key: &PunchKey, role: Role, expected: &[IpAddr]) {
        set_up(&stream);
        let Ok(from) = stream.peer_addr() else {
            return;
        };
        let from = from.ip().to_canonical();
        match self.newcomers.judge(from, expected) {
            Verdict::Admit => {}
            Verdict::Replace(oldest) => {
                self.newcomers.remove(oldest);
                let handles = self.handles.iter();
                handles
                    .filter(|(number, _)| *number == oldest)
                    .for_each(|(_, handle)| handle.abort());
            }
            Verdict::Refuse => return,
        }
        self.count += 1;
        self.newcomers.add(self.count, from);
        let (key, number) = (key.clone(), self.count);
        let handle = self
            .proving
            .spawn(async move { Step::Greeted(number, greet(stream, &key, role, false).await) });
        self.handles.push((number, handle));
    }

    /// What became of one; the connection, if it is the peer's.
    fn on_step(&mut self, ended: Result<Step, JoinError>) -> Option<Proven> {
        self.handles.retain(|(_, handle)| !handle.is_finished());
        // One that had to make room is known to be gone.
        let result = match ended.ok()? {
            Step::Greeted(number, greeted) => {
                self.newcomers.remove(number);
                greeted.map(|connection| {
                    if self.greeted < GREETED {
                        self.greeted += 1;
                        self.proving
                            .spawn(async move { Step::Proven(connection.prove().await) });
                    }
                    None
                })
            }
            Step::Proven(proven) => {
                self.greeted -= 1;
                proven.map(Some)
            }
        };
        result
            .inspect_err(|error| tracing::debug!(%error, "a connection was not the peer's"))
            .ok()
            .flatten()
    }
}

/// Whether the answers of these servers tell what the others would. Those of the web alone do not: a lost SYN of
/// another is not to make this network one that lets out nothing else.
fn tells_enough(answered: impl IntoIterator<Item = SocketAddr>) -> bool {
    answered.into_iter().any(|server| !is_of_web(server.port()))
}

/// Asks the servers how they see the ports, tells it, and holds the connections for a while.
pub(super) async fn ask(
    ports: Vec<TcpPort>,
    servers: Vec<SocketAddr>,
    mut known: TcpPorts,
    events: mpsc::Sender<DirectTcpEvent>,
) {
    let mut asking = JoinSet::new();
    for server in servers {
        let port = ports.iter().find(|port| port.is_of_family_of(server.ip()));
        if let Some(port) = port.copied() {
            asking.spawn(async move { timeout(ANSWER, stun_over_tcp::ask(port, server)).await });
        }
    }
    let mut answers: Vec<Asked> = Vec::new();
    loop {
        let next = asking.join_next();
        let answered = match tells_enough(answers.iter().map(|answer| answer.server)) {
            false => next.await,
            true => match timeout(GRACE, next).await {
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
    let others = answers.iter().filter(|a| !is_of_web(a.server.port()));
    known.server_rtt = others.map(|answer| answer.rtt).min();
    known.seen = tcp_seen(answers.iter().map(|answer| answer.mapped));
    if events.send(DirectTcpEvent::Ports(known)).await.is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_web_alone_do_not_tell_what_others_would() {
        let enough = |ports: &[u16]| {
            let servers = ports.iter().map(|port| ([192, 0, 2, 1], *port).into());
            tells_enough(servers)
        };
        assert!(!enough(&[]) && !enough(&[80, 443]));
        assert!(enough(&[443, 3478]) && enough(&[5]));
    }
}
