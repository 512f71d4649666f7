//! Having a debugger attach to a process: each tool is run as its manual says, by its arguments and never by a shell.

mod gdb_packets;
mod gdbserver;
mod python;
mod run;
mod trust;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use p2pdbg_base::Descriptors;
use p2pdbg_debugger::Preset;
use p2pdbg_facts::on_path;
use p2pdbg_net::listening;
use p2pdbg_proto::attach::{Refusal, Tool};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpListener,
    process::Child,
    time::{Instant, sleep},
};

use self::{
    python::{around_python, has_pydevd, has_remote_exec, is_being_debugged, with_debugpy},
    run::{PATIENCE, command, failed, finish, last_words, missing, start},
    trust::Trusted,
};
use crate::{
    GoesOn, debuggable_programs::Listening, preset, process::Process, ptrace_permission::may_trace,
};

/// How long a program may take to open the port of its own debugger.
const OPENING: Duration = Duration::from_secs(10);

/// How soon node's own thread wakes up for a signal that was delivered: in microseconds where a processor is free.
const WAKING: Duration = Duration::from_secs(1);

/// Between two looks whether a port is open.
const LOOK: Duration = Duration::from_millis(50);

/// What goes on after a debugger has attached.
pub(crate) enum Running {
    /// Nothing of ours: it is in the program.
    Within,
    /// `dlv`.
    Delve(Delve),
    /// The port at which a gdbserver is started for each gdb that comes, with so many descriptors.
    Gdbserver(TcpListener, Descriptors),
}

impl Running {
    /// What has to go on.
    pub(crate) fn goes_on(self, process: Process) -> Option<GoesOn> {
        match self {
            Self::Within => None,
            Self::Delve(mut delve) => Some(Box::pin(async move {
                let _ = delve.0.wait().await;
            })),
            Self::Gdbserver(listener, descriptors) => Some(Box::pin(gdbserver::serve_gdbs(
                listener,
                process,
                descriptors,
            ))),
        }
    }
}

/// A `dlv` that has attached. Dropped, it takes its breakpoints out and lets the program go.
pub(crate) struct Delve(Child);

