//! What each message of a peer asks for: which part of the registry answers it.

use p2pdbg_proto::rendezvous::{FromRendezvous, Refusal, ToRendezvous};

use super::{ConnId, Effect, Now, Registry, handle_side::HandleSide, sessions::Ended};

impl Registry {
    /// Does what a peer has asked for, or says why not.
    pub(super) fn dispatch(
        &mut self,
        now: Now,
        id: ConnId,
        message: ToRendezvous,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match message {
            ToRendezvous::Hello { credential, agent } => {
                self.hello(now, id, credential, &agent, effects)
            }
            ToRendezvous::Listen { claim } => self.listen(now, id, claim, effects),
            ToRendezvous::Unlisten { nameplate, fate } => {
                self.unlisten(now, id, nameplate, fate);
                Ok(())
            }
            ToRendezvous::Join { nameplate } => self.join(now, id, nameplate, effects),
            ToRendezvous::Meet {
                handle,
                role,
                already,
            } => self.meet(now, id, handle, role, already, effects),
            ToRendezvous::Unmeet { handle, role } => {
                self.unmeet(id, &HandleSide::new(&handle, role), effects);
                Ok(())
            }
            ToRendezvous::Signal { session, payload } => {
                self.signal(now, id, session, payload, effects)
            }
            ToRendezvous::Prepare { place, payload } => self.prepare(id, &place, payload),
            ToRendezvous::Ping => {
                effects.push(Effect::Tell(id, FromRendezvous::Pong));
                Ok(())
            }
            ToRendezvous::Leave { session } => {
                if self.sessions.role_of(session, id).is_some() {
                    self.end_session(session, Ended::Left(id), effects);
                }
                Ok(())
            }
            ToRendezvous::Confirmed { session } => self.confirmed(now, id, session, effects),
            ToRendezvous::Relay { session, node } => {
                self.relay_elsewhere(now, id, session, node, effects)
            }
            // For the hub, which has heard it.
            ToRendezvous::Clock { .. } => Ok(()),
        }
    }
}
