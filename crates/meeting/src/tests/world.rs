//! The world of these tests: a rendezvous in memory, and links that take time, and break.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use p2pdbg_base::PeerName;
use p2pdbg_identity::Identity;
use p2pdbg_pairing::{KnownPeer, PairSecret};
use p2pdbg_proto::{
    code::Code,
    rendezvous::{Credential, FromRendezvous, Role, ToRendezvous},
    signal::PeerMessage,
    url::{AccessKey, RendezvousUrl},
};
use p2pdbg_rendezvous::InMemory;
use p2pdbg_rendezvous_client::LinkError;

use crate::{
    ChannelId, MeetingCommand, MeetingConfig, MeetingEvent, Met, Whom,
    io::{Input, Output, Reached},
    meetings::Meetings,
};

/// How long a message takes between a peer and the rendezvous.
const DELAY: Duration = Duration::from_millis(10);

/// The pause before a lost link is dialled again.
const REDIAL: Duration = Duration::from_secs(1);

/// A peer, by its place in [`World::peers`].
pub(super) type Who = usize;

/// A process of p2pdbg.
pub(super) struct Peer {
    pub(super) meetings: Meetings,
    pub(super) identity: Arc<Identity>,
    /// What its owner was told and has not looked at.
    pub(super) events: VecDeque<MeetingEvent>,
    /// What was asked of the driver besides, in short.
    pub(super) asked: Vec<Output>,
    /// The peer met last.
    pub(super) met: Option<Met>,
    pub(super) times_met: u32,
    credential: Credential,
    begin_with: Vec<ToRendezvous>,
    /// What it said right after the hello of the connection that is being made.
    told: Vec<ToRendezvous>,
    link: Option<u64>,
}