impl Drop for Delve {
    fn drop(&mut self) {
        // None once it has ended.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

/// Has a debugger attach; at which port it awaits its IDE.
pub(crate) async fn attach(
    process: &Process,
    tool: Tool,
    port: u16,
    descriptors: Descriptors,
) -> Result<(u16, Running), Refusal> {
    match tool {
        Tool::Debugpy => debugpy(process, port, descriptors).await,
        Tool::Node => node(process).await,
        Tool::Jdwp => jdwp(process, descriptors).await,
        Tool::Delve => delve(process, port, descriptors).await,
        Tool::Gdbserver => gdbserver(process, port, descriptors).await,
    }
}

async fn debugpy(
    process: &Process,
    port: u16,
    descriptors: Descriptors,
) -> Result<(u16, Running), Refusal> {
    if let Some(port) = listens(process, Tool::Debugpy) {
        return Ok((port, Running::Within));
    }
    opens_its_port_here(process)?;
    if let Some(name) = around_python(process) {
        let way = format!(
            "debugpy.listen(5678) in its own code, behind debugpy.configure(python=\"python3\"): \
             it is a Python inside {name} (--with gdbserver is for the C of it)"
        );
        return Err(Refusal::StartedWithout(way));
    }
    may_trace(process)?;
    // What debugpy does first is to end the debugger that is there.
    let had_pydevd = has_pydevd(process);
    if had_pydevd && is_being_debugged(process) {
        let why = "a debugger is in the program already, which has gone to its IDE by itself \
                   (debugpy --connect, settrace) or awaits it at a port that cannot be seen; \
                   end that session first, or use it";
        return Err(failed(&why));
    }
    let python = with_debugpy(process, descriptors).await?;
    if !has_remote_exec(process) && on_path("gdb".as_ref()).is_none() {
        return Err(missing(
            "gdb, by which debugpy gets into a Python before 3.14",
        ));
    }
    let port = free(port).await?;
    let mut command = python.command();
    command.args(["-m", "debugpy", "--listen"]);
    command.arg(format!("127.0.0.1:{port}"));
    command.args(["--pid", &process.pid().to_string()]);
    finish(command, descriptors).await?;
    let opened = opened(|| Ok(is_open(port))).await;
    opened.map_err(|refusal| match had_pydevd {
        true => failed(
            &"debugpy was in the program before, and listens once in a process; start that anew",
        ),
        false => refusal,
    })?;
    Ok((port, Running::Within))
}

async fn node(process: &Process) -> Result<(u16, Running), Refusal> {
    if let Some(port) = listens(process, Tool::Node) {
        return Ok((port, Running::Within));
    }
    opens_its_port_here(process)?;
    // The signal would end a program that does not wait for it.
    if !process.catches(Signal::USR1) {
        let way = "node's own signal handler; it was started with --disable-sigusr1, or is no node";
        return Err(Refusal::StartedWithout(way.to_owned()));
    }
    let options = process.variable("NODE_OPTIONS").unwrap_or_default();
    let port = inspect_port(&process.command_line(), &options.to_string_lossy());
    // As of a program that has node in it under another name.
    if port != 0 && has_port(process, port) {
        return Ok((port, Running::Within));
    }
    // The inspector would not start, and say so nowhere but in the program's own output.
    if port != 0 && is_open(port) {
        return Err(Refusal::PortTaken(port));
    }
    let pid = pid_of(process)?;
    let before = process.sleeps_of_signal_thread();
    kill_process(pid, Signal::USR1).map_err(|error| failed(&error))?;
    let mut wakes_until = Instant::now() + WAKING;
    // Node's handler wakes a thread that waits for nothing else. A handler of the program's own, which has the place of
    // node's, looks the same from outside and leaves that thread asleep.
    let takes_it = || {
        if before.is_none() || process.has_pending(Signal::USR1) {
            wakes_until = Instant::now() + WAKING;
        }
        if Instant::now() < wakes_until || process.sleeps_of_signal_thread() != before {
            return Ok(());
        }
        let way = "--inspect=127.0.0.1:9229, since it handles SIGUSR1 itself (it was sent one now)";
        Err(Refusal::StartedWithout(way.to_owned()))
    };
    let port = listening_soon(process, Tool::Node, takes_it).await?;
    Ok((port, Running::Within))
}

/// The port at which node's inspector will listen; 0 is any. What a variable says comes before the command line's own,
/// of which what stands behind the script is the script's.
fn inspect_port(command_line: &[String], options: &str) -> u16 {
    let own = command_line.iter().skip(1).map(String::as_str);
    let mut words = options.split_whitespace().chain(own);
    let mut port = Preset::Node.default_port();
    while let Some(word) = words.next() {
        if matches!(word, "-r" | "--require" | "--import" | "--loader") {
            words.next();
            continue;
        }
        let of_a_script = [".js", ".mjs", ".cjs", ".ts"];
        if word == "--" || of_a_script.iter().any(|end| word.ends_with(end)) {
            break;
        }
        let named = match word.split_once('=') {
            Some(("--inspect-port" | "--debug-port", named)) => Some(named),
            None if matches!(word, "--inspect-port" | "--debug-port") => words.next(),
            _ => None,
        };
        let named = named.and_then(|named| named.rsplit(':').next()?.parse().ok());
        port = named.unwrap_or(port);
    }
    port
}

async fn jdwp(process: &Process, descriptors: Descriptors) -> Result<(u16, Running), Refusal> {
    if let Some(port) = listens(process, Tool::Jdwp) {
        return Ok((port, Running::Within));
    }
    opens_its_port_here(process)?;
    let waits = |word: &String| word.contains("jdwp") && word.contains("onjcmd=y");
    if !process.words().iter().any(waits) {
        let way = "-agentlib:jdwp=transport=dt_socket,server=y,address=127.0.0.1:5005,onjcmd=y";
        return Err(Refusal::StartedWithout(way.to_owned()));
    }
    // That of the same Java, if it has one.
    let beside = process.executable().map(|java| java.with_file_name("jcmd"));
    let beside = beside.filter(|jcmd| Trusted::with(process).hold(jcmd));
    let jcmd = beside.or_else(|| on_path("jcmd".as_ref()));
    let mut command = command(&jcmd.ok_or_else(|| missing("jcmd, of a JDK"))?);
    command.args([&process.pid().to_string(), "VM.start_java_debugging"]);
    finish(command, descriptors).await?;
    let port = listening_soon(process, Tool::Jdwp, || Ok(())).await?;
    Ok((port, Running::Within))
}

async fn delve(
    process: &Process,
    port: u16,
    descriptors: Descriptors,
) -> Result<(u16, Running), Refusal> {
    may_trace(process)?;
    let dlv = on_path("dlv".as_ref()).ok_or_else(|| missing("dlv"))?;
    let port = free(port).await?;
    let mut command = command(&dlv);
    command.args(["attach", &process.pid().to_string()]);
    command.args(["--headless", "--accept-multiclient", "--continue"]);
    command.args(["--api-version=2", &format!("--listen=127.0.0.1:{port}")]);
    // Killed outright it would leave its breakpoints in the program.
    command.kill_on_drop(false);
    let mut delve = Delve(start(command, descriptors).map_err(|error| failed(&error))?);
    let stderr = delve.0.stderr.take();
    let mut said = tokio::spawn(last_words(stderr));
    let until = Instant::now() + PATIENCE;
    while !is_open(port) {
        let ended = delve
            .0
            .try_wait()
            .map_err(|error| failed(&error))?
            .is_some();
        if ended {
            let said = (&mut said).await.unwrap_or_default();
            return Err(failed(&said));
        }
        if Instant::now() >= until {
            return Err(failed(&"dlv does not listen"));
        }
        sleep(LOOK).await;
    }
    Ok((port, Running::Delve(delve)))
}

async fn gdbserver(
    process: &Process,
    port: u16,
    descriptors: Descriptors,
) -> Result<(u16, Running), Refusal> {
    may_trace(process)?;
    on_path("gdbserver".as_ref()).ok_or_else(|| missing("gdbserver"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| taken(port, &error))?;
    let port = listener
        .local_addr()
        .map_err(|error| failed(&error))?
        .port();
    Ok((port, Running::Gdbserver(listener, descriptors)))
}

/// For a debugger that listens in the program itself: nothing is begun there whose port cannot be reached from here.
fn opens_its_port_here(process: &Process) -> Result<(), Refusal> {
    match process.is_on_other_network() {
        true => Err(Refusal::Container),
        false => Ok(()),
    }
}

/// The port, if nothing has it, or one that nothing has.
async fn free(port: u16) -> Result<u16, Refusal> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let address: io::Result<SocketAddr> = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| taken(port, &error))
}

fn taken(port: u16, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::AddrInUse => Refusal::PortTaken(port),
        _ => failed(error),
    }
}

