//! Answers the listener's conversations about programs, at the connector.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use p2pdbg_base::Descriptors;
use p2pdbg_forward::Within;
#[cfg(target_os = "linux")]
use p2pdbg_net::listening;
use p2pdbg_proto::attach::{AttachMessage, MAX_COMMAND, Refusal, Tool, Wanted};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
};

use crate::{Attached, Consent, GoesOn, conversation::Conversation};

/// Conversations that are answered at once.
const CONVERSATIONS: usize = 4;

/// What may go on at once: debuggers that were attached, and looks for what debugpy sends.
#[cfg(target_os = "linux")]
const LOOKS: usize = 64;

/// The programs of this host, for the peer to have debuggers attached to.
#[derive(Clone)]
pub struct Programs(Arc<Shared>);

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs")
            .field("consent", &self.0.consent)
            .finish_non_exhaustive()
    }
}

/// A debugger that has attached, by its process' number and start.
type Name = (u32, u64, Tool);

struct Shared {
    consent: Consent,
    descriptors: Descriptors,
    conversations: Semaphore,
    /// One debugger attaches at a time.
    attaching: Semaphore,
    /// At which port each awaits its IDE.
    attached: Mutex<HashMap<Name, u16>>,
    /// What goes on for the debuggers that have attached; it ends with the session.
    running: Mutex<JoinSet<()>>,
    #[cfg(target_os = "linux")]
    looks: Mutex<crate::tcp_nodelay::Looks>,
    told: Box<dyn Fn(Attached) + Send + Sync>,
}

