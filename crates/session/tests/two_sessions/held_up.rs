//! What one end says of targets and of streams that wait, while tunnels come and go: a session at the listener, and the
//! other end of its tunnels.

use p2pdbg_events::StreamState;
use p2pdbg_ledger::{CarrierHeader, Side, StreamId};
use p2pdbg_proto::tunnel::{ForwardState, TunnelMessage, close};
use p2pdbg_tunnel::ControlStreamReader;

use super::{hostile::Hostile, *};

fn stream_state(event: Event) -> Option<StreamState> {
    match event {
        Event::Stream { state, .. } => Some(state),
        _ => None,
    }
}

/// What is said next of a stream's waiting.
async fn waiting(control: &mut ControlStreamReader) -> bool {
    in_time(async {
        loop {
            let message = control.read().await.unwrap();
            if let TunnelMessage::StreamWaiting { waiting, .. } = message {
                return waiting;
            }
        }
    })
    .await
}

#[tokio::test]
async fn stream_that_waits_no_longer_is_told_on_the_next_tunnel_if_there_was_none() {
    let (held, at) = held_port();
    let mut end = Hostile::with(|config| {
        config.forwards = vec![forward(Direction::ToIde, at)];
    })
    .await;
    let (tunnel, mut control) = end.tunnel().await;
    let header = CarrierHeader {
        stream: StreamId::new(Side::Connector, 0),
        forward: 0,
        ordinal: 0,
        offset: 0,
    };
    let mut carrier = in_time(tunnel.connection.open_uni()).await.unwrap();
    carrier.write_all(&header.encode()).await.unwrap();
    assert!(waiting(&mut control).await);
    tunnel.close(close::REPLACED);
    let ide = held.listen(8).unwrap();
    let _joined = in_time(ide.accept()).await.unwrap();
    let open = |event| stream_state(event).filter(|state| *state == StreamState::Open);
    end.listener.report(open).await;
    let (_tunnel, mut control) = end.tunnel().await;
    assert!(!waiting(&mut control).await);
}

#[tokio::test]
async fn what_was_held_up_on_another_tunnel_is_not_believed_after_what_is_newer() {
    let mut end = Hostile::new().await;
    let port = end.listener.port().await;
    let _ide = dial(&port).await;
    let (tunnel, _control) = end.tunnel().await;
    let stream = StreamId::new(Side::Listener, 0).to_u64();
    for (waiting, number) in [(true, 1), (false, 3), (true, 2)] {
        tunnel.send(TunnelMessage::StreamWaiting {
            stream,
            waiting,
            number,
        });
    }
    // What comes after it is told after it.
    tunnel.send(TunnelMessage::ForwardState {
        forward: 0,
        state: ForwardState::NotAllowed,
    });
    let last = std::cell::Cell::new(None);
    end.listener
        .report(|event| {
            let is_warning = matches!(event, Event::Warning(_));
            last.set(stream_state(event).or(last.get()));
            is_warning.then_some(())
        })
        .await;
    assert_eq!(last.get(), Some(StreamState::Open));
}

#[tokio::test]
async fn target_that_ceased_to_listen_before_it_began_to_again_leaves_the_port_open() {
    let mut end = Hostile::with(|config| {
        config.policy = Arc::new(SessionPolicy {
            absent: Some(p2pdbg_base::HoldPolicy::Refuse),
            ..SessionPolicy::default()
        });
    })
    .await;
    let (tunnel, _control) = end.tunnel().await;
    for (listening, number) in [(true, 3), (false, 2)] {
        tunnel.send(TunnelMessage::TargetListening {
            forward: 0,
            listening,
            number,
        });
    }
    let port = end.listener.port().await;
    tunnel.send(TunnelMessage::ForwardState {
        forward: 0,
        state: ForwardState::NotAllowed,
    });
    assert_eq!(end.listener.warning().await, WarningCode::TargetNotAllowed);
    drop(dial(&port).await);
}
