//! The control socket of a running process: `p2pdbg status`, and `p2pdbg pipe`.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use p2pdbg_events::{
    PathKind, StreamState,
    snapshot::{ForwardStanding, ProcessSnapshot, ProcessState, SessionCommand, SessionState},
};
use rustix::process::Signal;

use crate::harness::{
    Home, Peer, Setting, eventually,
    traffic::{accept, finish, receive_end, reset, say, send},
};

/// A command of the user whose home it is.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut command);
    command.args(arguments);
    command
}

pub(crate) fn run(home: &Home, arguments: &[&str]) -> Output {
    command(home, arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What runs in that home, as `p2pdbg status --json` has it.
#[track_caller]
fn status(home: &Home) -> Vec<ProcessSnapshot> {
    let output = run(home, &["status", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The one process that runs in the peer's home.
#[track_caller]
fn status_of(peer: &Peer) -> ProcessSnapshot {
    let mut processes = status(&peer.home());
    assert_eq!(processes.len(), 1, "{processes:?}");
    processes.remove(0)
}

fn sockets(home: &Home) -> Vec<PathBuf> {
    let directory = home.path().join("run/p2pdbg");
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "sock"))
        .collect()
}

/// A `p2pdbg pipe`.
struct Pipe(Child);

impl Pipe {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = command(home, &[&["pipe"], arguments].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut bytes)
            .unwrap();
        bytes
    }

    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0
            .stdout
            .as_mut()
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    #[track_caller]
    fn exit(mut self) -> (i32, String) {
        let status = eventually("end of the pipe", || self.0.try_wait().unwrap());
        let mut errors = String::new();
        self.0
            .stderr
            .as_mut()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        (status.code().unwrap(), errors)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn status_tells_of_the_session_its_path_its_forwards_and_its_streams() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    pair.listener.path(PathKind::Direct);
    let listener = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    let dialled = accept(&listener);
    say(&opened, &dialled, "one two three");
    say(&dialled, &opened, "four");

    // What was heard is counted once the stream's task has written it.
    let there = eventually("counted streams", || {
        let process = status_of(&pair.listener);
        let stream = process.sessions.first()?.streams.first()?;
        (stream.received == 4).then_some(process)
    });
    assert_eq!(there.command, SessionCommand::Listen);
    assert_eq!(there.state, ProcessState::InSession);
    assert_eq!(there.pid, pair.listener.id());
    assert_eq!(there.parent, Some(std::process::id()));
    let session = &there.sessions[0];
    assert_eq!(session.state, SessionState::Connected);
    assert_eq!(session.paths.last().unwrap().kind, PathKind::Direct);
    assert!(session.rtt_ms.is_some() && !session.samples.is_empty());
    assert_eq!(
        session.forwards[0]
            .listen
            .as_ref()
            .unwrap()
            .address()
            .unwrap()
            .port,
        port
    );
    assert_eq!(session.forwards[0].state, ForwardStanding::Up);
    let stream = &session.streams[0];
    assert_eq!(stream.state, Some(StreamState::Open));
    assert_eq!(stream.to.as_ref().unwrap().port, target);
    assert_eq!((stream.sent, stream.received), (13, 4));

    let process = status_of(&pair.connector);
    assert_eq!(process.command, SessionCommand::Connect);
    let stream = &process.sessions[0].streams[0];
    assert_eq!((stream.sent, stream.received), (4, 13));

    // A tunnel that the peer has dialled may be there before this end knows how the path was found.
    let text = eventually("how the path was found", || {
        let output = run(&pair.listener.home(), &["status"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("direct by").then_some(text)
    });
    assert!(
        text.contains(&format!("-> localhost:{target} there")),
        "{text}"
    );
}

#[test]
fn status_tells_of_a_listener_that_waits_and_never_its_code() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let code = listener.code().to_string();
    let process = status_of(&listener);
    assert_eq!(process.state, ProcessState::AwaitingPeer);
    assert!(process.sessions.is_empty());
    let output = run(&listener.home(), &["status", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let word = code.rsplit('-').next().unwrap();
    assert!(!text.contains(word), "{text}");
}

#[test]
fn a_socket_is_its_users_alone_and_goes_with_its_process_however_that_ends() {
    let setting = Setting::loopback();
    // Another test may have the usual one.
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let mut listener = setting.listener().args(["-L", &forward]).start();
    listener.code();
    let home = listener.home();
    let socket = sockets(&home).remove(0);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    listener.stop();
    assert!(sockets(&home).is_empty());

    let again = setting.listener().args(["-L", &forward]);
    let mut listener = again.home(home.clone()).start();
    listener.code();
    listener.signal(Signal::KILL);
    listener.wait();
    assert_eq!(sockets(&home).len(), 1);
    assert!(status(&home).is_empty());
    assert!(sockets(&home).is_empty());
}

#[test]
fn whoever_asks_and_does_not_read_holds_nobody_up() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let socket = sockets(&pair.listener.home()).remove(0);
    let mut deaf = UnixStream::connect(&socket).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let question = b"{\"p2pdbg\":1,\"ask\":\"status\"}\n".repeat(1000);
    while deaf.write(&question).is_ok() {}
    let listener = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listener), "still here");
    status_of(&pair.listener);
    eventually("end of its connection", || match deaf.write(b"\n") {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(()),
        Ok(_) => None,
    });
}

#[test]
fn a_pipe_joins_standard_input_and_output_and_each_direction_ends_on_its_own() {
    let setting = Setting::loopback();
    let target = setting.port();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &forward]);
    let listener = setting.debuggee.listen(target);
    let to = format!("localhost:{target}");
    let mut pipe = Pipe::start(&pair.listener.home(), &[&to]);
    let dialled = accept(&listener);
    pipe.write(b"hello");
    let mut heard = [0; 5];
    (&dialled).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    drop(pipe.0.stdin.take());
    receive_end(&dialled);
    // The other direction goes on.
    send(&dialled, 7, 3 << 20);
    finish(&dialled);
    let all = pipe.read_to_end();
    assert_eq!(all.len(), 3 << 20);
    assert_eq!(pipe.exit(), (0, String::new()));
}

#[test]
fn a_target_that_ends_first_closes_standard_output_and_still_hears_standard_input() {
    let setting = Setting::loopback();
    let target = setting.port();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &forward]);
    let listener = setting.debuggee.listen(target);
    let to = format!("localhost:{target}");
    // What an IDE appends is ignored.
    let mut pipe = Pipe::start(&pair.listener.home(), &[&to, "gdb", "--interpreter=mi"]);
    let dialled = accept(&listener);
    (&dialled).write_all(b"bye").unwrap();
    finish(&dialled);
    assert_eq!(pipe.read_to_end(), b"bye");
    pipe.write(b"so long");
    drop(pipe.0.stdin.take());
    let mut heard = Vec::new();
    (&dialled).read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"so long");
    assert_eq!(pipe.exit(), (0, String::new()));
}