impl Programs {
    /// Those of this host; `consent` says whether its user lets the peer attach, and `descriptors` how many a
    /// debugger's tool may have. What was attached to is told to `told`.
    pub fn new(
        consent: Consent,
        descriptors: Descriptors,
        told: impl Fn(Attached) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            consent,
            descriptors,
            conversations: Semaphore::new(CONVERSATIONS),
            attaching: Semaphore::new(1),
            attached: Mutex::default(),
            running: Mutex::default(),
            #[cfg(target_os = "linux")]
            looks: Mutex::default(),
            told: Box::new(told),
        }))
    }

    /// Answers one conversation: the session's end of it, and what is to be run. None while there are too many.
    pub fn answer(&self) -> Option<(Within, impl Future<Output = ()> + Send + 'static)> {
        let (here, session) = Within::pair();
        if self.0.conversations.available_permits() == 0 {
            return None;
        }
        let programs = self.clone();
        let answering = async move {
            let Ok(_permit) = programs.0.conversations.try_acquire() else {
                return;
            };
            if let Err(error) = programs.converse(Conversation::over(here)).await {
                tracing::info!(%error, "a conversation about programs came to nothing");
            }
        };
        Some((session, answering))
    }

    /// Has debugpy, whose adapter awaits its IDE on this port of the loopback, send its messages without delay: in what
    /// this process has started, and in what debuggers were attached to. Linux alone; it is done when it is done.
    pub fn send_at_once(&self, port: u16) {
        #[cfg(target_os = "linux")]
        {
            let mut running = lock(&self.0.running);
            // Those that have ended would be kept until they are asked for.
            while running.try_join_next().is_some() {}
            if running.len() < LOOKS && lock(&self.0.looks).begin(port) {
                // What runs is to end with the session, and not after the last look.
                let shared = Arc::downgrade(&self.0);
                let mut roots = self.0.roots();
                running.spawn_blocking(move || {
                    loop {
                        let sockets = crate::tcp_nodelay::send_at_once(port, &roots);
                        tracing::debug!(port, sockets, "debugpy sends at once");
                        match shared.upgrade() {
                            Some(shared) if lock(&shared.looks).ended(port) => {
                                roots = shared.roots();
                            }
                            _ => return,
                        }
                    }
                });
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = port;
    }

    async fn converse(&self, mut talk: Conversation<Within>) -> io::Result<()> {
        while let Some(message) = talk.receive().await? {
            let answer = match message {
                AttachMessage::List { .. } | AttachMessage::Attach(_)
                    if self.0.consent == Consent::Refused =>
                {
                    // Where nothing is attached to, no option helps.
                    Err(match cfg!(target_os = "linux") {
                        true => Refusal::NotAccepted,
                        false => Refusal::System,
                    })
                }
                AttachMessage::List { meant } => self.list(meant).await,
                AttachMessage::Attach(wanted) => self.attach(wanted).await,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            talk.send(&answer.unwrap_or_else(AttachMessage::Refused))
                .await?;
        }
        Ok(())
    }

    async fn list(&self, meant: String) -> Result<AttachMessage, Refusal> {
        if meant.len() > MAX_COMMAND {
            return Err(Refusal::Gone);
        }
        let listed = spawn_blocking(move || crate::programs(&meant)).await;
        let (programs, more) = listed.map_err(|_| Refusal::System)??;
        Ok(AttachMessage::Listed {
            programs,
            more: u32::try_from(more).unwrap_or(u32::MAX),
        })
    }

    async fn attach(&self, wanted: Wanted) -> Result<AttachMessage, Refusal> {
        // It is never closed.
        let _turn = self.0.attaching.acquire().await.ok();
        let name = (wanted.pid, wanted.started, wanted.tool);
        let known = lock(&self.0.attached).get(&name).copied();
        if let Some(port) = known.filter(|port| awaits_its_ide(name, *port)) {
            return Ok(AttachMessage::Attached { port });
        }
        let (attached, goes_on) =
            crate::attach(&wanted, &self.0.consent, self.0.descriptors).await?;
        let port = attached.port;
        self.0.remember(name, port, goes_on);
        (self.0.told)(attached);
        Ok(AttachMessage::Attached { port })
    }
}

impl Shared {
    /// Keeps at which port a debugger has come to await its IDE: as long as it goes on, if it is a process of its own.
    fn remember(self: &Arc<Self>, name: Name, port: u16, goes_on: Option<GoesOn>) {
        lock(&self.attached).insert(name, port);
        let Some(goes_on) = goes_on else {
            return;
        };
        // What runs is to end with the session, and so does not hold it.
        let shared = Arc::downgrade(self);
        lock(&self.running).spawn(async move {
            goes_on.await;
            if let Some(shared) = shared.upgrade() {
                let mut attached = lock(&shared.attached);
                // It may have been attached to anew, at another port.
                if attached.get(&name) == Some(&port) {
                    attached.remove(&name);
                }
            }
        });
    }

    /// The processes to which debugpy has attached, by number and start.
    #[cfg(target_os = "linux")]
    fn roots(&self) -> Vec<(u32, u64)> {
        let attached = lock(&self.attached);
        let by_debugpy = attached.keys().filter(|name| name.2 == Tool::Debugpy);
        by_debugpy.map(|&(pid, start, _)| (pid, start)).collect()
    }
}

/// Whether a debugger that has attached still awaits its IDE at this port, which may be another program's by now. One
/// that is a process of its own is known for as long as that goes on.
#[cfg(target_os = "linux")]
fn awaits_its_ide((pid, started, tool): Name, port: u16) -> bool {
    match tool {
        Tool::Delve | Tool::Gdbserver => listening::seen_on(port),
        Tool::Debugpy | Tool::Node | Tool::Jdwp => crate::process::find(pid)
            .filter(|process| process.started() == Some(started))
            .is_some_and(|process| {
                let listening = crate::debuggable_programs::Listening::now();
                // By its port alone a program is known that has node in it under another name.
                listening.port_of(&process, crate::preset(tool)) == Some(port)
                    || crate::tools::has_port(&process, port)
            }),
    }
}

/// Nothing is attached to here.
#[cfg(not(target_os = "linux"))]
fn awaits_its_ide(_: Name, _: u16) -> bool {
    false
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{net::TcpListener, os::unix::process::CommandExt, process::Command};

    use tokio::sync::oneshot;

    use super::*;
    use crate::{adapters::tests::end, process};

    fn shared() -> Arc<Shared> {
        let descriptors = Descriptors::take_all();
        Programs::new(Consent::Refused, descriptors, |_| ()).0
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn port_of_a_debugger_that_has_ended_is_forgotten_though_somebody_listens_there() {
        let shared = shared();
        // As the next program's debugger would, which got the same port.
        let (_next, port) = listener();
        let (ends, ended) = oneshot::channel::<()>();
        let goes_on = Box::pin(async move {
            let _ = ended.await;
        });
        let name = (613, 1, Tool::Delve);
        shared.remember(name, port, Some(goes_on));
        assert_eq!(lock(&shared.attached).get(&name), Some(&port));
        assert!(awaits_its_ide(name, port));
        drop(ends);
        let mut running = std::mem::take(&mut *lock(&shared.running));
        running.join_next().await.unwrap().unwrap();
        assert_eq!(lock(&shared.attached).get(&name), None);
    }

    #[test]
    fn port_is_a_debuggers_within_a_program_only_if_that_program_has_it() {
        let (own, port) = listener();
        let (_other, other_port) = listener();
        let mut child = Command::new("sleep")
            .arg0("java")
            .arg("615")
            .env(
                "JAVA_TOOL_OPTIONS",
                format!("-agentlib:jdwp=server=y,address={port},{other_port}"),
            )
            .stdin(std::os::fd::OwnedFd::from(own))
            .spawn()
            .unwrap();
        while process::find(child.id()).unwrap().command_line() != ["java", "615"] {
            std::thread::yield_now();
        }
        let started = process::find(child.id()).unwrap().started().unwrap();
        let name = (child.id(), started, Tool::Jdwp);
        let before = (child.id(), started - 1, Tool::Jdwp);
        let said = [(name, port), (name, other_port), (before, port)]
            .map(|(name, port)| awaits_its_ide(name, port));
        end(&mut child);
        assert_eq!(said, [true, false, false]);
    }
}
