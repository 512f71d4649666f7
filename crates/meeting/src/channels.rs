//! The sealed channels to the peers of all sessions.

use std::collections::BTreeMap;

use p2pdbg_proto::{
    fingerprint::Fingerprint,
    rendezvous::{Handle, SessionId},
    signal::SessionTag,
};

use super::{ChannelId, channel::Channel};

/// The most channels there are; the owner of the meeting has fewer places.
const MOST: usize = 32;

/// The channels of a meeting.
#[derive(Default)]
pub(super) struct Channels {
    next: u64,
    table: BTreeMap<ChannelId, Channel>,
}

impl Channels {
    /// Whether there is room for another.
    pub(super) fn have_room(&self) -> bool {
        self.table.len() < MOST
    }

    /// Takes a channel in, under a name that no other has had.
    pub(super) fn add(&mut self, channel: Channel) -> ChannelId {
        let id = ChannelId(self.next);
        self.next += 1;
        self.table.insert(id, channel);
        id
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        self.table.remove(&id)
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.table.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.table.values()
    }

    /// The one that resumes at this handle.
    pub(super) fn at(&mut self, handle: &Handle) -> Option<(ChannelId, &mut Channel)> {
        let mut channels = self.table.iter_mut();
        let (id, channel) = channels.find(|(_, channel)| channel.handle == *handle)?;
        Some((*id, channel))
    }

    /// The one that a session of the rendezvous carries.
    pub(super) fn carried_by(&mut self, session: SessionId) -> Option<(ChannelId, &mut Channel)> {
        let mut channels = self.table.iter_mut();
        let (id, channel) = channels.find(|(_, c)| c.carried_by == Some(session))?;
        Some((*id, channel))
    }

    /// The one to this peer that both call so.
    pub(super) fn tagged(
        &mut self,
        peer: Fingerprint,
        tag: SessionTag,
    ) -> Option<(ChannelId, &mut Channel)> {
        let is_it = |channel: &Channel| channel.peer == peer && channel.tag() == tag;
        let mut channels = self.table.iter_mut();
        let (id, channel) = channels.find(|(_, channel)| is_it(channel))?;
        Some((*id, channel))
    }

    /// What is said to a peer of the channel that there is with it already: of several processes of one host, the one
    /// that has lost its way is the one that comes.
    pub(super) fn tag_with(&self, peer: Fingerprint) -> Option<SessionTag> {
        let with_peer = || self.table.values().filter(|channel| channel.peer == peer);
        let lost = with_peer().find(|channel| channel.carried_by.is_none());
        lost.or_else(|| with_peer().next()).map(Channel::tag)
    }

    /// The link is lost: nothing is carried.
    pub(super) fn on_link_down(&mut self) {
        for channel in self.table.values_mut() {
            channel.carried_by = None;
        }
    }
}
