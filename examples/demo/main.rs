//! The main job, to be watched: an IDE here, a Python program with a fault there, and a NAT in front of each.
//!
//! `scripts/demo` installs and builds what this needs, and runs it. It starts the three programs as people would on
//! three hosts, lets a debugger find and mend the fault through them, and tells what happens. All that it tells comes
//! from the programs' `--json` and from the debugger; it ends with status 0 only if everything really happened.

mod cast;
mod moment;
mod seen;
mod stage;
mod story;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use p2pdbg_events::PathKind;

use self::{
    cast::{Cast, Who},
    stage::{Forward, Stage},
    story::Story,
};

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let python = env::args().nth(1).context("usage: demo PYTHON")?;
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let built = built_programs()?;
    let states = tempfile::tempdir()?;

    let stage = Stage::set()?;
    let forward = stage.forward()?;
    let story = Story::open(&stage);
    let mut cast = Cast::new(story, DEADLINE);

    let hosts = Hosts {
        python,
        scene,
        built,
        states: states.path(),
    };
    let url = hosts.start_rendezvous(&mut cast, &stage)?;
    let code = hosts.start_listen(&mut cast, &stage, &url, &forward)?;
    hosts.start_connect(&mut cast, &stage, &url, &code, &forward)?;
    hosts.debug(&mut cast, &stage)?;
    cast.stop(Who::Listen)?;
    cast.stop(Who::Rendezvous)?;
    cast.close();
    Ok(())
}

/// What the hosts have: programs, files, and where they keep their state.
struct Hosts<'a> {
    python: String,
    scene: PathBuf,
    built: PathBuf,
    states: &'a Path,
}

impl Hosts<'_> {
    /// The public host; gives the URL that it prints.
    fn start_rendezvous(&self, cast: &mut Cast, stage: &Stage) -> Result<String> {
        let mut rendezvous = stage.rendezvous(&self.built.join("p2pdbg-rendezvous"));
        rendezvous
            .arg("--state")
            .arg(self.states.join("rendezvous"));
        cast.start(Who::Rendezvous, &mut rendezvous, "p2pdbg-rendezvous")?;
        cast.until("the URL of the rendezvous", |seen| seen.url.clone())
    }

    /// p2pdbg on a host of its own.
    fn at_home(&self, mut program: Command, name: &str, url: &str) -> Command {
        let home = self.states.join(name);
        program
            .env("P2PDBG_RENDEZVOUS", url)
            .env("P2PDBG_NAME", name)
            .env("P2PDBG_STATE", home.join("state"))
            // Not with the configuration of whoever watches.
            .env("XDG_CONFIG_HOME", &home)
            .env_remove("P2PDBG_CODE");
        program
    }

    /// The IDE's host; gives the code.
    fn start_listen(
        &self,
        cast: &mut Cast,
        stage: &Stage,
        url: &str,
        forward: &Forward,
    ) -> Result<String> {
        let listen = stage.beside_the_ide(&self.built.join("p2pdbg"));
        let mut listen = self.at_home(listen, "laptop", url);
        listen.args(["listen", "--json"]).args(&forward.arguments);
        let shown = format!("p2pdbg listen {}", forward.arguments.join(" "));
        cast.start(Who::Listen, &mut listen, &shown)?;
        cast.until("a code", |seen| seen.code.clone())
    }

    /// The debuggee's host, where the program waits for a debugger; until both are on a direct path.
    fn start_connect(
        &self,
        cast: &mut Cast,
        stage: &Stage,
        url: &str,
        code: &str,
        forward: &Forward,
    ) -> Result<()> {
        let debugpy = format!(
            "-m debugpy --listen 127.0.0.1:{} --wait-for-client",
            forward.port
        );
        let connect = stage.at_the_debuggee(&self.built.join("p2pdbg"));
        let mut connect = self.at_home(connect, "server", url);
        connect
            .args(["connect", code, "--json", "--"])
            .args([&self.python, "-Xfrozen_modules=off"])
            .args(debugpy.split(' '))
            .arg(self.scene.join("shop.py"));
        let shown = format!("p2pdbg connect {code} -- python {debugpy} shop.py");
        cast.start(Who::Connect, &mut connect, &shown)?;
        cast.until("both peers to be paired", |seen| {
            (seen.paired == 2).then_some(())
        })?;
        cast.until("a direct path", |seen| {
            (seen.path == Some(PathKind::Direct)).then_some(())
        })
    }

    /// The debugger finds the fault and mends it, and the program ends with the right sum.
    fn debug(&self, cast: &mut Cast, stage: &Stage) -> Result<()> {
        let port = cast.until("the forward", |seen| seen.port)?;
        let mut ide = stage.beside_the_ide(Path::new(&self.python));
        ide.arg(self.scene.join("ide.py"))
            .args(["--port", &port.to_string(), "--remote-root"])
            .arg(&self.scene);
        let shown = format!("attach to 127.0.0.1:{port}");
        cast.start(Who::Debugger, &mut ide, &shown)?;
        let right = cast.until("the debugger to be done", |seen| seen.total.clone())?;
        cast.until_ended(Who::Debugger)?;
        cast.until_ended(Who::Connect)?;
        cast.until(
            "the debuggee to print the sum that the debugger gave it",
            |seen| {
                let sum = format!("total: {right} cents");
                seen.printed.contains(&sum).then_some(())
            },
        )?;
        ensure!(
            cast.seen().breakpoints > 0 && cast.seen().steps > 0,
            "no breakpoint or no step"
        );
        Ok(())
    }
}

/// The directory that the programs were built into, beside this one.
fn built_programs() -> Result<PathBuf> {
    let demo = env::current_exe()?;
    let built = demo
        .parent()
        .and_then(Path::parent)
        .context("the demo has no place")?;
    ensure!(
        built.join("p2pdbg").exists(),
        "the programs are not built: run scripts/demo"
    );
    Ok(built.to_owned())
}
