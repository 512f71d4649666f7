//! What comes from the network: answers of STUN servers, and the peer's checks and answers.

use std::net::SocketAddr;

use p2pdbg_proto::address;
use p2pdbg_stun::{Class, Fingerprint, Message};

use super::Engine;
use crate::{
    Family, PunchEvent, SocketId, Technique,
    candidate::{self, Kind},
    check::{self, FromPeer, Length, Nominated},
    stun_gathering::Answer,
    transactions::{Purpose, Sent},
};

impl Engine {
    pub(super) fn on_datagram(&mut self, socket: SocketId, from: SocketAddr, payload: &[u8]) {
        let from = address::canonical(from);
        let Ok(message) = Message::decode(payload) else {
            return;
        };
        let family = Family::of(from.ip());
        if !candidate::is_usable(from)
            || self
                .host
                .sockets
                .get(&socket)
                .is_none_or(|s| s.family != family)
        {
            return;
        }
        let sent = self.out.transactions.peek(message.transaction()).copied();
        if let Some(
            sent @ Sent {
                purpose: Purpose::Server,
                ..
            },
        ) = sent
        {
            if sent.socket == socket && sent.to == from {
                self.on_server_answer(&message, sent);
            }
            return;
        }
        let said = check::read(&self.out.keys, &message);
        if said.is_some() {
            self.tcp.on_heard(self.now, socket);
        }
        match said {
            Some(FromPeer::Request {
                transaction,
                nomination,
            }) => {
                let length = Length::of(payload);
                self.out
                    .answer(self.now, (socket, from), transaction, length);
                self.on_check((socket, from), nomination);
            }
            Some(FromPeer::Response {
                transaction,
                mapped,
            }) => {
                if let Some(sent) = self
                    .out
                    .transactions
                    .take(transaction)
                    .filter(|sent| sent.socket == socket)
                {
                    self.on_check_answered(sent, from, Length::of(payload));
                    self.on_seen_at((sent.socket, from), mapped);
                }
            }
            None => {}
        }
    }

    /// The peer tells where it saw the check come from. If that is a port which a gateway maps, then that port is what
    /// let the peer in, from wherever it came.
    fn on_seen_at(&mut self, key: (SocketId, SocketAddr), seen: Option<SocketAddr>) {
        if let Some(seen) = seen.map(address::canonical)
            && self.host.mapped.get(&key.0) == Some(&seen)
            && let Some(pair) = self.attempts.checks.get_mut(key)
            && pair.technique == Technique::PeerReflexive
        {
            pair.technique = Technique::PortMapping;
        }
    }

    fn on_server_answer(&mut self, message: &Message<'_>, sent: Sent) {
        if message.class() != Class::Success || message.fingerprint() == Fingerprint::Invalid {
            return;
        }
        let Some(mapped) = message.mapped_address().map(address::canonical) else {
            return;
        };
        if !candidate::is_usable(mapped) || mapped.is_ipv6() != sent.to.is_ipv6() {
            return;
        }
        self.out.transactions.take(message.transaction());
        if sent.socket > SocketId::V6 {
            self.on_search_mapped(sent, mapped);
            return;
        }
        let rtt = self.now.duration_since(sent.at);
        self.host.server_rtt = Some(self.host.server_rtt.map_or(rtt, |least| least.min(rtt)));
        self.on_server_alive();
        match self
            .host
            .gathering
            .on_answer(self.now, sent.socket, sent.to, mapped)
        {
            Answer::New(address) => {
                self.host.signal_due = true;
                self.out.event(PunchEvent::Gathered {
                    kind: Kind::ServerReflexive,
                    address,
                });
            }
            Answer::Moved(_) => {
                // A mapping that is gone right after a search had to make room for it.
                self.on_harm();
                self.on_moved();
            }
            Answer::Same | Answer::Unasked => {}
        }
        self.update_report();
    }

    /// The peer checks a pair: it is alive at that address, whatever it had announced.
    fn on_check(&mut self, key: (SocketId, SocketAddr), nomination: Option<Nominated>) {
        let technique = self.revealed_by(key);
        if self.attempts.checks.get(key).is_none()
            && let Some(direct) = &mut self.path.direct
        {
            // The peer comes from elsewhere than before: perhaps its NAT has forgotten the path that stands.
            direct.consent.doubt(self.now);
        }
        if let Some(direct) = self.path.direct.as_mut().filter(|d| d.key() == key) {
            direct.consent.on_request(self.now);
        }
        if !self.attempts.checks.add_unannounced(key, technique) {
            return;
        }
        if !self.is_controlling() && self.path.direct.is_none() {
            let (socket, remote) = key;
            self.out.event(PunchEvent::Heard { socket, remote });
        }
        if let (Some(nominated), false) = (nomination, self.is_controlling())
            && let Some(pair) = self.attempts.checks.get_mut(key)
            && pair
                .wanted
                .is_none_or(|wanted| wanted.number < nominated.number)
        {
            pair.wanted = Some(nominated);
        }
        self.attempts.checks.trigger(self.now, key);
    }

    pub(super) fn on_check_answered(&mut self, sent: Sent, from: SocketAddr, length: Length) {
        let key = (sent.socket, sent.to);
        if from != sent.to {
            // The peer is behind a NAT that answers from another port: that one is worth a check of its own.
            self.on_check((sent.socket, from), None);
            return;
        }
        let rtt = self.now.duration_since(sent.at);
        let technique = self.revealed_by(key);
        if !self.attempts.checks.add_unannounced(key, technique) {
            return;
        }
        let was_valid = self.attempts.checks.get(key).is_some_and(|p| p.is_valid());
        self.attempts.checks.on_valid(self.now, key, rtt, length);
        self.tell_of_lan(key);
        if !was_valid {
            self.out.event(PunchEvent::PairValid {
                socket: key.0,
                remote: key.1,
                technique: self
                    .attempts
                    .checks
                    .get(key)
                    .map_or(technique, |p| p.technique),
                rtt,
            });
        }
        if let Some(direct) = self.path.direct.as_mut().filter(|d| d.key() == key)
            && let Some(after) = direct.consent.on_answer(self.now)
        {
            self.out.event(PunchEvent::PathAnswers { after });
        }
        if let Purpose::Check {
            nomination: Some(nominated),
            ..
        } = sent.purpose
            && length == Length::Wide
            && self.path.nomination.on_confirmed(nominated.number)
        {
            self.path.nominate_anew = false;
            self.establish(key, nominated, rtt);
        } else {
            self.tell_unused();
        }
    }
}
