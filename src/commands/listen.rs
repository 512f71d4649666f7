//! `p2pdbg listen`: beside the IDE, waits for the debuggee's host.

use p2pdbg_wire::control::Role;

use super::{
    host::{Host, HostEvent},
    interrupt::Interrupt,
};
use crate::{
    cli::ListenOptions,
    facts::HostFacts,
    failure::{Failure, Outcome},
    forward::Forward,
    listening,
    meeting::Whom,
    report::{Event, Reporter},
    session::SessionEnd,
};

/// Runs until it is interrupted.
///
/// # Errors
/// When it cannot go on.
pub async fn run(options: ListenOptions, reporter: Reporter) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::new()?;
    let rendezvous = options.session.rendezvous.without_key();
    let settle = |spec: crate::forward::ForwardSpec| spec.resolve(listening::seen_on);
    let forwards: Vec<Forward> = options.forwards.into_iter().map(settle).collect();
    let mut host = Host::open(
        Role::Listener,
        options.session,
        forwards,
        options.absent,
        HostFacts::of_this_host(false, None),
        reporter.clone(),
    )?;
    let whom = match &options.peer {
        Some(name) => Whom::Known(host.known_peer(name)?),
        None => Whom::CodeHolder,
    };
    host.meet(whom);
    let result = loop {
        let event = tokio::select! {
            event = host.event() => event,
            () = interrupt.wait() => break Ok(Outcome::Interrupted),
        };
        match event {
            Ok(HostEvent::Code(code)) => reporter.emit(Event::Ready {
                command: format!("p2pdbg connect {code} --rendezvous '{rendezvous}'"),
                code: Some(code),
            }),
            Ok(HostEvent::Ready(_)) => {}
            Ok(HostEvent::Over(SessionEnd::Failed(failure))) => break Err(failure),
            Ok(HostEvent::Over(end)) => {
                reporter.emit(Event::Closed {
                    why: end.to_string(),
                });
                host.await_return();
            }
            Err(failure) => break Err(failure),
        }
    };
    host.close().await;
    result
}
