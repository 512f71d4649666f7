//! The leg at a relay that is not the session's home: bound over UDP beside the other, and given up where that does not
//! work. Which relay that is, and when another is tried, is the session's to say.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use p2pdbg_net::mux::Datagram;
use p2pdbg_proto::{
    address::canonical,
    relay::{LegId, RelayFrame},
};
use p2pdbg_punch::SocketId;

use super::{
    NearRelay, PathEvent, PathSocket,
    leg_transport::{Relay, RelayAction},
};

/// How long binding may take, at first and again. Meanwhile the relay at the rendezvous serves.
const PATIENCE: Duration = Duration::from_secs(5);

/// The leg there, if there is to be one.
#[derive(Default)]
pub(super) struct NearLeg {
    leg: Option<Bound>,
}

/// A leg that is bound, or is being bound.
struct Bound {
    id: LegId,
    relay: Relay,
    /// When it is given up, if it is not bound by then.
    give_up: Instant,
}

impl NearLeg {
    /// Begins to bind this leg, in place of any before, or gives up the one that there is.
    pub(super) fn set(&mut self, near: Option<NearRelay>, now: Instant) {
        self.leg = near.map(|near| {
            let address = canonical(near.address);
            let socket = SocketId::for_address(address);
            Bound {
                id: near.leg.leg,
                relay: Relay::by_ticket(near.leg, near.ticket, address, socket, now),
                give_up: now + PATIENCE,
            }
        });
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let Bound { relay, give_up, .. } = self.leg.as_ref()?;
        let unbound = (!relay.is_bound()).then_some(*give_up);
        relay.poll_timeout().into_iter().chain(unbound).min()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(Bound { relay, .. }) = &mut self.leg {
            relay.handle_timeout(now);
        }
    }

    /// Takes a frame of a relay that came over UDP.
    pub(super) fn handle_frame(&mut self, datagram: &Datagram, now: Instant) {
        if let Some(Bound { relay, .. }) = &mut self.leg
            && (datagram.socket, datagram.from) == (relay.socket, relay.address)
            && let Ok(frame) = RelayFrame::decode(&datagram.payload)
        {
            relay.handle_frame(now, &frame);
        }
    }

    /// Something is silent, or this host's network is another.
    pub(super) fn rebind(&mut self, now: Instant) {
        if let Some(Bound { relay, give_up, .. }) = &mut self.leg {
            *give_up = now + PATIENCE;
            relay.rebind(now);
        }
    }

    /// Carries out what is to be done; gives what the session is to be told.
    pub(super) fn flush(
        &mut self,
        sockets: &HashMap<SocketId, PathSocket>,
        now: Instant,
    ) -> Vec<PathEvent> {
        let mut news = Vec::new();
        let mut over = None;
        if let Some(Bound { id, relay, give_up }) = &mut self.leg {
            let mut is_over = !relay.is_bound() && *give_up <= now;
            while let Some(action) = relay.poll_action(now) {
                let Some(socket) = sockets.get(&relay.socket) else {
                    is_over = true;
                    break;
                };
                match action {
                    RelayAction::Send(frame) => {
                        if let Err(error) = socket.mux.send(relay.address, &frame, None) {
                            tracing::debug!(%error, "cannot send to the nearer relay");
                        }
                    }
                    RelayAction::Ready(_) => news.push(PathEvent::NearRelay {
                        socket: socket.clone(),
                        remote: relay.address,
                    }),
                    RelayAction::Gone => is_over = true,
                    // Nobody calls there, and TCP is not used.
                    RelayAction::Near
                    | RelayAction::Connect
                    | RelayAction::Check
                    | RelayAction::LeaveTcp
                    | RelayAction::HangUp => {}
                }
            }
            over = is_over.then_some(*id);
        }
        if let Some(leg) = over {
            self.leg = None;
            news.push(PathEvent::NearGone { leg });
        }
        news
    }
}
