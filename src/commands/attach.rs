//! `p2pdbg attach`: has a debugger attach to a program that runs at the debuggee's host, over the session of the
//! `p2pdbg listen` that runs here, and sees to it that a forward leads there.

use p2pdbg_base::Failure;

use crate::cli::args::AttachArgs;

/// Lists the programs, or has a debugger attach to one.
///
/// # Errors
/// If there is no session, the other end refuses, or there is no such program, or several.
pub async fn run(args: AttachArgs) -> Result<(), Failure> {
    here::run(args).await
}

mod here {
    use std::io;

    use p2pdbg_attach::{Conversation, preset};
    use p2pdbg_base::{ErrorCode, Failure, Untrusted, say};
    use p2pdbg_events::snapshot::{ForwardSnapshot, SessionSnapshot};
    use p2pdbg_forward::Within;
    use p2pdbg_proto::attach::{
        AttachMessage, MAX_COMMAND, MAX_WHY, Program, Refusal, Tool, Wanted,
    };

    use super::super::{debuggee_stream::conversation, running_session};
    use crate::{
        cli::args::{AttachArgs, AttachBy},
        control_socket::protocol::Request,
        stdout,
    };

    pub(super) async fn run(args: AttachArgs) -> Result<(), Failure> {
        let peer = args.peer.as_deref();
        let request = Request::Programs {
            peer: peer.map(str::to_owned),
        };
        let mut talk = Conversation::over(conversation(peer, &request).await?);
        let meant = args.program.clone().unwrap_or_default();
        let (programs, more) = list(&mut talk, meant).await?;
        let Some(meant) = &args.program else {
            return show(&programs, more);
        };
        let program = choose(&programs, meant)?;
        let tool = args.with.map_or(program.tool, tool);
        let (_, session) = running_session::look(peer).await?;
        let port = match program.port.filter(|_| tool == program.tool) {
            Some(port) => port,
            None => attach(&mut talk, program, tool, free_forward(&session, tool)).await?,
        };
        let listen = match running_session::leading_to(&session, port) {
            Some(listen) => listen,
            None => running_session::forward(peer, port, preset(tool)).await?,
        };
        let name = preset(tool).name();
        let what = command(program);
        let pid = program.pid;
        stdout::print(|out| {
            writeln!(
                out,
                "{name} is attached to process {pid} ({what}): let the IDE attach to {listen}"
            )
        })
    }

    /// What a debugger is called on the command line.
    fn tool(by: AttachBy) -> Tool {
        match by {
            AttachBy::Debugpy => Tool::Debugpy,
            AttachBy::Node => Tool::Node,
            AttachBy::Jdwp => Tool::Jdwp,
            AttachBy::Delve => Tool::Delve,
            AttachBy::Gdbserver => Tool::Gdbserver,
        }
    }

    async fn list(
        talk: &mut Conversation<Within>,
        meant: String,
    ) -> Result<(Vec<Program>, u32), Failure> {
        match ask(talk, &AttachMessage::List { meant }).await? {
            AttachMessage::Listed { programs, more } => Ok((programs, more)),
            AttachMessage::Refused(refusal) => Err(refused(&refusal)),
            _ => Err(misbehaved()),
        }
    }

    /// Has the debugger attach, at the port of the forward if it can be.
    async fn attach(
        talk: &mut Conversation<Within>,
        program: &Program,
        tool: Tool,
        port: u16,
    ) -> Result<u16, Failure> {
        let mut wanted = Wanted {
            pid: program.pid,
            started: program.started,
            tool,
            port,
        };
        loop {
            match ask(talk, &AttachMessage::Attach(wanted.clone())).await? {
                AttachMessage::Attached { port } if port != 0 => return Ok(port),
                // Another debugger awaits its IDE there.
                AttachMessage::Refused(Refusal::PortTaken(_)) if wanted.port != 0 => {
                    wanted.port = 0;
                }
                AttachMessage::Refused(refusal) => return Err(refused(&refusal)),
                _ => return Err(misbehaved()),
            }
        }
    }

