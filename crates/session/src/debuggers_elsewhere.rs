//! Debuggers that listen where no forward leads: on another port than the one that is dialled, or another address.
//!
//! The end that dials sees them in its tables of sockets and processes; both ends tell their users. Those that come
//! later, right above the port of one that is served, are told of as well: one for each process that a program starts
//! (the cluster of node), or another program, of which the second takes the next port.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_attach::ListeningDebugger;
use p2pdbg_base::HostPort;
use p2pdbg_events::{Event as Report, Reporter, Warning, WarningCode};
use p2pdbg_forward::{Forward, Preset};
use p2pdbg_net::listening::{self, ListeningSocket};
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{Direction, Elsewhere, TunnelMessage},
};
use tokio::{sync::mpsc, task::AbortHandle};

/// The shortest pause between two looks at the sockets that listen.
const LOOK: Duration = Duration::from_secs(1);

/// The pause is so many times as long as the look took: on a host where ports come and go among thousands of processes
/// looking costs a hundredth of a processor at most.
const PATIENCE: u32 = 100;

/// The most that are told of in a session.
const MOST: usize = 16;

/// How far above a debugger's port those are that belong to it: of processes that its program starts, of the next
/// program.
const WORKERS: u16 = 100;

/// Looks which debuggers listen, and tells whenever that has changed.
pub(super) async fn watch<T>(events: mpsc::Sender<T>, wrap: impl Fn(Seen) -> T) {
    let mut known: Vec<ListeningSocket> = Vec::new();
    loop {
        let began = Instant::now();
        // Some 0.05 ms; the processes take longer, and are looked at when there is something new.
        let sockets = listening::all();
        let mut took = began.elapsed();
        if sockets != known {
            known.clone_from(&sockets);
            let look = tokio::task::spawn_blocking(move || {
                let debuggers = p2pdbg_attach::debuggers(&sockets);
                (sockets, debuggers)
            });
            let Ok((sockets, debuggers)) = look.await else {
                return;
            };
            took = began.elapsed();
            let event = wrap(Seen { sockets, debuggers });
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(pause_after(took)).await;
    }
}

/// How long to wait after a look that took so long.
fn pause_after(took: Duration) -> Duration {
    LOOK.max(took * PATIENCE)
}

/// What listens on this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) sockets: Vec<ListeningSocket>,
    pub(super) debuggers: Vec<ListeningDebugger>,
}

/// What was told of such debuggers.
#[derive(Debug, Default)]
pub(super) struct Told {
    told: Vec<Elsewhere>,
    /// The task that looks for them, or did.
    watch: Option<AbortHandle>,
}

impl Told {
    /// What there is to tell the other end on a new tunnel.
    pub(super) fn announcements(&self) -> impl Iterator<Item = TunnelMessage> {
        self.told.iter().cloned().map(TunnelMessage::Elsewhere)
    }

    /// Has a task look for them, unless one does or did.
    pub(super) fn watch_by(&mut self, start: impl FnOnce() -> AbortHandle) {
        self.watch.get_or_insert_with(start);
    }

    /// Takes one in; false if it was told already, or one too many. Nobody looks for more than can be told.
    pub(super) fn note(&mut self, one: &Elsewhere) -> bool {
        let is_new = self.told.len() < MOST && !self.told.contains(one);
        if is_new {
            self.told.push(one.clone());
        }
        if self.told.len() >= MOST
            && let Some(watch) = &self.watch
        {
            watch.abort();
        }
        is_new
    }
}

/// Whether there is a debugger that could be told of, if it listened where this forward does not lead.
pub(super) fn can_be_told(forward: &Forward) -> bool {
    Preset::ALL
        .into_iter()
        .any(|preset| preset.debugger().listens.is_some() && is_for(forward, preset))
}

