//! How peers find each other: by code, by a wrong one, again, and several at once.

use p2pdbg_base::{ErrorCode, Outcome};
use p2pdbg_events::{Event, WarningCode};

use super::world::{Debuggee, Peer, Rendezvous, dial, echo, name_of, state};

#[tokio::test]
async fn listener_and_connector_pair_by_code_and_a_debugger_talks_to_its_debuggee() {
    let rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let mut listener = Peer::listen(&rendezvous, ide.path(), &["-L", &debuggee.forward]);
    let code = listener.code().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code, "--name", "web"]);
    assert_eq!(listener.paired().await, ("web".into(), false));
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
    assert_eq!(echo(&mut ide, b"hello").await, b"hello");
    assert!(!connector.paired().await.1);
    let direct = |path: &p2pdbg_events::PathReport| path.kind == p2pdbg_events::PathKind::Direct;
    listener.path(direct).await;
    connector.path(direct).await;
    // The stream that began on the relay has moved along.
    assert_eq!(echo(&mut ide, b"moved").await, b"moved");
}

#[tokio::test]
async fn wrong_word_burns_the_code_and_the_next_code_serves() {
    let rendezvous = Rendezvous::start().await;
    let [ide, guesser, web] = [(); 3].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let mut listener = Peer::listen(&rendezvous, ide.path(), &["-L", &debuggee.forward]);
    let code = listener.code().await;
    let (nameplate, _) = code.split_once('-').unwrap();
    let wrong = match code.ends_with("zoo-zoo-zoo") {
        true => format!("{nameplate}-zone-zone-zone"),
        false => format!("{nameplate}-zoo-zoo-zoo"),
    };
    let guess = Peer::connect(&rendezvous, guesser.path(), &[&wrong]);
    let failure = guess.end().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::CodeRefused, "{failure}");
    listener.warned(WarningCode::CodeBurned).await;
    let next = listener.code().await;
    assert_ne!(next, code);
    let late = Peer::connect(&rendezvous, guesser.path(), &[&code]);
    let failure = late.end().await.unwrap_err();
    assert_eq!(failure.exit_status(), 3, "{failure}");
    let _connector = Peer::connect(&rendezvous, web.path(), &[&next]);
    assert!(!listener.paired().await.1);
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
}

#[tokio::test]
async fn debuggee_killed_and_started_again_comes_back_without_another_code() {
    let rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let mut listener = Peer::listen(&rendezvous, ide.path(), &["-L", &debuggee.forward]);
    let code = listener.code().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code]);
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
    connector.paired().await;
    connector.kill().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code]);
    listener.warned(WarningCode::PeerRestarted).await;
    assert!(listener.paired().await.1, "it is known");
    assert!(connector.paired().await.1, "so is the listener");
    // The connection of the process that is gone is reset, and the next one leads to the new process.
    assert!(tokio::io::AsyncReadExt::read_u8(&mut ide).await.is_err());
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
}

#[cfg(unix)]
#[tokio::test]
async fn command_that_ends_gives_its_status_and_ends_the_session_at_the_listener() {
    let rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let mut listener = Peer::listen(&rendezvous, ide.path(), &["-L", &debuggee.forward]);
    let code = listener.code().await;
    let port = debuggee.forward.rsplit(':').next().unwrap();
    // 7 if it has the debuggee's port in its environment.
    let script = format!("test \"$DEBUGGER_PORT\" = {port} && exit 7");
    let options = [&*code, "--", "sh", "-c", &script];
    let connector = Peer::connect(&rendezvous, web.path(), &options);
    assert_eq!(connector.end().await, Ok(Outcome::Command(7)));
    assert_eq!(listener.closed().await, "the peer ended the session");
    let awaited = |event| matches!(event, Event::Waiting(_)).then_some(());
    listener.report(awaited).await;
}

#[tokio::test]
async fn two_debuggees_of_one_listener_have_a_port_each_and_a_third_has_none() {
    let rendezvous = Rendezvous::start().await;
    let [ide, one, two, three] = [(); 4].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let options = ["--peers", "2", "-L", &debuggee.forward];
    let mut listener = Peer::listen(&rendezvous, ide.path(), &options);
    let first = listener.code().await;
    let _one = Peer::connect(&rendezvous, one.path(), &[&first, "--name", "one"]);
    let (of_one, port_of_one) = listener.port_of().await;
    let second = listener.code().await;
    assert_ne!(first, second, "a code leads one peer here");
    let mut two = Peer::connect(&rendezvous, two.path(), &[&second, "--name", "two"]);
    let (of_two, port_of_two) = listener.port_of().await;
    let names = [of_one.as_deref(), of_two.as_deref()];
    assert_eq!(names, [Some("one"), Some("two")]);
    assert_ne!(port_of_one, port_of_two);
    for port in [&port_of_one, &port_of_two] {
        assert_eq!(name_of(&mut dial(port).await, 8).await, "debuggee");
    }
    // Every place is taken, so no code is made, and the last one is used up.
    let third = Peer::connect(&rendezvous, three.path(), &[&second]);
    assert_eq!(third.end().await.unwrap_err().exit_status(), 3);
    // One that leaves is nothing to the other.
    two.paired().await;
    two.kill().await;
    assert_eq!(name_of(&mut dial(&port_of_one).await, 8).await, "debuggee");
}

#[tokio::test]
async fn code_that_nobody_has_made_is_refused_with_status_3() {
    let rendezvous = Rendezvous::start().await;
    let web = state();
    let connector = Peer::connect(&rendezvous, web.path(), &["123456-zoo-zoo-zoo"]);
    let failure = connector.end().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NameplateUnknown);
    assert_eq!(failure.exit_status(), 3);
}

#[tokio::test]
async fn rendezvous_that_is_not_there_ends_both_commands_with_status_4() {
    let mut rendezvous = Rendezvous::start().await;
    rendezvous.stop().await;
    let home = state();
    let connector = Peer::connect(&rendezvous, home.path(), &["123456-zoo-zoo-zoo"]);
    let failure = connector.end().await.unwrap_err();
    assert_eq!(
        (failure.code, failure.exit_status()),
        (ErrorCode::RendezvousUnreachable, 4)
    );
    let listener = Peer::listen(&rendezvous, home.path(), &[]);
    assert_eq!(listener.end().await.unwrap_err().exit_status(), 4);
}