enum Parcel {
    ToRendezvous(u64, ToRendezvous),
    ToPeer(u64, FromRendezvous),
    Dial(Who),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rendezvous: InMemory,
    pub(super) peers: Vec<Peer>,
    key: AccessKey,
    /// What is on its way, the oldest first: everything takes as long, but dialling again.
    on_way: Vec<(Instant, Parcel)>,
    expired_at: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        let (now, key) = (Instant::now(), AccessKey::random());
        Self {
            now,
            rendezvous: InMemory::new(&key, now),
            peers: Vec::new(),
            key,
            on_way: Vec::new(),
            expired_at: now,
        }
    }

    /// Starts a process, of a host of its own.
    pub(super) fn start(&mut self, role: Role, whom: Whom) -> Who {
        let identity = Arc::new(Identity::ephemeral().unwrap());
        self.start_as(role, whom, identity)
    }

    /// Starts a process of this host.
    pub(super) fn start_as(&mut self, role: Role, whom: Whom, identity: Arc<Identity>) -> Who {
        let access_key = (role == Role::Listener).then(|| self.key.clone());
        let url = RendezvousUrl {
            access_key,
            host: "192.0.2.1".into(),
            port: 3478,
            further: Vec::new(),
            fingerprint: None,
        };
        let config = MeetingConfig::detached(role, Arc::clone(&identity), whom, url);
        let credential = match &config.rendezvous.access_key {
            Some(key) => Credential::AccessKey(key.clone()),
            None => Credential::None,
        };
        let who = self.peers.len();
        self.peers.push(Peer {
            meetings: Meetings::new(&config),
            identity,
            events: VecDeque::new(),
            asked: Vec::new(),
            met: None,
            times_met: 0,
            credential,
            begin_with: Vec::new(),
            told: Vec::new(),
            link: None,
        });
        self.act(who);
        self.dial(who);
        who
    }

    /// Two hosts that have paired: how each knows the other, the first one's view first.
    pub(super) fn acquainted() -> [(Arc<Identity>, KnownPeer); 2] {
        let secret = PairSecret::from_bytes([5; 32]);
        let identities = [(); 2].map(|()| Arc::new(Identity::ephemeral().unwrap()));
        let known = |of: &Identity| KnownPeer {
            name: PeerName::nearest("known"),
            fingerprint: of.fingerprint(),
            process: 1,
            secret: secret.clone(),
            last_seen: SystemTime::UNIX_EPOCH,
        };
        let views = [known(&identities[1]), known(&identities[0])];
        let mut both = identities.into_iter().zip(views);
        [(); 2].map(|()| both.next().unwrap())
    }

    fn dial(&mut self, who: Who) {
        let address = [198, 51, 100, u8::try_from(who).unwrap() + 1];
        let id = self
            .rendezvous
            .connect(self.now, SocketAddr::from((address, 4000)));
        let peer = &mut self.peers[who];
        peer.link = Some(id);
        peer.told = peer.begin_with.clone();
        let hello = ToRendezvous::Hello {
            credential: peer.credential.clone(),
            agent: "test".into(),
        };
        let messages: Vec<_> = [hello].into_iter().chain(peer.told.clone()).collect();
        for message in messages {
            self.post(DELAY, Parcel::ToRendezvous(id, message));
        }
    }

    fn post(&mut self, delay: Duration, parcel: Parcel) {
        let at = self.now + delay;
        let behind = self.on_way.partition_point(|(other, _)| *other <= at);
        self.on_way.insert(behind, (at, parcel));
    }

    /// The link of a peer breaks. The rendezvous hears of it, or not; the peer does, and dials again.
    pub(super) fn cut(&mut self, who: Who) {
        if let Some(id) = self.peers[who].link.take() {
            let told = self.rendezvous.lose(self.now, id, false);
            self.deliver(told);
            let error = LinkError::Lost("cut".into());
            self.input(who, Input::LinkDown(error));
            self.post(REDIAL, Parcel::Dial(who));
        }
    }

    /// The sessions at the rendezvous end, and the links go on.
    pub(super) fn end_sessions(&mut self) {
        let told = self.rendezvous.end_sessions();
        self.deliver(told);
    }

    /// The process dies.
    pub(super) fn kill(&mut self, who: Who) {
        if let Some(id) = self.peers[who].link.take() {
            let told = self.rendezvous.lose(self.now, id, false);
            self.deliver(told);
        }
    }

    /// The owner of this process leaves.
    pub(super) fn close(&mut self, who: Who) {
        self.input(who, Input::Close);
        self.run(DELAY * 2);
        if let Some(id) = self.peers[who].link.take() {
            let told = self.rendezvous.lose(self.now, id, true);
            self.deliver(told);
        }
    }

    /// The rendezvous is started again.
    pub(super) fn restart(&mut self) {
        self.rendezvous.restart(self.now);
        for who in 0..self.peers.len() {
            self.cut(who);
        }
    }

    pub(super) fn input(&mut self, who: Who, input: Input) {
        self.peers[who].meetings.handle(self.now, input);
        self.act(who);
    }

    pub(super) fn command(&mut self, who: Who, command: MeetingCommand) {
        self.input(who, Input::Owner(command));
    }

    fn act(&mut self, who: Who) {
        while let Some(output) = self.peers[who].meetings.poll_output() {
            let peer = &mut self.peers[who];
            match output {
                Output::Send(message) => {
                    if let Some(id) = peer.link {
                        self.post(DELAY, Parcel::ToRendezvous(id, message));
                    }
                }
                Output::BeginWith(messages) => peer.begin_with = messages,
                Output::UseCredential(credential) => peer.credential = credential,
                Output::Event(event) => peer.events.push_back(event),
                Output::Met(_, met) => {
                    peer.met = Some(*met);
                    peer.times_met += 1;
                }
                other => peer.asked.push(other),
            }
        }
    }

    fn deliver(&mut self, told: Vec<(u64, Option<FromRendezvous>)>) {
        for (id, message) in told {
            if let Some(message) = message {
                self.post(DELAY, Parcel::ToPeer(id, message));
            }
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::ToRendezvous(id, message) => {
                let told = self.rendezvous.say(self.now, id, message);
                self.deliver(told);
            }
            Parcel::Dial(who) => self.dial(who),
            Parcel::ToPeer(id, message) => {
                let Some(who) = self.peers.iter().position(|peer| peer.link == Some(id)) else {
                    return;
                };
                let input = match message {
                    FromRendezvous::Welcome { stun, .. } => Input::LinkUp {
                        told: std::mem::take(&mut self.peers[who].told),
                        reached: Reached {
                            address: "192.0.2.1:3478".parse().unwrap(),
                            stun,
                            over_tcp: false,
                            returns_until: self.now,
                        },
                    },
                    message => Input::Rendezvous(message),
                };
                self.input(who, input);
            }
        }
    }

    /// Lets this much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timeouts = self.peers.iter().enumerate();
            let timeouts = timeouts.filter(|(_, peer)| peer.link.is_some());
            let due = timeouts.filter_map(|(who, p)| Some((p.meetings.poll_timeout()?, who)));
            let timeout = due.min();
            let parcel = self.on_way.first().map(|(at, _)| *at);
            let expiry = self.expired_at + Duration::from_secs(1);
            let next = [timeout.map(|(at, _)| at), parcel, Some(expiry)];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if parcel == Some(next) {
                let (_, parcel) = self.on_way.remove(0);
                self.arrive(parcel);
            } else if let Some((at, who)) = timeout.filter(|(at, _)| *at == next) {
                self.input(who, Input::Timeout);
                let after = self.peers[who].meetings.poll_timeout();
                assert!(after != Some(at), "a timeout is dealt with when it is due");
            } else {
                self.expired_at = next;
                let told = self.rendezvous.expire(self.now);
                self.deliver(told);
            }
        }
        self.now = end;
    }

    /// What the owner was told since it looked last.
    pub(super) fn events(&mut self, who: Who) -> Vec<MeetingEvent> {
        self.peers[who].events.drain(..).collect()
    }

    /// The code that a listener was given last.
    pub(super) fn code(&mut self, who: Who) -> Code {
        let events = self.events(who);
        let codes = events.into_iter().filter_map(|event| match event {
            MeetingEvent::Code(code) => Some(code),
            _ => None,
        });
        codes.last().expect("a code")
    }

    /// The channel to the peer met last.
    pub(super) fn channel(&self, who: Who) -> ChannelId {
        self.peers[who]
            .met
            .as_ref()
            .expect("nobody was met")
            .channel
    }

    /// A listener and a connector that have paired by code.
    pub(super) fn paired() -> (Self, Who, Who) {
        let mut world = Self::new();
        let listener = world.start(Role::Listener, Whom::CodeHolder);
        world.run(Duration::from_millis(100));
        let code = world.code(listener);
        let connector = world.start(Role::Connector, Whom::CodeMaker(code));
        world.run(Duration::from_secs(1));
        (world, listener, connector)
    }

    /// Says something from one peer to the one that it has met last; whether the other hears it.
    pub(super) fn does_hear(&mut self, from: Who, to: Who, what: &[u8]) -> bool {
        self.events(to);
        let message = PeerMessage::Punch(what.to_vec());
        self.command(from, MeetingCommand::Message(self.channel(from), message));
        self.run(Duration::from_millis(100));
        let channel = self.channel(to);
        self.events(to).iter().any(|event| {
            matches!(event, MeetingEvent::Message(id, PeerMessage::Punch(heard))
                if *id == channel && heard == what)
        })
    }

    /// Whether two peers have met and hear each other.
    pub(super) fn are_joined(&mut self, one: Who, other: Who) -> bool {
        let met = self.peers[one].met.is_some() && self.peers[other].met.is_some();
        met && self.does_hear(one, other, b"there") && self.does_hear(other, one, b"back")
    }
}
