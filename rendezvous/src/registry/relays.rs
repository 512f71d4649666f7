//! Sessions that another node relays: this one makes the ticket, and goes on as their home.

use p2pdbg_proto::{
    node::NodeNumber,
    relay::{LegGrant, LegId, TICKET_LIFETIME},
    rendezvous::{FromRendezvous, Refusal, Role, SessionId},
    secret::{Secret, random_bytes},
};

use super::{ConnId, Effect, Now, Registry};
use crate::{
    relay::side,
    ticket_codec::{Terms, Ticket},
};

/// What a ticket costs of the signals that a peer may say.
const COST: u32 = 20;

impl Registry {
    /// Has a session relayed by another node, as a member asks; both are told. What cannot be is not answered, but that
    /// the node goes out of service: the member has others to ask for.
    pub(super) fn relay_elsewhere(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        number: NodeNumber,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let rate = self.limits.signals;
        let within_rate = self
            .connections
            .get_mut(&id)
            .is_some_and(|connection| connection.signals.take(rate, now.instant, COST).is_ok());
        let accounts = self.sessions.accounts_of(session, id);
        let relay = self.cluster.as_ref().and_then(|c| c.relay(number));
        let (Some(accounts), Some(key), true) = (accounts, relay, within_rate) else {
            return Ok(());
        };
        let draining = self.cluster.as_ref().map(|c| &c.draining);
        if draining.is_some_and(|draining| draining.contains(&number)) {
            return Err(Refusal::Draining);
        }
        let legs = [(); 2].map(|()| LegGrant {
            leg: LegId(random_bytes()),
            key: Secret::random(),
        });
        let sealed = key.seal(&Ticket {
            session: SessionId(random_bytes()),
            origin: key.origin(session),
            legs: legs.clone(),
            terms: accounts.map(|(_, key)| Terms::of(key, &self.keys.limits(key))),
            expires: now.unix_s.saturating_add(TICKET_LIFETIME.as_secs()),
        });
        let Some(ticket) = sealed else {
            return Ok(());
        };
        for role in [Role::Listener, Role::Connector] {
            let message = FromRendezvous::RelayAt {
                session,
                node: number,
                leg: legs[side(role)].clone(),
                ticket: ticket.clone(),
            };
            effects.push(Effect::Tell(accounts[side(role)].0, message));
        }
        Ok(())
    }
}
