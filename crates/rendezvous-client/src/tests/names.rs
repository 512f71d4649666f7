//! A link whose rendezvous has a name, and a resolver that is of little use once it is up.

use std::{io, sync::Mutex};

use tokio::io::AsyncReadExt;

use super::*;
use crate::names::Names;

/// The state of a rendezvous that is no more, and where it was.
pub(super) fn stopped(rig: Rig) -> (SocketAddr, TempDir) {
    let address = rig.server.addresses()[0];
    drop(rig.server);
    (address, rig._state)
}

/// Starts it at that address as soon as that is free.
pub(super) async fn again(address: SocketAddr, state: &TempDir) -> Server {
    let config = || ServerConfig {
        bind: vec![address],
        alt_port: 0,
        state: Some(state.path().into()),
        open: true,
        ..ServerConfig::default()
    };
    let starting = async {
        loop {
            match Server::start(config()).await {
                Ok(server) => return server,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    soon(Box::pin(starting)).await
}

/// What the resolver knows of the one name.
#[derive(Clone, Copy, Debug)]
enum Answer {
    At(SocketAddr),
    /// Nothing ever comes.
    Silence,
    Failure,
    /// As where the first of several servers is gone: later than any attempt lasts.
    Late(SocketAddr),
}

async fn answer(known: Answer) -> io::Result<Vec<SocketAddr>> {
    match known {
        Answer::At(address) => Ok(vec![address]),
        Answer::Silence => std::future::pending().await,
        Answer::Failure => Err(io::Error::other("no server")),
        Answer::Late(address) => {
            tokio::time::sleep(Duration::from_secs(7)).await;
            Ok(vec![address])
        }
    }
}

/// A link to that rendezvous by a name, which is found where it is at first.
struct ByName {
    link: Link,
    names: Names,
    known: Arc<Mutex<Answer>>,
}

impl ByName {
    async fn up(rig: &Rig, transports: Transports) -> Self {
        let known = Arc::new(Mutex::new(Answer::At(rig.server.addresses()[0])));
        let asked = Arc::clone(&known);
        let names = Names::asking(move |_| Box::pin(answer(*asked.lock().unwrap())));
        let url = RendezvousUrl {
            host: "localhost".into(),
            ..rig.url()
        };
        let config = LinkConfig {
            route: TcpRoute::new(&url).knowing(names.clone()),
            url,
            transports,
        };
        let mut link = Link::open(config, Credential::None, &Changes::silent());
        up(&mut link).await;
        Self { link, names, known }
    }

    /// From now on the resolver knows this, and what was found a moment ago counts no more.
    fn knows(&self, answer: Answer) {
        *self.known.lock().unwrap() = answer;
        self.names.begin_anew();
    }
}

#[tokio::test]
async fn rendezvous_whose_name_is_found_no_more_is_reached_again_where_it_was() {
    for transports in [Transports::Any, Transports::Tcp] {
        for answer in [Answer::Silence, Answer::Failure] {
            let rig = Rig::start().await;
            let mut by_name = ByName::up(&rig, transports).await;
            by_name.knows(answer);
            let (address, state) = stopped(rig);
            let _server = again(address, &state).await;
            by_name.link.nudge();
            soon(up(&mut by_name.link)).await;
        }
    }
}

#[tokio::test]
async fn rendezvous_that_has_moved_is_reached_again_though_its_name_takes_longer_than_an_attempt() {
    let rig = Rig::start().await;
    let mut by_name = ByName::up(&rig, Transports::Any).await;
    let (_, state) = stopped(rig);
    let server = again("127.0.0.1:0".parse().unwrap(), &state).await;
    by_name.knows(Answer::Late(server.addresses()[0]));
    by_name.link.nudge();
    soon(up(&mut by_name.link)).await;
}

#[tokio::test]
async fn resolver_that_does_not_answer_is_told_of_where_the_rendezvous_is_not_where_it_was() {
    let rig = Rig::start().await;
    let mut by_name = ByName::up(&rig, Transports::Any).await;
    by_name.knows(Answer::Silence);
    let _gone = stopped(rig);
    by_name.link.nudge();
    let error = loop {
        match down(&mut by_name.link).await {
            LinkError::Lost(_) => {}
            error => break error,
        }
    };
    assert!(matches!(error, LinkError::Resolve { .. }), "{error}");
    assert!(error.to_string().contains("the resolver does not answer"));
}

/// An HTTP proxy that leads there, wherever it is asked to.
async fn proxy_to(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await?);
                }
                let mut far = TcpStream::connect(address).await?;
                near.write_all(b"HTTP/1.1 200 -\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    at
}

#[tokio::test]
async fn node_is_known_by_its_own_name_where_it_was_reached_by_another_unless_a_proxy_led_there() {
    let authority = authority();
    let nodes = [node(17), node(23)];
    let home = Rig::node(&authority, 17, &nodes).await;
    let address = home.server.addresses()[0];
    let of_all: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let (forwarded, _silent, _) = tcp_alone(address).await;
    for (name, proxy) in [(of_all, Some(proxy_to(address).await)), (forwarded, None)] {
        let names = Names::default();
        let at: HostAt = name.to_string().parse().unwrap();
        // It may have led to another node before.
        names.note_reached(&at, "127.0.0.1:2".parse().unwrap());
        let url = url_of(&authority, &[at]);
        let route = TcpRoute::new(&url).knowing(names.clone());
        let route = match proxy {
            Some(proxy) => route.by(proxy),
            None => route,
        };
        let config = LinkConfig {
            route: route.clone(),
            url,
            transports: Transports::Tcp,
        };
        let mut link = Link::open(config, Credential::None, &Changes::silent());
        up(&mut link).await;
        let told = async {
            while route.nodes().is_none() {
                tokio::task::yield_now().await;
            }
        };
        soon(told).await;
        let expected = proxy.is_none().then_some(name);
        let reached = names.reached(&nodes[0].at);
        assert_eq!(reached, Vec::from_iter(expected), "{name}");
    }
}
