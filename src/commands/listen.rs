//! `p2pdbg listen`: beside the IDE, waits for the debuggee's host, or for several.

use p2pdbg_base::{Failure, Outcome};
use p2pdbg_events::{Event, Reporter};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::Forward;
use p2pdbg_meeting::{Awaited, Whom};
use p2pdbg_proto::{code::Code, rendezvous::Role, tunnel::Direction, url::RendezvousUrl};
use p2pdbg_session::SessionEnd;

use super::{
    interrupt::Interrupt,
    offer,
    other_listeners::OtherListeners,
    running_peer::{RunningPeer, RunningPeerEvent},
};
use crate::{
    cli::{ListenOptions, PeersOptions},
    report::OutputLost,
};

/// Runs until it is interrupted, or what it reports is lost.
///
/// # Errors
/// When it cannot go on.
pub async fn run(
    options: ListenOptions,
    reporter: Reporter,
    mut output_lost: OutputLost,
) -> Result<Outcome, Failure> {
    #[cfg(unix)]
    let _reaper = super::orphans::Reaper::start()?;
    let mut interrupt = Interrupt::new()?.or_end_of_stdin(options.until_stdin_ends)?;
    let rendezvous = options.session.rendezvous.without_key();
    let others = OtherListeners::look(options.session.state.as_deref());
    let forwards = others.settle(options.forwards)?;
    let program = program_there(&forwards);
    let root = options.session.policy.sources.root.as_deref();
    let facts = HostFacts::of_this_host(false, None).with_root(root);
    let mut host = RunningPeer::open(
        Role::Listener,
        options.session,
        forwards,
        &options.peers,
        facts,
        reporter.clone(),
    )?;
    host.note_options(options.given);
    host.meet(whom(&host, &options.peers)?);
    let mut offer = None;
    let result = loop {
        let event = tokio::select! {
            event = host.event() => event,
            () = interrupt.wait() => break Ok(Outcome::Interrupted),
            failure = output_lost.wait() => break Err(failure),
        };
        match event {
            Ok(RunningPeerEvent::Offered(script)) => offer = offer::known(script),
            Ok(RunningPeerEvent::Code(code)) => {
                reporter.emit(ready(code, &rendezvous, offer.as_ref(), program.as_deref()));
            }
            Ok(RunningPeerEvent::Ready(_)) => {}
            // What becomes of one of several peers is nothing to the others.
            Ok(RunningPeerEvent::Over(SessionEnd::Failed(failure), _))
                if !host.is_for_several() =>
            {
                break Err(failure);
            }
            Ok(RunningPeerEvent::Over(end, of)) => {
                of.emit(Event::Closed {
                    why: end.to_string(),
                });
                host.await_return(&of);
            }
            Err(failure) => break Err(failure),
        }
    };
    host.close().await;
    result
}

/// What is told of a code: how to come by it.
fn ready(
    code: Code,
    rendezvous: &RendezvousUrl,
    offer: Option<&offer::Script>,
    program: Option<&str>,
) -> Event {
    let command = format!("p2pdbg connect {code} --rendezvous '{rendezvous}'");
    Event::Ready {
        without_install: offer.map(|script| offer::line(rendezvous, script, &command)),
        with_program: program.map(|start| format!("{command} -- {start}")),
        command,
        code: Some(code),
    }
}

/// Who is waited for.
///
/// # Errors
/// If no peer is known by a name that was given.
fn whom(host: &RunningPeer, peers: &PeersOptions) -> Result<Whom, Failure> {
    let known = peers.known.iter().map(|name| host.known_peer(name));
    let known: Vec<_> = known.collect::<Result<_, _>>()?;
    Ok(match &known[..] {
        _ if host.is_for_several() => Whom::Several(Awaited {
            known,
            code: peers.makes_codes,
        }),
        [known] => Whom::Known(known.clone()),
        _ => Whom::CodeHolder,
    })
}

/// What starts the program that the first of these debuggers listens in, at the debuggee's host.
fn program_there(forwards: &[Forward]) -> Option<String> {
    let mut listens = forwards
        .iter()
        .filter(|forward| forward.direction == Direction::ToDebuggee);
    listens.find_map(Forward::start_debuggee)
}

#[cfg(test)]
mod tests {
    use p2pdbg_forward::Preset;

    use super::*;

    #[test]
    fn program_behind_connect_is_that_of_the_first_debugger_that_listens() {
        let of = |presets: &[Preset]| {
            let forwards: Vec<Forward> = presets
                .iter()
                .map(|preset| Forward::of_preset(*preset, 5_679))
                .collect();
            program_there(&forwards)
        };
        assert_eq!(
            of(&[Preset::Pydevd, Preset::Debugpy, Preset::Delve]).as_deref(),
            Some("python -m debugpy --listen 127.0.0.1:5679 --wait-for-client app.py")
        );
        assert_eq!(of(&[Preset::Pydevd]), None);
        assert_eq!(of(&[]), None);
    }
}
