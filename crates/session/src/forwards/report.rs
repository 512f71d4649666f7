//! What a person is told of the forwards, and how `status` shows them.

use std::net::SocketAddr;

use p2pdbg_base::{HostPort, Opened};
use p2pdbg_events::{
    Event as Report, Waiting, WaitingFor, Warning, WarningCode,
    snapshot::{ForwardSnapshot, ForwardStanding},
};
use p2pdbg_forward::{Forward, Preset};
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{Direction, ForwardState, WhileAbsent},
};

use super::{Entry, Forwards};

impl Forwards {
    /// Warns, once, of a debug port that other hosts can reach.
    pub(crate) fn on_open_to_network(&mut self, address: SocketAddr) {
        if !self.open_to_network.contains(&address) {
            self.open_to_network.push(address);
            let warning = Warning::open_debug_port(address);
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// The forwards as they are.
    pub(crate) fn describe(&self) -> Vec<ForwardSnapshot> {
        let describe = |entry: &Entry| ForwardSnapshot {
            direction: entry.forward.direction,
            listen: asked(&entry.forward),
            to: entry.forward.target.clone(),
            debugger: entry.forward.preset(),
            state: match entry.state {
                None => ForwardStanding::Asked,
                Some(ForwardState::Up { .. }) if self.awaits_target(entry) => {
                    ForwardStanding::Closed
                }
                Some(ForwardState::Up { .. }) => ForwardStanding::Up,
                Some(_) => ForwardStanding::Failed,
            },
        };
        self.table.iter().map(describe).collect()
    }

    /// Whether this end would open the port of a forward, and does not before something listens at its target.
    fn awaits_target(&self, entry: &Entry) -> bool {
        let opens = match entry.forward.direction {
            Direction::ToDebuggee => self.role == Role::Listener,
            Direction::ToIde => self.role == Role::Connector,
        };
        opens
            && !entry.added
            && entry.while_absent != WhileAbsent::Hold
            && entry.accepting.is_none()
    }

    /// Tells of a port that opens only once something listens at its target: whoever dials it meanwhile is refused, and
    /// would not know why.
    pub(super) fn report_awaited(&self, forward: u16) {
        let entry = self.table.get(usize::from(forward));
        if let Some(entry) = entry.filter(|entry| self.awaits_target(entry)) {
            self.reporter.emit(Report::Waiting(Waiting {
                awaited: match self.role {
                    Role::Listener => WaitingFor::Debuggee,
                    Role::Connector => WaitingFor::Ide,
                },
                at: Some(entry.forward.target.clone()),
                run: None,
            }));
        }
    }

    /// Tells, once for each forward, that something speaks to a debugger as a browser does.
    pub(crate) fn on_turned_away(&mut self, forward: u16) {
        if let Some(entry) = self.tell_once(forward, WarningCode::WebPage) {
            let debugger = entry.forward.preset().map_or("a debugger", Preset::name);
            let message = format!(
                "something spoke to port {} as a browser does (HTTP, TLS or TURN), for a web page that tries the ports \
                 of this computer; it was turned away",
                entry.forward.bind.port
            );
            let hint = format!(
                "if no page that is open here may do so, close it; {debugger} is not meant for browsers"
            );
            let warning = Warning::new(WarningCode::WebPage, message).hint(hint);
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// Tells, once for each forward, that another user of this host tried its port.
    pub(crate) fn on_other_user(&mut self, forward: u16, uid: Option<u32>) {
        if let Some(entry) = self.tell_once(forward, WarningCode::OtherUser) {
            let who = match uid {
                Some(uid) => format!("a program of user {uid}"),
                None => "a program of which the system does not tell whose it is".to_owned(),
            };
            let port = entry.forward.bind.port;
            let message = format!("{who} tried port {port} and was turned away");
            let warning = Warning::new(WarningCode::OtherUser, message)
                .hint("that is what --same-user is for; without it everybody on this host may");
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// Tells, once for each forward, that its target takes connections and closes them.
    pub(crate) fn on_hung_up(&mut self, forward: u16) {
        if let Some(entry) = self.tell_once(forward, WarningCode::TargetHangsUp) {
            let message = format!(
                "{} takes connections and closes them without a word: what listens there is not the debugger",
                entry.forward.target
            );
            let warning = Warning::new(WarningCode::TargetHangsUp, message).hint(
                "docker-proxy, kubectl port-forward and ssh -L do so while nothing listens behind them; start the \
                 debuggee there, the connection is held and tried again",
            );
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// Tells, once for each forward, that a client waits for a word that nobody says: nobody was dialled.
    pub(crate) fn on_silent(&mut self, forward: u16) {
        if let Some(entry) = self.tell_once(forward, WarningCode::SilentClient) {
            let Forward { bind, target, .. } = &entry.forward;
            let (port, debugger) = (bind.port, entry.forward.preset());
            let message = format!(
                "a program has connected to port {port} and says nothing; {} speaks first, so nothing was dialled for it",
                debugger.map_or("the client of a debugger".to_owned(), |preset| format!(
                    "the client of {}",
                    preset.name()
                ))
            );
            let hint = format!(
                "a look at the port needs no more; where the other end speaks first, forward it by -L {port}:{target}"
            );
            let warning = Warning::new(WarningCode::SilentClient, message).hint(hint);
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// The forward, if nobody was told this of it so far.
    fn tell_once(&mut self, forward: u16, what: WarningCode) -> Option<&Entry> {
        let entry = self.table.get_mut(usize::from(forward))?;
        if entry.told.contains(&what) {
            return None;
        }
        entry.told.push(what);
        Some(entry)
    }

    pub(super) fn report_forward(&self, forward: u16, listen: Option<Opened>) {
        let Some(entry) = self.table.get(usize::from(forward)) else {
            return;
        };
        let Some(listen) = listen.or_else(|| asked(&entry.forward)) else {
            return;
        };
        self.reporter.emit(Report::Forward {
            direction: entry.forward.direction,
            listen,
            to: entry.forward.target.clone(),
            debugger: entry.forward.preset(),
            start: entry.forward.start_debuggee(),
        });
    }

    pub(super) fn warn_not_allowed(&self, what: &dyn std::fmt::Display) {
        let what = what.to_string();
        let warning = Warning::new(
            WarningCode::TargetNotAllowed,
            format!("the peer asked for {what}, which is not allowed here"),
        )
        .hint(format!(
            "to allow it, run p2pdbg connect with --allow {what}"
        ));
        self.reporter.emit(Report::Warning(warning));
    }
}

/// Where a forward is to be opened; `None` if no port is opened, or whichever is free.
fn asked(forward: &Forward) -> Option<Opened> {
    let port = forward.bind.port;
    let at_port = || (port != 0).then(|| HostPort::loopback(port).into());
    forward.socket.clone().map(Opened::Socket).or_else(at_port)
}
