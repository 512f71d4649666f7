//! The tunnel through a relay besides the rendezvous' own. It is preferred to the one through the rendezvous, which
//! stays as it is: when the nearer relay goes silent, streams are back there at once.

use std::time::Instant;

use p2pdbg_proto::{control::Role, tunnel::PathKind};

use super::{Decisions, Near, Output, listener_dial::Ends};

impl Decisions {
    pub(super) fn on_near_at(&mut self, near: Option<Near>, now: Instant) {
        // Tunnels through another one lead nowhere from now on.
        for epoch in self.tunnels.set_near(near.map(|near| near.address)) {
            self.close(epoch);
        }
        self.path_status.on_near(near);
        self.choose(now);
    }

    pub(super) fn on_near_relay(&mut self, (socket, remote): Ends) {
        let path = PathKind::RelayUdp;
        let is_due = self.settings.role == Role::Connector && !self.tunnels.serves_near();
        if is_due && self.tunnels.is_near(remote) && self.tunnels.begin_dial(path, remote) {
            self.put(Output::Dial {
                socket,
                remote,
                path,
            });
        }
    }
}
