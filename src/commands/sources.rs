//! `p2pdbg sources` and `p2pdbg push`: over the session of the `p2pdbg listen` that runs here, the files of this host
//! are compared with the debuggee's, or copied to it.

use p2pdbg_base::Failure;

use crate::cli::args::{PushArgs, SourcesArgs};

/// Lists what differs.
///
/// # Errors
/// If there is no session, nothing to compare at an end, or the other end breaks the protocol.
#[cfg(unix)]
pub async fn list(args: SourcesArgs) -> Result<(), Failure> {
    here::list(args).await
}

/// Copies files.
///
/// # Errors
/// As with [`list`], and if not all of them could be copied.
#[cfg(unix)]
pub async fn push(args: PushArgs) -> Result<(), Failure> {
    here::push(args).await
}

/// There is no control socket here.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub async fn list(_args: SourcesArgs) -> Result<(), Failure> {
    Err(nothing_here())
}

/// There is no control socket here.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub async fn push(_args: PushArgs) -> Result<(), Failure> {
    Err(nothing_here())
}

#[cfg(not(unix))]
fn nothing_here() -> Failure {
    let message = "source files cannot be compared or copied on this system yet";
    Failure::new(p2pdbg_base::ErrorCode::ControlSocket, message)
}

#[cfg(unix)]
mod here {
    use std::{
        env,
        io::{self, IsTerminal, Write},
        path::{Path, PathBuf},
        time::Duration,
    };

    use indicatif::{ProgressBar, ProgressStyle};
    use p2pdbg_base::{ErrorCode, Failure};
    use p2pdbg_sources::{
        Differences, Limits, SourceName, Tree,
        talk::{Outcome, Talk, TalkError, in_words},
    };
    use tokio::{io::AsyncWriteExt, net::UnixStream};

    use super::super::pipe::session;
    use crate::{
        cli::args::{PushArgs, SourcesArgs},
        control::{
            Frame,
            protocol::{Reply, Request},
            read_frame,
        },
    };

