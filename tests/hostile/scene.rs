//! A session in which something is under way when the attack comes.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use p2pdbg_events::{Event, StreamState, WarningCode};

use crate::{
    friend::{Friend, Stream, Talk},
    harness::{PATIENCE, Peer, Place, Setting},
};

/// The epoch of the good tunnel.
pub(crate) const EPOCH: u64 = 20;

/// A listener, its friend, a tunnel, and a stream on it.
pub(crate) struct Scene {
    pub(crate) ide: TcpStream,
    pub(crate) stream: Stream,
    pub(crate) talk: Talk,
    pub(crate) friend: Friend,
    pub(crate) listener: Peer,
    port: u16,
    pub(crate) setting: Setting,
}

impl Scene {
    pub(crate) async fn begin() -> Self {
        let setting = Setting::loopback();
        let port = setting.port();
        let forward = format!("{port}:localhost:{port}");
        let listener = setting.listener().args(["-L", &forward]).start();
        let url = setting.rendezvous.url().without_key();
        let friend = Friend::pair(url, listener.code()).await;
        let talk = friend.tunnel(EPOCH).await;
        let ide = Place::Here.connect(port);
        (&ide).write_all(b"?").unwrap();
        let stream = talk.stream().await;
        let mut scene = Self {
            ide,
            stream,
            talk,
            friend,
            listener,
            port,
            setting,
        };
        scene.hears(b"?").await;
        scene.works().await;
        scene
    }

    /// One more connection of the IDE, and its stream.
    pub(crate) async fn another(&self) -> (TcpStream, Stream) {
        let ide = Place::Here.connect(self.port);
        (&ide).write_all(b"?").unwrap();
        (ide, self.talk.stream().await)
    }

    async fn hears(&mut self, what: &[u8]) {
        let mut heard = vec![0; what.len()];
        self.stream.from.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, what);
    }

    /// Uses the stream in both directions.
    pub(crate) async fn works(&mut self) {
        (&self.ide).write_all(b"to the debuggee").unwrap();
        self.hears(b"to the debuggee").await;
        self.stream.to.write_all(b"to the IDE").await.unwrap();
        self.ide.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = [0; 10];
        self.ide.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"to the IDE");
    }

    /// Sees that the attack was counted under this name, and that the session has not noticed it.
    pub(crate) async fn unmoved(mut self, kind: &str) {
        self.works().await;
        self.counted(kind);
        assert!(self.talk.connection.close_reason().is_none());
        let moved = |event: &Event| match event {
            Event::PeerLost { .. } | Event::Resumed { .. } | Event::Closed { .. } => true,
            Event::Stream { state, .. } => *state != StreamState::Open,
            _ => false,
        };
        let events = self.listener.events();
        let moved: Vec<&Event> = events.iter().filter(|event| moved(event)).collect();
        assert!(moved.is_empty(), "{moved:?}");
        let paths = self.listener.paths();
        assert_eq!(paths.len(), 1, "{paths:?}");
    }

    /// Waits for a warning with this in it.
    pub(crate) fn counted(&self, kind: &str) {
        let refused = format!("tunnels or messages refused: {kind}");
        self.listener.event(&refused, |event| match event {
            Event::Warning(warning) if warning.code == WarningCode::Refused => {
                warning.message.contains(kind).then_some(())
            }
            _ => None,
        });
    }
}
