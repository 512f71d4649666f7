//! The options of a `p2pdbg listen` as they were given, for the task with which an IDE starts the same one again.

use std::path::Path;

use clap::ValueEnum;
use p2pdbg_facts::by_its_name;

use super::{args::ListenArgs, values::is_on_line};

/// How a `p2pdbg listen` was started, but for its forwards and the peers that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `OPTION` or `OPTION=VALUE`, with whole paths.
    pub options: Vec<String>,
    /// Whether the rendezvous was named, with an access key that is not repeated here.
    pub rendezvous: bool,
}

impl Given {
    pub(super) fn of(args: &ListenArgs) -> Self {
        let session = &args.session;
        let mut given = Self::default();
        // What may come of a variable is there the next time too.
        let url = session
            .rendezvous
            .as_ref()
            .filter(|_| is_on_line("--rendezvous"));
        given.rendezvous = url.is_some_and(|url| url.contains('@'));
        given.add("--rendezvous", url.filter(|url| !url.contains('@')));
        given.add(
            "--name",
            session.name.as_ref().filter(|_| is_on_line("--name")),
        );
        let state = session.state.as_ref().filter(|_| is_on_line("--state"));
        given.add(
            "--state",
            state.and_then(|dir| whole(Path::new(dir))).as_ref(),
        );
        given.add("--peers", args.peers.as_ref());
        args.map
            .iter()
            .for_each(|map| given.add("--map", Some(map)));
        given.add("--absent", word(args.absent).as_ref());
        session
            .allow
            .iter()
            .for_each(|to| given.add("--allow", Some(to)));
        given.add("--path", word(session.path).as_ref());
        session
            .stun
            .iter()
            .for_each(|server| given.add("--stun", Some(server)));
        let resume_for = Some(&session.resume_for);
        given.add(
            "--resume-for",
            resume_for.filter(|_| is_on_line("--resume-for")),
        );
        given.add(
            "--sources",
            session.sources.as_deref().and_then(whole).as_ref(),
        );
        for (option, is_given) in [
            ("--follow-ports", args.follow_ports),
            ("--same-user", session.same_user),
            ("--no-port-mapping", session.no_port_mapping),
            ("--no-sources", session.no_sources),
            ("--no-inspect", session.no_inspect),
        ] {
            given.options.extend(is_given.then(|| option.to_owned()));
        }
        given
    }

    fn add(&mut self, option: &str, value: Option<&String>) {
        let value = value.map(|value| format!("{option}={value}"));
        self.options.extend(value);
    }
}

fn word<T: ValueEnum>(value: Option<T>) -> Option<String> {
    Some(value?.to_possible_value()?.get_name().to_owned())
}

fn whole(directory: &Path) -> Option<String> {
    let directory = crate::config::at_home(directory.to_owned());
    let whole = by_its_name(&directory).or_else(|_| std::path::absolute(&directory));
    Some(whole.ok()?.to_str()?.to_owned())
}