fn is_open(port: u16) -> bool {
    listening::seen_on(port)
}

/// Whether it is this very process that listens on a port.
pub(crate) fn has_port(process: &Process, port: u16) -> bool {
    let mut sockets = listening::all();
    sockets.retain(|socket| socket.address.port() == port);
    let its_own = process.sockets();
    sockets.iter().any(|socket| its_own.contains(&socket.inode))
}

/// The port at which a process awaits the IDE of its debugger.
fn listens(process: &Process, tool: Tool) -> Option<u16> {
    Listening::now().port_of(process, preset(tool))
}

/// Waits until a process awaits the IDE of its debugger, for as long as there is hope for it.
async fn listening_soon(
    process: &Process,
    tool: Tool,
    mut hope: impl FnMut() -> Result<(), Refusal>,
) -> Result<u16, Refusal> {
    let mut port = None;
    let looked = opened(|| {
        port = listens(process, tool);
        match port {
            Some(_) => Ok(true),
            None => hope().map(|()| false),
        }
    });
    looked.await?;
    port.ok_or_else(|| failed(&"it does not listen"))
}

/// Waits until it is seen that something is open, or will not be.
async fn opened(mut look: impl FnMut() -> Result<bool, Refusal>) -> Result<(), Refusal> {
    let until = Instant::now() + OPENING;
    while !look()? {
        if Instant::now() >= until {
            let why = "it opened no port; what it says of that is in the program's own output";
            return Err(failed(&why));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn pid_of(process: &Process) -> Result<Pid, Refusal> {
    let pid = i32::try_from(process.pid()).ok();
    pid.and_then(Pid::from_raw).ok_or(Refusal::Gone)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::OwnedFd, path::Path, process::Command};

    use super::*;
    use crate::{process, written_programs::copy_program};

    /// Waits until it is seen of a process.
    fn once(child: &std::process::Child, is_so: impl Fn(&Process) -> bool) -> Process {
        loop {
            let process = process::find(child.id()).unwrap();
            if is_so(&process) {
                return process;
            }
            std::thread::yield_now();
        }
    }

    fn end(mut child: std::process::Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As a program that has node in it, whose words say nothing of that.
    #[tokio::test]
    async fn program_that_has_the_inspectors_port_itself_is_not_told_that_something_else_has() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let start = |input: std::process::Stdio| {
            Command::new("sh")
                .args(["-c", "trap : USR1; while :; do sleep 1; done"])
                .env("NODE_OPTIONS", format!("--inspect-port={port}"))
                .stdin(input)
                .spawn()
                .unwrap()
        };
        let children = [
            start(OwnedFd::from(socket).into()),
            start(std::process::Stdio::null()),
        ];
        let mut said = Vec::new();
        for child in &children {
            let process = once(child, |process| process.catches(Signal::USR1));
            said.push(node(&process).await.map(|(port, _)| port));
        }
        children.into_iter().for_each(end);
        assert_eq!(said, [Ok(port), Err(Refusal::PortTaken(port))]);
    }

    #[tokio::test]
    async fn python_inside_another_program_is_refused_with_what_to_do_in_its_code() {
        let directory = tempfile::tempdir().unwrap();
        let own = process::find(std::process::id()).unwrap().code_files();
        let is_library = |file: &&std::path::PathBuf| file.to_string_lossy().contains("/libgcc_s");
        let library = directory.path().join("libpython3.12.so.1.0");
        copy_program(own.iter().find(is_library).unwrap(), &library);
        let embedding = directory.path().join("embedding");
        let uwsgi = directory.path().join("uwsgi");
        for file in [&embedding, &uwsgi] {
            copy_program(Path::new("/bin/sh"), file);
        }
        for (file, preloaded) in [(&embedding, library.as_path()), (&uwsgi, Path::new(""))] {
            let child = Command::new(file)
                .args(["-c", "while :; do sleep 1; done"])
                .env("LD_PRELOAD", preloaded)
                .spawn()
                .unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            let is_there = |process: &Process| {
                let files = process.code_files();
                process.executable_name().as_deref() == Some(name)
                    && (preloaded == Path::new("") || files.iter().any(|file| file == preloaded))
            };
            let process = once(&child, is_there);
            let said = debugpy(&process, 0, Descriptors::default()).await.err();
            end(child);
            let Some(Refusal::StartedWithout(way)) = said else {
                panic!("{name}: {said:?}");
            };
            assert!(
                way.contains("debugpy.configure") && way.contains(name),
                "{way}"
            );
        }
    }

    #[test]
    fn port_of_nodes_inspector_is_the_one_that_it_was_told() {
        let port = |line: &str, options: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            inspect_port(&words, options)
        };
        assert_eq!(port("node app.js", ""), 9229);
        assert_eq!(port("node --inspect-port=9300 app.js", ""), 9300);
        assert_eq!(port("node --inspect-port 127.0.0.1:9301 app.js", ""), 9301);
        assert_eq!(port("node --inspect-port=[::1]:0 app.js", ""), 0);
        assert_eq!(port("node app.js", "--debug-port=9302 --no-warnings"), 9302);
        assert_eq!(
            port("node --inspect-port=9303 app.js", "--inspect-port=9302"),
            9303
        );
        assert_eq!(port("node --inspect-port=here app.js", ""), 9229);
        assert_eq!(port("node app.js --debug-port 9302", ""), 9229);
        assert_eq!(
            port("node -r ./before.js --inspect-port=9303 app.js", ""),
            9303
        );
    }
}
