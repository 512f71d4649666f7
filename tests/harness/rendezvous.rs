//! A running `p2pdbg-rendezvous`.

use std::{ffi::OsString, process::Command};

use p2pdbg_proto::url::RendezvousUrl;

use super::{Home, Place, Process, Transcript, rendezvous_program};

/// A rendezvous that serves.
#[derive(Debug)]
pub struct Rendezvous {
    process: Process,
    url: RendezvousUrl,
    home: Home,
    place: Place,
    transcript: Transcript,
    arguments: Vec<OsString>,
}

/// How a rendezvous is started.
#[derive(Debug)]
pub struct RendezvousCommand {
    place: Place,
    transcript: Transcript,
    arguments: Vec<OsString>,
    home: Option<Home>,
}

impl RendezvousCommand {
    /// At these arguments of `--bind` and `--public`.
    pub fn new(place: &Place, bind: &str, public: &str, transcript: &Transcript) -> Self {
        let arguments = ["--bind", bind, "--alt-port", "0", "--public", public];
        Self {
            place: place.clone(),
            transcript: transcript.clone(),
            arguments: arguments.map(OsString::from).to_vec(),
            home: None,
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With the certificate and the key of another that has ended.
    #[must_use]
    pub fn home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Rendezvous {
        let Self {
            place,
            transcript,
            arguments,
            home,
        } = self;
        let home = home.unwrap_or_else(Home::new);
        let (process, url) = start(&place, &arguments, &home, &transcript);
        Rendezvous {
            process,
            url,
            home,
            place,
            transcript,
            arguments,
        }
    }
}

#[track_caller]
fn start(
    place: &Place,
    arguments: &[OsString],
    home: &Home,
    transcript: &Transcript,
) -> (Process, RendezvousUrl) {
    let mut command: Command = place.command(rendezvous_program());
    home.settle(&mut command);
    command.args(arguments).arg("--state").arg(home.state());
    let process = Process::start("rendezvous", command, transcript);
    let url = process.find("URL", |lines| lines.first().cloned());
    (process, url.parse().unwrap())
}

impl Rendezvous {
    /// What it printed, with the access key.
    pub fn url(&self) -> &RendezvousUrl {
        &self.url
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs another command of the program on its state directory; gives what that prints.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let mut command: Command = self.place.command(rendezvous_program());
        self.home.settle(&mut command);
        let output = command
            .args(arguments)
            .arg("--state")
            .arg(self.home.state())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts it again after its end, with the same arguments and what it keeps on disk.
    #[track_caller]
    pub fn start_again(&mut self) {
        let (process, url) = start(&self.place, &self.arguments, &self.home, &self.transcript);
        self.process = process;
        self.url = url;
    }

    /// Ends it; what it keeps on disk can be used again.
    pub fn stop(mut self) -> Home {
        self.process.kill();
        self.home
    }
}