#[test]
fn a_pipe_that_breaks_fails_and_says_so() {
    let setting = Setting::loopback();
    let target = setting.port();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let mut pair = setting.pair(["-L", &forward]);
    let listener = setting.debuggee.listen(target);
    let to = format!("localhost:{target}");
    let home = pair.listener.home();

    let mut pipe = Pipe::start(&home, &[&to]);
    let dialled = accept(&listener);
    pipe.write(b"hello");
    let mut heard = [0; 5];
    (&dialled).read_exact(&mut heard).unwrap();
    reset(dialled);
    let (status, errors) = pipe.exit();
    assert_eq!(status, 1);
    assert!(errors.contains("broken off"), "{errors}");

    let mut pipe = Pipe::start(&home, &[&to]);
    let dialled = accept(&listener);
    (&dialled).write_all(b"x").unwrap();
    assert_eq!(pipe.read(1), b"x");
    pair.listener.stop();
    assert_eq!(pipe.exit().0, 1);
}

#[test]
fn a_pipe_that_is_killed_ends_its_connection() {
    let setting = Setting::loopback();
    let target = setting.port();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &forward]);
    let listener = setting.debuggee.listen(target);
    let pipe = Pipe::start(&pair.listener.home(), &[&format!("localhost:{target}")]);
    let dialled = accept(&listener);
    drop(pipe);
    receive_end(&dialled);
}

#[test]
fn a_pipe_reaches_no_more_than_the_debuggees_host_allows() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &forward]);
    let home = pair.listener.home();
    let (status, errors) = Pipe::start(&home, &["192.0.2.1:22"]).exit();
    assert_eq!(status, 1);
    assert!(errors.contains("--allow 192.0.2.1:22"), "{errors}");
    // At the other end there is nothing to pipe to.
    let (status, errors) = Pipe::start(&pair.connector.home(), &["localhost:1"]).exit();
    assert_eq!(status, 1);
    assert!(errors.contains("for the IDE's host"), "{errors}");
    let (status, errors) = Pipe::start(&home, &["--peer", "nobody", "localhost:1"]).exit();
    assert_eq!(status, 1);
    assert!(errors.contains("nobody"), "{errors}");
}
