//! `p2pdbg sources` and `p2pdbg push`: over the session of the `p2pdbg listen` that runs here, the files of this host
//! are compared with the debuggee's, or copied to it.

use p2pdbg_base::Failure;

use crate::cli::args::{PushArgs, SourcesArgs};

/// Lists what differs.
///
/// # Errors
/// If there is no session, nothing to compare at an end, or the other end breaks the protocol.
pub async fn list(args: SourcesArgs) -> Result<(), Failure> {
    here::list(args).await
}

/// Copies files.
///
/// # Errors
/// As with [`list`], and if not all of them could be copied.
pub async fn push(args: PushArgs) -> Result<(), Failure> {
    here::push(args).await
}

mod here {
    use std::{
        cell::RefCell,
        collections::BTreeSet,
        io,
        path::{Path, PathBuf},
        pin::{Pin, pin},
        rc::Rc,
        time::Duration,
    };

    use p2pdbg_base::{ErrorCode, Failure, Untrusted, say, takes_escapes};
    use p2pdbg_events::snapshot::SessionState;
    use p2pdbg_facts::{by_its_name, default_root, holds_home, working_directory};
    use p2pdbg_forward::Within;
    use p2pdbg_proto::sources::Refusal;
    use p2pdbg_sources::{
        Differences, Installed, Limits, Names, Scan, SourceName, Tree,
        conversation::{Conversation, ConversationError, Outcome, in_words},
    };
    use tokio::time::timeout;

    use super::super::running_session;
    use crate::{
        cli::args::{PushArgs, SourcesArgs},
        config::at_home,
        control_socket::protocol::Request,
        report::{status_line::StatusLine, status_text},
        stdout,
    };