    async fn ask(
        talk: &mut Conversation<Within>,
        question: &AttachMessage,
    ) -> Result<AttachMessage, Failure> {
        talk.ask(question)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => misbehaved(),
                _ => Failure::new(ErrorCode::PeerGone, "the session ended, or does not answer"),
            })
    }

    /// The program that is meant: by the number of its process, or by what stands in its command line alone.
    fn choose<'a>(programs: &'a [Program], meant: &str) -> Result<&'a Program, Failure> {
        let by_number = meant.parse::<u32>().ok();
        let is_meant = |program: &&Program| match by_number {
            Some(pid) => program.pid == pid,
            None => program.command.contains(meant),
        };
        let found: Vec<&Program> = programs.iter().filter(is_meant).collect();
        // What started it has its words too.
        let of_their_own = found.iter().copied().filter(|one| !is_launcher(one));
        match (&found[..], &of_their_own.collect::<Vec<_>>()[..]) {
            ([program], _) | (_, [program]) => Ok(program),
            ([], _) => {
                let message = format!("no program of connect's user at the debuggee is {meant:?}");
                Err(Failure::new(ErrorCode::NotAttached, message).hint("p2pdbg attach lists them"))
            }
            _ => {
                let lines: Vec<String> = found.iter().take(8).map(|one| line(one)).collect();
                let message = format!("several programs are {meant:?}:\n{}", lines.join("\n"));
                Err(Failure::new(ErrorCode::NotAttached, message).hint("name one by its number"))
            }
        }
    }

    /// Whether it is one of the programs that run another one, with its command line behind their own words.
    fn is_launcher(program: &Program) -> bool {
        let first = program.command.split(' ').next().unwrap_or_default();
        let name = first.rsplit('/').next().unwrap_or_default();
        // A shell of a login has a hyphen before its name.
        LAUNCHERS.contains(&name.trim_start_matches('-'))
    }

    /// What runs another program, by the names of their files.
    const LAUNCHERS: [&str; 36] = [
        "bash",
        "busybox",
        "chroot",
        "chrt",
        "dash",
        "doas",
        "dumb-init",
        "env",
        "fish",
        "flock",
        "ionice",
        "ip",
        "ksh",
        "ltrace",
        "make",
        "nice",
        "nohup",
        "nsenter",
        "p2pdbg",
        "prlimit",
        "runuser",
        "setpriv",
        "setsid",
        "sh",
        "stdbuf",
        "strace",
        "su",
        "sudo",
        "systemd-run",
        "taskset",
        "time",
        "timeout",
        "tini",
        "unshare",
        "uv",
        "zsh",
    ];

    fn show(programs: &[Program], more: u32) -> Result<(), Failure> {
        stdout::print(|out| {
            let mut programs = programs.iter();
            programs.try_for_each(|program| writeln!(out, "{}", line(program)))
        })?;
        if more > 0 {
            say!("note: there are {more} more");
        }
        if !programs.is_empty() {
            say!("p2pdbg attach PID has the debugger attach that is named");
        }
        Ok(())
    }

    fn line(program: &Program) -> String {
        let awaits = program
            .port
            .map_or_else(String::new, |port| format!(" (listens on {port})"));
        let name = preset(program.tool).name();
        format!("{:>7}  {name:9}  {}{awaits}", program.pid, command(program))
    }

    fn command(program: &Program) -> Untrusted {
        Untrusted::limited(&program.command, MAX_COMMAND)
    }

    /// The port at the debuggee of the forward that is for this debugger, or 0.
    fn free_forward(session: &SessionSnapshot, tool: Tool) -> u16 {
        let preset = preset(tool);
        let is_for = |forward: &&ForwardSnapshot| match forward.debugger {
            Some(debugger) => debugger == preset,
            // `auto` names none; its port does.
            None => forward.to.port == preset.default_port(),
        };
        let mut fitting = running_session::forwards(session).filter(is_for);
        fitting.next().map_or(0, |forward| forward.to.port)
    }

    fn misbehaved() -> Failure {
        let message = "the debuggee's end broke the protocol";
        Failure::new(ErrorCode::PeerMisbehaved, message)
    }

    /// What a refusal means, and what to do.
    fn refused(refusal: &Refusal) -> Failure {
        let foreign = |text: &String| Untrusted::limited(text, MAX_WHY);
        let (message, hint) = match refusal {
            Refusal::NotAccepted => (
                "the debuggee's host accepts no attaching".to_owned(),
                "run p2pdbg connect there with --accept-attach".to_owned(),
            ),
            Refusal::Gone => (
                "the process has ended, or is another user's than connect's".to_owned(),
                "p2pdbg attach lists those that there are".to_owned(),
            ),
            Refusal::TracingForbidden(scope) => (
                format!("the debuggee's system lets no debugger attach (kernel.yama.ptrace_scope is {scope})"),
                match scope {
                    3 => "until the next boot nothing can change that; start the program under its debugger".to_owned(),
                    _ => "as root there: sysctl kernel.yama.ptrace_scope=0; in a container: --cap-add SYS_PTRACE; or start the program under its debugger".to_owned(),
                },
            ),
            Refusal::Traced(by) => (
                format!("process {by} traces it already: a debugger, or strace"),
                "end that one first".to_owned(),
            ),
            Refusal::Container => (
                "it runs in a container of its own, into which no debugger gets from outside".to_owned(),
                "run p2pdbg connect --accept-attach in the container".to_owned(),
            ),
            Refusal::Missing(what) => (
                format!("at the debuggee's host there is no {}", foreign(what)),
                "install it there".to_owned(),
            ),
            Refusal::StartedWithout(what) => (
                "the program takes no debugger now that it runs".to_owned(),
                format!("it has to be started with {}", foreign(what)),
            ),
            Refusal::PortTaken(port) => (
                format!("something else listens on port {port} at the debuggee"),
                "end that one first".to_owned(),
            ),
            Refusal::Failed(why) => (
                format!("the debugger could not attach: {}", foreign(why)),
                "p2pdbg connect -v, there, says more".to_owned(),
            ),
            Refusal::Declined => (
                "the user of the debuggee's host has not agreed".to_owned(),
                "p2pdbg connect asks there for each program, and takes a minute's silence for a no"
                    .to_owned(),
            ),
            Refusal::System => (
                "p2pdbg has debuggers attach on Linux alone".to_owned(),
                "start the program under its debugger there, or run that one by hand, as in python -m debugpy --listen 127.0.0.1:5678 --pid PID".to_owned(),
            ),
        };
        Failure::new(ErrorCode::NotAttached, message).hint(hint)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn program(pid: u32, command: &str) -> Program {
            Program {
                pid,
                started: 1,
                tool: Tool::Debugpy,
                command: command.to_owned(),
                port: None,
            }
        }

        #[test]
        fn program_is_meant_by_its_number_or_by_a_part_that_is_its_alone() {
            let programs = [
                program(7, "python app.py"),
                program(77, "python worker.py 7"),
            ];
            assert_eq!(choose(&programs, "7").unwrap().pid, 7);
            assert_eq!(choose(&programs, "worker").unwrap().pid, 77);
            assert!(choose(&programs, "8").is_err());
            let several = choose(&programs, "python").unwrap_err();
            assert!(several.message.contains("worker.py 7"), "{several:?}");
        }

        #[test]
        fn program_is_found_beside_what_started_it() {
            for command in [
                "timeout 60 python app.py",
                "/usr/bin/sudo python app.py",
                "-bash -c python app.py",
            ] {
                let programs = [program(6, command), program(7, "python app.py")];
                assert_eq!(choose(&programs, "app.py").unwrap().pid, 7, "{command}");
                let first = command.split(' ').next().unwrap();
                assert_eq!(choose(&programs, first).unwrap().pid, 6, "{command}");
            }
        }

        #[test]
        fn program_of_no_language_is_one_of_several_all_the_same() {
            let mut server = program(6, "./server");
            server.tool = Tool::Gdbserver;
            let programs = [server, program(7, "python3 load.py --target ./server")];
            let several = choose(&programs, "server").unwrap_err();
            assert!(several.message.contains("load.py"), "{several:?}");
            assert_eq!(choose(&programs, "load").unwrap().pid, 7);
        }

        #[test]
        fn text_of_the_other_side_is_escaped() {
            let shown = line(&program(7, "python \u{1b}[2J"));
            assert!(shown.contains(r"\u{1b}"), "{shown}");
            for refusal in [
                Refusal::Failed("\u{1b}".into()),
                Refusal::Missing("\u{1b}".into()),
                Refusal::StartedWithout("\u{1b}".into()),
            ] {
                let failure = refused(&refusal);
                let hint = failure.hint.unwrap_or_default();
                assert!(!(failure.message + &hint).contains('\u{1b}'));
            }
        }
    }
}
