//! Where the three programs of a session run.

use std::ffi::OsString;

use p2pdbg_proto::code::Code;

use super::{Peer, PeerCommand, Place, Ports, Rendezvous, RendezvousCommand, Transcript};

/// The places of a session, and the rendezvous that serves there.
///
/// To be made first in a test, so that it is dropped last: then it prints what everybody said, if the test failed.
#[derive(Debug)]
pub struct Setting {
    /// Where `p2pdbg listen` runs.
    pub ide: Place,
    /// Where `p2pdbg connect` runs.
    pub debuggee: Place,
    /// Where the rendezvous runs.
    pub public: Place,
    /// The rendezvous.
    pub rendezvous: Rendezvous,
    /// What everybody says.
    pub transcript: Transcript,
    ports: Ports,
    /// What both peers are started with.
    arguments: Vec<OsString>,
}

/// Two peers that have paired.
#[derive(Debug)]
pub struct Pair {
    /// Beside the IDE.
    pub listener: Peer,
    /// On the debuggee's host.
    pub connector: Peer,
}

impl Setting {
    /// All on this host, without root.
    pub fn loopback() -> Self {
        let transcript = Transcript::new();
        let rendezvous =
            RendezvousCommand::new(&Place::Here, "127.0.0.1:0", "127.0.0.1", &transcript).start();
        Self {
            ide: Place::Here,
            debuggee: Place::Here,
            public: Place::Here,
            rendezvous,
            transcript,
            ports: Ports::default(),
            arguments: Vec::new(),
        }
    }

    /// With the rendezvous at a public address and the peers wherever they are.
    pub fn of(ide: Place, debuggee: Place, public: Place, address: std::net::IpAddr) -> Self {
        Self::with_rendezvous(ide, debuggee, public, &address.to_string(), [""; 0])
    }

    /// The same, with what the rendezvous is called and with more arguments of it.
    pub fn with_rendezvous<A: Into<OsString>>(
        ide: Place,
        debuggee: Place,
        public: Place,
        host: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let transcript = Transcript::new();
        let rendezvous = RendezvousCommand::new(&public, "0.0.0.0:3478", host, &transcript)
            .args(arguments)
            .start();
        Self::at(ide, debuggee, public, rendezvous, transcript)
    }

    /// With a rendezvous that serves already.
    pub fn at(
        ide: Place,
        debuggee: Place,
        public: Place,
        rendezvous: Rendezvous,
        transcript: Transcript,
    ) -> Self {
        Self {
            ide,
            debuggee,
            public,
            rendezvous,
            transcript,
            ports: Ports::default(),
            arguments: Vec::new(),
        }
    }

    /// The same, with both peers started with `--path KIND`.
    #[must_use]
    pub fn with_path(mut self, kind: &str) -> Self {
        self.arguments = vec!["--path".into(), kind.into()];
        self
    }

    /// A port that is free at both ends and used by no other test.
    pub fn port(&self) -> u16 {
        self.ports.next()
    }

    /// The first of so many such ports in a row.
    pub fn ports(&self, length: u16) -> u16 {
        self.ports.next_row(length)
    }

    /// `p2pdbg listen`.
    pub fn listener(&self) -> PeerCommand {
        PeerCommand::new("listen", &self.ide, &self.transcript)
            .env("P2PDBG_RENDEZVOUS", self.rendezvous.url().to_string())
            .args(self.arguments.clone())
    }

    /// `p2pdbg connect`, which does not know the access key.
    pub fn connector(&self) -> PeerCommand {
        let url = self.rendezvous.url().without_key();
        PeerCommand::new("connect", &self.debuggee, &self.transcript)
            .env("P2PDBG_RENDEZVOUS", url.to_string())
            .args(self.arguments.clone())
    }

    /// `p2pdbg connect` with a code, which is passed where other users cannot see it.
    pub fn connector_with(&self, code: &Code) -> PeerCommand {
        self.connector().env("P2PDBG_CODE", code.to_string())
    }

    /// Both, with these arguments of `listen`, paired by code.
    #[track_caller]
    pub fn pair<A: Into<OsString>>(&self, forwards: impl IntoIterator<Item = A>) -> Pair {
        let listener = self.listener().args(forwards).start();
        let connector = self.connector_with(&listener.code()).start();
        listener.paired();
        connector.paired();
        Pair {
            listener,
            connector,
        }
    }

    /// Both, with these arguments of `listen`, paired and with this open port at the end that opens it.
    #[track_caller]
    pub fn pair_with_port<A: Into<OsString>>(
        &self,
        forwards: impl IntoIterator<Item = A>,
        port: u16,
    ) -> Pair {
        let pair = self.pair(forwards);
        pair.listener.forward(port);
        pair.connector.forward(port);
        pair
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- what everybody said ---\n{}\n---",
                self.transcript.text()
            );
        }
    }
}