    pub(super) async fn list(args: SourcesArgs) -> Result<(), Failure> {
        let mut tree = Tree::new(root(&args)?, Limits::DEFAULT);
        let mut talk = Talk::over(conversation(args.peer.as_deref()).await?);
        let differences = compare(&mut talk, &mut tree).await?;
        let mut out = io::stdout().lock();
        let mut write = || {
            for name in &differences.differ {
                writeln!(out, "{name}")?;
            }
            out.flush()
        };
        match write() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            result => result.map_err(|error| {
                let message = format!("cannot write to standard output: {error}");
                Failure::new(ErrorCode::Output, message)
            })?,
        }
        let Differences {
            differ,
            same,
            only_here,
            only_there,
            partial,
        } = differences;
        eprintln!(
            "{} differ, {same} are the same, {only_here} are here alone, {only_there} at the debuggee alone",
            differ.len()
        );
        if partial {
            eprintln!(
                "note: there are more files than are compared; name a smaller directory with --sources"
            );
        }
        Ok(())
    }

    pub(super) async fn push(args: PushArgs) -> Result<(), Failure> {
        let mut tree = Tree::new(root(&args.sources)?, Limits::DEFAULT);
        let named = match &args.paths[..] {
            [] => None,
            paths => Some(names_of(paths, &mut tree)?),
        };
        let peer = args.sources.peer.as_deref();
        let names = match named {
            Some(names) => names,
            None => {
                let mut talk = Talk::over(conversation(peer).await?);
                compare(&mut talk, &mut tree).await?.differ
            }
        };
        let mut talk = Talk::over(conversation(peer).await?);
        let bar = progress();
        let (mut written, mut same, mut refused) = (0_usize, 0_usize, 0_usize);
        for (index, name) in names.iter().enumerate() {
            let path = name
                .parts()
                .fold(tree.root().to_owned(), |path, part| path.join(part));
            let shown = |at: u64, of: u64| {
                bar.set_length(of);
                bar.set_position(at);
                bar.set_message(format!("{}/{} {name}", index + 1, names.len()));
            };
            let outcome = talk
                .offer(name, &path, shown)
                .await
                .map_err(|error| failed(&error))?;
            let line = match outcome {
                Ok(Outcome::Written) => {
                    written += 1;
                    format!("{name}: copied")
                }
                Ok(Outcome::Same) => {
                    same += 1;
                    continue;
                }
                Ok(Outcome::Refused(refusal)) => {
                    refused += 1;
                    format!("{name}: not taken: {}", in_words(refusal))
                }
                Err(error) => {
                    refused += 1;
                    format!("{name}: cannot be read: {error}")
                }
            };
            bar.suspend(|| eprintln!("{line}"));
        }
        bar.finish_and_clear();
        eprintln!("{written} copied, {same} the same already, {refused} not taken");
        if refused > 0 {
            let message = format!("{refused} of {} files were not copied", names.len());
            return Err(Failure::new(ErrorCode::PushIncomplete, message));
        }
        Ok(())
    }

    async fn compare(talk: &mut Talk<UnixStream>, tree: &mut Tree) -> Result<Differences, Failure> {
        let scan = tree.scan();
        let compared = talk.compare(&scan).await.map_err(|error| failed(&error))?;
        compared.ok_or_else(|| {
            Failure::new(
                ErrorCode::NoSession,
                "the debuggee's end compares no source files",
            )
            .hint("run p2pdbg connect there in a Git work tree, or with --sources DIR")
        })
    }

    /// The directory whose files are meant.
    fn root(args: &SourcesArgs) -> Result<PathBuf, Failure> {
        let found = match &args.sources {
            Some(directory) => directory.canonicalize().ok(),
            None => env::current_dir()
                .ok()
                .as_deref()
                .map(p2pdbg_facts::default_root),
        };
        found.filter(|root| root.is_dir()).ok_or_else(|| {
            Failure::new(ErrorCode::Usage, "there is no directory to compare")
                .hint("run this in a Git work tree, or name the directory with --sources DIR")
        })
    }

    /// The names of files, and of those within directories, below the root.
    fn names_of(paths: &[PathBuf], tree: &mut Tree) -> Result<Vec<SourceName>, Failure> {
        let fault = |path: &Path, why: &str| {
            Failure::new(ErrorCode::Usage, format!("{path:?} {why}"))
                .hint("give files and directories below the one that is compared (--sources DIR)")
        };
        let mut names = Vec::new();
        for path in paths {
            let found = path
                .canonicalize()
                .map_err(|error| fault(path, &format!("cannot be used: {error}")))?;
            let below = found.strip_prefix(tree.root());
            let below =
                below.map_err(|_| fault(path, "is not below the directory that is compared"))?;
            if !found.is_dir() {
                names.push(SourceName::of(below).map_err(|error| fault(path, &error.to_string()))?);
                continue;
            }
            let prefix: Vec<_> = below.iter().collect();
            let within = |name: &&SourceName| {
                let parts: Vec<_> = name.parts().map(std::ffi::OsStr::new).collect();
                parts.starts_with(&prefix)
            };
            names.extend(tree.scan().files.keys().filter(within).cloned());
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// A conversation over the session of the process that runs here.
    async fn conversation(peer: Option<&str>) -> Result<UnixStream, Failure> {
        let mut client = session::find(peer).await?;
        let peer = peer.map(str::to_owned);
        let reply = client.ask_at_length(&Request::Sources { peer }).await;
        match reply.map_err(|error| session::lost(&error))? {
            Reply::Opened => {}
            Reply::Refused(failure) => return Err(failure),
            Reply::Status(_) => return Err(session::lost(&"it answers what was not asked")),
        }
        let (mut from, mut to) = client.into_stream();
        let (here, there) = UnixStream::pair().map_err(|error| session::lost(&error))?;
        let (mut read, mut write) = there.into_split();
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut read, &mut to).await;
            let _ = to.shutdown().await;
        });
        tokio::spawn(async move {
            while let Ok(Frame::Data(bytes)) = read_frame(&mut from).await {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        Ok(here)
    }

    fn failed(error: &TalkError) -> Failure {
        let code = match error {
            TalkError::Lost(_) => ErrorCode::PeerGone,
            TalkError::Misbehaved(_) => ErrorCode::PeerMisbehaved,
        };
        Failure::new(code, error.to_string())
    }

    /// A bar on a terminal, and nothing elsewhere.
    fn progress() -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {bytes}/{total_bytes} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