/// The debuggers that listen where none of these forwards, all of which this end dials, leads.
pub(super) fn elsewhere<'a>(
    forwards: impl Iterator<Item = (u16, &'a Forward)> + Clone,
    seen: &Seen,
) -> Vec<Elsewhere> {
    let covered = |address: SocketAddr| {
        let mut all = forwards.clone();
        all.any(|(_, forward)| listening::serves(&forward.target, address))
    };
    let mut found = Vec::new();
    for debugger in seen.debuggers.iter().filter(|one| !covered(one.address)) {
        let mut fits = forwards
            .clone()
            .filter(|(_, f)| is_for(f, debugger.debugger));
        let Some((forward, meant)) = fits.next() else {
            continue;
        };
        let is_served = seen
            .sockets
            .iter()
            .any(|socket| listening::serves(&meant.target, socket.address));
        let above = debugger.address.port().checked_sub(meant.target.port);
        let is_further = above.is_some_and(|above| (1..WORKERS).contains(&above));
        // It may be somebody else's program that serves the forward.
        let is_one_of_them = || {
            seen.debuggers
                .iter()
                .any(|first| listening::serves(&meant.target, first.address))
        };
        if !is_served || (is_further && is_one_of_them()) {
            found.push(Elsewhere {
                forward,
                debugger: debugger.debugger.name().to_owned(),
                address: debugger.address,
                pid: debugger.pid,
                further: is_served,
            });
        }
    }
    found
}

/// Whether a debugger may be the one that a forward is for.
fn is_for(forward: &Forward, debugger: Preset) -> bool {
    match forward.preset() {
        Some(preset) => {
            preset == debugger || (preset.debugger().is_debugpy && debugger.debugger().is_debugpy)
        }
        // `auto` names none; its port does.
        None => debugger.default_port() == forward.target.port,
    }
}

/// Tells this end's user of one.
pub(super) fn report(reporter: &Reporter, role: Role, target: &HostPort, one: &Elsewhere) {
    let (place, from) = match role {
        Role::Connector => ("here", "beside the IDE"),
        Role::Listener => ("at the debuggee", "here"),
    };
    let Elsewhere { address, pid, .. } = one;
    let debugger = one.debugger.parse().map_or("a debugger", Preset::name);
    let port = address.port();
    let message = match one.further {
        true => format!(
            "{debugger} (process {pid}) listens on {address} {place} too, to which no forward leads"
        ),
        false => format!(
            "{debugger} (process {pid}) listens on {address} {place}, and the forward leads to {target}"
        ),
    };
    let is_loopback = address.ip().to_canonical().is_loopback();
    let elsewhere = HostPort::from(*address);
    let hint = if one.further {
        let by_itself = match debugger == Preset::Node.name() {
            true => "; p2pdbg listen --follow-ports does so by itself",
            false => "",
        };
        format!("to debug that one as well, run p2pdbg forward {debugger}:{port} {from}{by_itself}")
    } else if port == target.port {
        let allow = match is_loopback {
            true => String::new(),
            false => format!(", and p2pdbg connect with --allow {elsewhere}"),
        };
        format!(
            "let it listen on 127.0.0.1, or run p2pdbg listen -L {port}:{elsewhere} {from}{allow}"
        )
    } else {
        format!(
            "let it listen on {}, or run p2pdbg listen {debugger}:{port} {from}",
            target.port
        )
    };
    let warning = Warning::new(WarningCode::DebuggerElsewhere, message).hint(hint);
    reporter.emit(Report::Warning(warning));
}

/// The port and the debugger of one that came later and may be followed: a worker of node's, on loopback, right above
/// the port that the user named. The peer's word alone opens nothing else.
pub(super) fn followed(one: &Elsewhere, target: &HostPort) -> Option<(u16, Preset)> {
    let port = one.address.port();
    let above = port.checked_sub(target.port)?;
    let leads = one.further
        && one.debugger.parse::<Preset>().ok() == Some(Preset::Node)
        && (1..WORKERS).contains(&above)
        && one.address.ip().to_canonical().is_loopback();
    leads.then_some((port, Preset::Node))
}

/// Whether what the peer says of a debugger can be: of a forward that it dials.
pub(super) fn is_sound(one: &Elsewhere, forward: Option<&Forward>) -> bool {
    forward.is_some_and(|forward| forward.direction == Direction::ToDebuggee)
        && one.debugger.parse::<Preset>().is_ok()
}

#[cfg(test)]
mod tests {
    use p2pdbg_forward::ForwardSpec;

    use super::*;

    fn forward(text: &str) -> Forward {
        text.parse::<ForwardSpec>().unwrap().resolve(|_| false)
    }

    fn seen(listening: &[(Preset, &str)], others: &[&str]) -> Seen {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let socket = |address| ListeningSocket { address, inode: 0 };
        let debuggers = listening
            .iter()
            .map(|(debugger, address)| ListeningDebugger {
                debugger: *debugger,
                address: at(address),
                pid: 7,
            });
        let debuggers: Vec<_> = debuggers.collect();
        let sockets = debuggers.iter().map(|debugger| socket(debugger.address));
        let others = others.iter().map(|address| socket(at(address)));
        Seen {
            sockets: sockets.chain(others).collect(),
            debuggers,
        }
    }