    /// After so long without an answer it is looked whether there still is somebody.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) async fn list(args: SourcesArgs) -> Result<(), Failure> {
        let session = Session::find(&args).await?;
        let (_, differences) = session.compare().await?;
        stdout::print(|out| {
            let mut names = differences.differ.iter();
            names.try_for_each(|name| writeln!(out, "{name}"))
        })?;
        say(&session.root, &differences);
        Ok(())
    }

    /// What is to be known besides the names.
    fn say(root: &Path, differences: &Differences) {
        let Differences {
            differ,
            same,
            only_here,
            only_there,
            ends,
            left_out,
            prefixes,
            is_doubtful: _,
        } = differences;
        say!(
            "{} differ, {same} are the same, {only_here} are here alone, {only_there} at the debuggee alone",
            differ.len()
        );
        if !prefixes.here.is_empty() || !prefixes.there.is_empty() {
            let there = match prefixes.there.as_str() {
                "" => "the debuggee's own directory".to_owned(),
                there => format!("{there} there"),
            };
            say!("{} is {there}", root.join(&prefixes.here).display());
        }
        for name in ends {
            say!("note: {name} differs in its line ends alone, which moves no breakpoint");
        }
        if *left_out > 0 {
            let left_out = match left_out {
                1 => "1 file or directory was".to_owned(),
                more => format!("{more} files or directories were"),
            };
            say!(
                "note: {left_out} left out (more than are compared, longer than {} MiB, too deep, \
                 closed to this user, or of names that cannot be shown); some of them may be counted as alone; name a \
                 smaller directory with --sources to have others compared",
                Limits::DEFAULT.file >> 20
            );
        }
        if differences.is_of_strangers() {
            say!(
                "warning: {}; name the one with the sources with --sources DIR, here or at p2pdbg connect",
                of_strangers(root, differences)
            );
        }
    }

    /// Why no file is taken for any at the debuggee.
    fn of_strangers(root: &Path, differences: &Differences) -> String {
        let why = differences.why_strangers();
        format!("{} and the debuggee's directory {why}", root.display())
    }

    /// The session that is meant, and the directory whose files are.
    struct Session<'a> {
        peer: Option<&'a str>,
        root: PathBuf,
    }

    /// The directory that was named.
    fn named(directory: &Path) -> Result<PathBuf, Failure> {
        let path = at_home(directory.to_owned());
        let found = by_its_name(&path).and_then(|whole| match whole.metadata()?.is_dir() {
            true => Ok(whole),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        found.map_err(|error| {
            let name = directory.display().to_string();
            let name = Untrusted::limited(&name, 300);
            Failure::new(ErrorCode::Usage, format!("cannot compare {name}: {error}"))
                .hint("name the directory with the sources with --sources DIR")
        })
    }

    impl<'a> Session<'a> {
        async fn find(args: &'a SourcesArgs) -> Result<Self, Failure> {
            let peer = args.peer.as_deref();
            let (_, snapshot) = running_session::look(peer).await?;
            let of_session = || snapshot.sources.map(|root| PathBuf::from(root.as_str()));
            // As with p2pdbg listen, nobody means all of their home unless they name it.
            let around = || {
                let root = working_directory().as_deref().map(default_root);
                root.filter(|root| !holds_home(root))
            };
            let root = match &args.sources {
                Some(directory) => Some(named(directory)?),
                None => of_session().or_else(around),
            };
            let root = root.filter(|root| root.is_dir()).ok_or_else(|| {
                Failure::new(ErrorCode::Usage, "there is no directory to compare")
                    .hint("run this in the project, or name it with --sources DIR; a home directory is compared only if it is named")
            })?;
            Ok(Self { peer, root })
        }

        async fn compare(&self) -> Result<(Scan, Differences), Failure> {
            let mut talk = Conversation::over(conversation(self.peer).await?);
            let root = self.root.clone();
            let scan = tokio::task::spawn_blocking(move || Tree::new(root, Limits::DEFAULT).scan());
            let scan = scan.await.map_err(|error| {
                Failure::new(
                    ErrorCode::Internal,
                    format!("the files cannot be read: {error}"),
                )
            })?;
            let compared = self.unless_away(talk.compare(&scan, false)).await?;
            let differences = compared.map_err(|error| failed(&error))?.ok_or_else(|| {
                Failure::new(
                    ErrorCode::NoSession,
                    "the debuggee's end compares no source files",
                )
                .hint("run p2pdbg connect there in the program's directory or with --sources DIR, and without --no-sources")
            })?;
            Ok((scan, differences))
        }

        /// What comes of it, unless the peer is lost before.
        async fn unless_away<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
            let mut work = pin!(work);
            loop {
                if let Ok(done) = timeout(PATIENCE, &mut work).await {
                    return Ok(done);
                }
                if let Some(away) = self.away().await {
                    return Err(away);
                }
            }
        }

        /// Why nobody answers, if the peer is lost.
        async fn away(&self) -> Option<Failure> {
            match running_session::look(self.peer).await {
                Ok((_, snapshot)) if snapshot.state == SessionState::Resuming => {
                    let since = snapshot.lost_ms.unwrap_or(0) / 1000;
                    let message = format!("the debuggee's host is out of reach, for {since} s now");
                    let hint = "p2pdbg status says when it is back; what has come there goes on the next time";
                    Some(Failure::new(ErrorCode::PeerGone, message).hint(hint))
                }
                Ok(_) => None,
                Err(failure) => Some(failure),
            }
        }
    }

    pub(super) async fn push(args: PushArgs) -> Result<(), Failure> {
        let session = Session::find(&args.sources).await?;
        // Paths that make no sense are told before anything else.
        let named = args.paths.iter().map(|path| Named::of(path, &session.root));
        let named: Vec<Named> = named.collect::<Result<_, _>>()?;
        let (scan, differences) = session.compare().await?;
        let files = match named.is_empty() {
            // A file that is named goes where none is, but not beside the one that may be meant.
            is_none if differences.is_of_strangers() && (is_none || differences.is_doubtful) => {
                let why = of_strangers(&session.root, &differences);
                let message = format!("{why}, so nothing says what is to be copied where");
                let or_files = match differences.is_doubtful {
                    true => "",
                    false => "; or name files",
                };
                return Err(Failure::new(ErrorCode::PushIncomplete, message).hint(format!(
                    "name the directory with the sources with --sources DIR, here or at p2pdbg connect{or_files}"
                )));
            }
            true => all_but_installed(&scan, &differences, &session.root),
            false => files_of(&named, &scan, &differences, &session.root)?,
        };
        let names = Names::of(scan.files.keys());
        let mut talk = Conversation::over(conversation(session.peer).await?);
        let mut copying = Copying::new(files.len());
        let prefixes = differences.prefixes.widest();
        for file in &files {
            let name = &file.name;
            let mut shown = copying.progress(name);
            let mut outcome = Ok(Outcome::Refused(Refusal::Path));
            let mut there = name.clone();
            // By its name behind a link only where the one that was written leads through a link there too.
            for name in [Some(name), file.behind_links.as_ref()]
                .into_iter()
                .flatten()
            {
                if !matches!(outcome, Ok(Outcome::Refused(Refusal::Path))) {
                    break;
                }
                // That of the name as it was written is known to be within what both ends have in common.
                let Some(at) = prefixes.there(name) else {
                    break;
                };
                there = at;
                let offer =
                    pin!(talk.offer(&there, names.has_another(name), &file.path, &mut shown));
                // A copy that is under way waits for the peer to come back, and goes on.
                let copied = session.patiently(offer, &copying.line).await?;
                outcome = copied.map_err(|error| failed(&error))?;
            }
            copying.settle(name, &there, outcome);
        }
        copying.finish()
    }

    /// What differs and is copied where nothing is named: not what was installed at each end for itself, which may be
    /// of another system there and have other paths in it.
    fn all_but_installed(scan: &Scan, differences: &Differences, root: &Path) -> Vec<Chosen> {
        let installed = Installed::among(scan.files.keys().chain(&scan.not_read));
        let differ = differences.differ.iter().cloned();
        let (left, names): (Vec<_>, Vec<_>) = differ.partition(|name| installed.has(name));
        tell_of_installed(&left, "that differ");
        let chosen = names.into_iter().map(|name| Chosen::below(root, name));
        chosen.collect()
    }

    /// Tells that files that were installed are not copied, and how many of which there are.
    fn tell_of_installed(left: &[SourceName], which: &str) {
        if let Some(first) = left.first() {
            let count = left.len();
            say!(
                "note: what was installed is left as it is there ({count} {which}, such as {first}); name it to have \
                 it copied"
            );
        }
    }

    /// A file that is to be copied.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Chosen {
        name: SourceName,
        /// Its name without links, where it was written with one.
        behind_links: Option<SourceName>,
        path: PathBuf,
    }

    impl Chosen {
        fn below(root: &Path, name: SourceName) -> Self {
            let path = name
                .parts()
                .fold(root.to_owned(), |path, part| path.join(part));
            Self {
                name,
                behind_links: None,
                path,
            }
        }
    }

    impl Session<'_> {
        /// What comes of a copy. Says once that the peer is away.
        async fn patiently<T>(
            &self,
            mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
            line: &ProgressLine,
        ) -> Result<T, Failure> {
            let mut has_said = false;
            loop {
                if let Ok(done) = timeout(PATIENCE, &mut work).await {
                    return Ok(done);
                }
                if let Some(away) = self.away().await.filter(|_| !has_said) {
                    if away.code != ErrorCode::PeerGone {
                        return Err(away);
                    }
                    has_said = true;
                    let message = away.message;
                    line.say(&format!("note: {message}; waiting for it, ^C ends this"));
                }
            }
        }
    }

    /// How far the copying is.
    struct Copying {
        line: ProgressLine,
        files: usize,
        begun: usize,
        written: usize,
        same: usize,
        refused: usize,
    }

    impl Copying {
        fn new(files: usize) -> Self {
            Self {
                line: ProgressLine::of_stderr(),
                files,
                begun: 0,
                written: 0,
                same: 0,
                refused: 0,
            }
        }

        fn progress(&mut self, name: &SourceName) -> impl FnMut(u64, u64) + use<> {
            self.begun += 1;
            let line = self.line.clone();
            let file = format!("{}/{} {name}", self.begun, self.files);
            move |at, of| line.show(at, of, &file)
        }

        fn settle(&mut self, name: &SourceName, there: &SourceName, outcome: io::Result<Outcome>) {
            let line = match outcome {
                Ok(Outcome::Written(written)) => {
                    self.written += 1;
                    let mut line = match name == there {
                        true => format!("{name}: copied"),
                        false => format!("{name}: copied to {there} there"),
                    };
                    if written.converted {
                        line.push_str(", with the line ends that it has there");
                    }
                    if let Some(kept) = written.kept {
                        let kept = Untrusted::limited(&kept, 300);
                        line.push_str(&format!(
                            "; what was changed there is kept beside it as {kept}"
                        ));
                    }
                    line
                }
                Ok(Outcome::Same) => {
                    self.same += 1;
                    return;
                }
                Ok(Outcome::Refused(refusal)) => {
                    self.refused += 1;
                    format!("{name}: not taken: {}", in_words(refusal))
                }
                Err(error) => {
                    self.refused += 1;
                    format!("{name}: cannot be read: {error}")
                }
            };
            self.line.say(&line);
        }

        fn finish(self) -> Result<(), Failure> {
            let Self {
                written,
                same,
                refused,
                files,
                ..
            } = self;
            self.line.clear();
            say!("{written} copied, {same} the same already, {refused} not taken");
            if refused > 0 {
                let message = format!("{refused} of {files} files were not copied");
                return Err(Failure::new(ErrorCode::PushIncomplete, message));
            }
            Ok(())
        }
    }

    /// A path that was given, below the root.
    struct Named {
        given: PathBuf,
        /// As it was written, unless that leads out.
        written: Option<PathBuf>,
        /// Without links.
        below: PathBuf,
        is_directory: bool,
    }

    impl Named {
        fn of(path: &Path, root: &Path) -> Result<Self, Failure> {
            let fault = |why: &str| {
                Failure::new(ErrorCode::Usage, format!("{path:?} {why}")).hint(
                    "give files and directories below the one that is compared (--sources DIR)",
                )
            };
            let found = path.canonicalize().map_err(|error| {
                let failure = fault(&format!("cannot be used: {error}"));
                match error.kind() {
                    io::ErrorKind::NotFound => failure.hint(hint_of_missing(path)),
                    _ => failure,
                }
            })?;
            let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
            let below = found.strip_prefix(&real);
            let below = below.map_err(|_| {
                fault(&format!(
                    "is not below {}, which is compared",
                    root.display()
                ))
            })?;
            let whole = by_its_name(path).ok();
            let written = whole.as_deref().and_then(|whole| {
                let roots = [root, &real].into_iter();
                roots
                    .filter_map(|root| whole.strip_prefix(root).ok())
                    .next()
            });
            Ok(Self {
                given: path.to_owned(),
                written: written.map(Path::to_owned),
                below: below.to_owned(),
                is_directory: found.is_dir(),
            })
        }

        /// The file that it is.
        fn chosen(&self, root: &Path) -> Result<Chosen, Failure> {
            let given = &self.given;
            let name = SourceName::of(&self.below);
            let name = name
                .map_err(|error| Failure::new(ErrorCode::Usage, format!("{given:?}: {error}")))?;
            let written = self
                .written
                .as_deref()
                .and_then(|path| SourceName::of(path).ok());
            let chosen = Chosen::below(root, name);
            Ok(match written.filter(|written| *written != chosen.name) {
                Some(written) => Chosen {
                    name: written,
                    behind_links: Some(chosen.name),
                    path: chosen.path,
                },
                None => chosen,
            })
        }
    }

    /// What to do about a path that leads to nothing.
    fn hint_of_missing(path: &Path) -> &'static str {
        // Brackets alone are in the names of files, as Next.js has them.
        match path.to_string_lossy().contains(['*', '?']) {
            true => "patterns are for the shell to fill in; name a directory to copy what is in it",
            false => "check how it is spelt; a file that was deleted here is not deleted there",
        }
    }

    /// The files that were named, and those within directories.
    fn files_of(
        named: &[Named],
        scan: &Scan,
        differences: &Differences,
        root: &Path,
    ) -> Result<Vec<Chosen>, Failure> {
        let mut files = BTreeSet::new();
        let all = || scan.files.keys().chain(&scan.not_read);
        let installed = Installed::among(all());
        for path in named {
            if !path.is_directory {
                files.insert(path.chosen(root)?);
                continue;
            }
            let parts: Vec<_> = path.below.iter().collect();
            let is_within = |name: &&SourceName| {
                name.parts()
                    .map(std::ffi::OsStr::new)
                    .collect::<Vec<_>>()
                    .starts_with(&parts)
            };
            // Files that are too long to be compared can be copied all the same.
            let within: Vec<_> = all().filter(is_within).cloned().collect();
            if within.is_empty() {
                let given = &path.given;
                let message = format!(
                    "{given:?} has no file that is compared: it is hidden, an ignore file leaves it out, or it is empty"
                );
                return Err(Failure::new(ErrorCode::PushIncomplete, message)
                    .hint("name its files one by one to copy them all the same"));
            }
            // What was installed is meant where it was named, and not where it lies in what was.
            let is_meant = SourceName::of(&path.below.join("x")).is_ok_and(|x| installed.has(&x));
            let is_left = |name: &SourceName| !is_meant && installed.has(name);
            let (left, within): (Vec<_>, Vec<_>) = within.into_iter().partition(is_left);
            tell_of_installed(&left, "in it");
            files.extend(within.into_iter().map(|name| Chosen::below(root, name)));
        }
        let prefixes = differences.prefixes.widest();
        let is_outside = |file: &&Chosen| prefixes.there(&file.name).is_none();
        match files.iter().find(is_outside) {
            Some(file) => {
                let message = format!(
                    "{} is outside of {}, which is all that the debuggee has of it",
                    file.name, prefixes.here
                );
                Err(Failure::new(ErrorCode::PushIncomplete, message))
            }
            None => Ok(files.into_iter().collect()),
        }
    }

    async fn conversation(peer: Option<&str>) -> Result<Within, Failure> {
        let request = Request::Sources {
            peer: peer.map(str::to_owned),
        };
        super::super::debuggee_stream::conversation(peer, &request).await
    }

    fn failed(error: &ConversationError) -> Failure {
        let code = match error {
            ConversationError::Lost(_) => ErrorCode::PeerGone,
            ConversationError::Misbehaved(_) => ErrorCode::PeerMisbehaved,
        };
        Failure::new(code, error.to_string())
    }

    /// How far a copy is, on a terminal; elsewhere nothing but what is said.
    #[derive(Clone)]
    struct ProgressLine(Option<Rc<RefCell<StatusLine>>>);

    impl ProgressLine {
        fn of_stderr() -> Self {
            Self(takes_escapes(&io::stderr()).then(Rc::default))
        }

        /// Shows that so many of so many bytes of a file are there.
        fn show(&self, at: u64, of: u64, file: &str) {
            if let Some(line) = &self.0 {
                let percent = (at * 100).checked_div(of).unwrap_or(100);
                let (at, of) = (status_text::bytes(at), status_text::bytes(of));
                let text = format!("{percent:3} %, {at} of {of}  {file}");
                line.borrow_mut().set("↑", &text);
            }
        }

        /// Writes a line that stays, above the one that moves.
        fn say(&self, text: &str) {
            match &self.0 {
                Some(line) => line.borrow_mut().print_above(|| say!("{text}")),
                None => say!("{text}"),
            }
        }

        fn clear(&self) {
            if let Some(line) = &self.0 {
                line.borrow_mut().clear();
            }
        }
    }
}