    fn told(forwards: &[&str], seen: &Seen) -> Vec<(u16, String, bool)> {
        let forwards: Vec<Forward> = forwards.iter().map(|text| forward(text)).collect();
        elsewhere((0..).zip(&forwards), seen)
            .into_iter()
            .map(|one| (one.forward, one.address.to_string(), one.further))
            .collect()
    }

    #[test]
    fn debugger_on_another_port_or_address_is_told_while_nothing_serves_the_forward() {
        let other_port = seen(&[(Preset::Debugpy, "127.0.0.1:5679")], &[]);
        let found = (0, "127.0.0.1:5679".to_owned(), false);
        for forward in ["debugpy", "auto", "ptvsd"] {
            assert_eq!(told(&[forward], &other_port), std::slice::from_ref(&found));
        }
        assert_eq!(told(&["delve"], &other_port), []);
        let address = seen(&[(Preset::Delve, "192.0.2.1:2345")], &[]);
        let found = (1, "192.0.2.1:2345".to_owned(), false);
        assert_eq!(told(&["debugpy", "delve"], &address), [found]);
    }

    #[test]
    fn debugger_to_which_a_forward_leads_is_not_told_nor_one_far_from_it() {
        let both = seen(
            &[
                (Preset::Debugpy, "[::1]:5678"),
                (Preset::Debugpy, "127.0.0.1:5690"),
                // Of its adapter for the program, say.
                (Preset::Debugpy, "127.0.0.1:41234"),
            ],
            &[],
        );
        let second = (0, "127.0.0.1:5690".to_owned(), true);
        assert_eq!(told(&["debugpy"], &both), [second]);
        // Somebody else's program serves the forward.
        let other = seen(&[(Preset::Debugpy, "127.0.0.1:5679")], &["0.0.0.0:5678"]);
        assert_eq!(told(&["debugpy"], &other), []);
        assert_eq!(told(&["debugpy", "debugpy:5690"], &both), []);
        let below = seen(
            &[
                (Preset::Jdwp, "127.0.0.1:5005"),
                (Preset::Jdwp, "127.0.0.1:5004"),
            ],
            &[],
        );
        assert_eq!(told(&["jdwp"], &below), []);
    }

    #[test]
    fn pause_is_a_second_or_a_hundred_times_what_the_look_took() {
        let millis = Duration::from_millis;
        assert_eq!(pause_after(millis(1)), millis(1_000));
        assert_eq!(pause_after(millis(150)), millis(15_000));
    }

    #[test]
    fn forward_that_no_debugger_of_the_table_is_for_is_not_watched_for() {
        for text in ["debugpy", "auto"] {
            assert!(can_be_told(&forward(text)), "{text}");
        }
        // PHP's Xdebug dials, so nothing of it listens.
        assert!(!can_be_told(&forward("xdebug")));
    }

    #[tokio::test]
    async fn nobody_looks_for_more_debuggers_than_can_be_told() {
        let mut tasks = tokio::task::JoinSet::new();
        let mut told = Told::default();
        told.watch_by(|| tasks.spawn(std::future::pending::<()>()));
        for pid in 0..MOST {
            assert!(tasks.try_join_next().is_none());
            let one = Elsewhere {
                forward: 0,
                debugger: "debugpy".into(),
                address: ([127, 0, 0, 1], 5679).into(),
                pid: u32::try_from(pid).unwrap(),
                further: true,
            };
            assert!(told.note(&one));
        }
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        told.watch_by(|| panic!("there is nothing more to tell"));
    }

    #[test]
    fn workers_of_node_are_told_beside_the_first_of_them() {
        let cluster = seen(
            &[
                (Preset::Node, "127.0.0.1:9229"),
                (Preset::Node, "127.0.0.1:9230"),
                (Preset::Node, "127.0.0.1:9231"),
            ],
            &[],
        );
        let found = |port: u16| (0, format!("127.0.0.1:{port}"), true);
        assert_eq!(told(&["node"], &cluster), [found(9230), found(9231)]);
        assert_eq!(told(&["node", "node:9231"], &cluster), [found(9230)]);
    }

    /// Keeps what is reported.
    #[derive(Debug, Default)]
    struct Reports(std::sync::Mutex<Vec<Report>>);

    impl p2pdbg_events::Sink for Reports {
        fn event(&self, _: &p2pdbg_events::Of, event: Report) {
            self.0.lock().unwrap().push(event);
        }

        fn status(&self, _: &p2pdbg_events::Of, _: Option<p2pdbg_events::Status>) {}

        fn release_terminal(&self) {}
    }

    /// What the user of an end reads of a debugger at `address`, where the forward leads to port 5678.
    fn words(role: Role, address: &str, further: bool) -> (String, String) {
        let reports = std::sync::Arc::new(Reports::default());
        let one = Elsewhere {
            forward: 0,
            debugger: "debugpy".into(),
            address: address.parse().unwrap(),
            pid: 7,
            further,
        };
        let target = HostPort::loopback(5678);
        report(&Reporter::new(reports.clone()), role, &target, &one);
        let told = reports.0.lock().unwrap().pop();
        let Some(Report::Warning(warning)) = told else {
            panic!("{told:?}");
        };
        assert_eq!(warning.code, WarningCode::DebuggerElsewhere);
        (warning.message, warning.hint.unwrap())
    }

    #[test]
    fn hint_names_what_to_run_and_where_for_each_way_to_be_elsewhere() {
        let (message, hint) = words(Role::Listener, "127.0.0.1:5690", false);
        let listens = "debugpy (process 7) listens on 127.0.0.1:5690 at the debuggee";
        assert!(message.starts_with(listens), "{message}");
        assert_eq!(
            hint,
            "let it listen on 5678, or run p2pdbg listen debugpy:5690 here"
        );
        let (message, hint) = words(Role::Connector, "127.0.0.1:5690", true);
        assert!(
            message.ends_with("here too, to which no forward leads"),
            "{message}"
        );
        assert!(
            hint.ends_with("run p2pdbg forward debugpy:5690 beside the IDE"),
            "{hint}"
        );
        let (_, hint) = words(Role::Connector, "192.0.2.1:5678", false);
        assert!(
            hint.contains("-L 5678:192.0.2.1:5678 beside the IDE"),
            "{hint}"
        );
        assert!(hint.ends_with("with --allow 192.0.2.1:5678"), "{hint}");
        let (_, hint) = words(Role::Connector, "127.0.0.2:5678", false);
        assert!(!hint.contains("--allow"), "{hint}");
    }

    #[test]
    fn peers_word_opens_a_port_for_a_worker_of_nodes_alone() {
        let followed_of = |debugger: &str, address: &str, further| {
            let one = Elsewhere {
                forward: 0,
                debugger: debugger.into(),
                address: address.parse().unwrap(),
                pid: 7,
                further,
            };
            followed(&one, &HostPort::loopback(9229))
        };
        assert_eq!(
            followed_of("node", "127.0.0.1:9230", true),
            Some((9230, Preset::Node))
        );
        for (debugger, address, further) in [
            ("xdebug", "127.0.0.1:9230", true),
            ("debugpy", "127.0.0.1:9230", true),
            ("node", "127.0.0.1:9229", true),
            ("node", "127.0.0.1:5432", true),
            ("node", "127.0.0.1:9329", true),
            ("node", "192.0.2.1:9230", true),
            ("node", "127.0.0.1:9230", false),
        ] {
            assert_eq!(
                followed_of(debugger, address, further),
                None,
                "{debugger} {address}"
            );
        }
    }

    #[test]
    fn what_the_peer_says_of_a_debugger_must_be_of_a_forward_that_it_dials() {
        let one = Elsewhere {
            forward: 0,
            debugger: "debugpy".into(),
            address: ([127, 0, 0, 1], 1).into(),
            pid: 1,
            further: false,
        };
        assert!(is_sound(&one, Some(&forward("debugpy"))));
        assert!(
            !is_sound(&one, Some(&forward("pydevd"))),
            "that one connects"
        );
        assert!(!is_sound(&one, None));
        let unknown = Elsewhere {
            debugger: "\u{1b}[2J".into(),
            ..one
        };
        assert!(!is_sound(&unknown, Some(&forward("debugpy"))));
    }

    #[test]
    fn no_more_are_told_in_a_session_than_a_person_can_read() {
        let mut told = Told::default();
        let one = |port: u16| Elsewhere {
            forward: 0,
            debugger: "node".into(),
            address: ([127, 0, 0, 1], port).into(),
            pid: 1,
            further: true,
        };
        assert!(told.note(&one(1)) && !told.note(&one(1)));
        let new = (2..1000).filter(|port| told.note(&one(*port))).count();
        assert_eq!((new, told.announcements().count()), (MOST - 1, MOST));
    }
}
