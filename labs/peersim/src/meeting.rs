//! How the two find each other: the meetings that ship, at the registry of a rendezvous, on the clock of the run.
//!
//! The control connections are modelled: what is said takes a while, and a connection that breaks is made again a
//! second later. The keys and names that are drawn are the operating system's, so they differ from run to run; nothing
//! of what happens depends on them.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_identity::Identity;
use p2pdbg_meeting::{
    ChannelId, Input, MeetingCommand, MeetingConfig, MeetingEvent, Meetings, Output, Reached, Whom,
};
use p2pdbg_proto::{
    code::{Code, Words},
    rendezvous::{Credential, FromRendezvous, Role, ToRendezvous},
    signal::PeerMessage,
    url::{AccessKey, RendezvousUrl},
};
use p2pdbg_rendezvous::InMemory;
use p2pdbg_rendezvous_client::LinkError;

use crate::End;

/// The pause before a connection that is lost is made again.
const REDIAL: Duration = Duration::from_secs(1);

/// How often the rendezvous looks for what has lasted long enough.
const EXPIRE: Duration = Duration::from_secs(1);

/// When the connector is started: the person has read the code, and typed it there.
const TYPED: Duration = Duration::from_secs(2);

/// The address and port of the simulated rendezvous.
const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 2], 3478);

/// What the meeting of an end tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The peer is there: a session begins.
    Met,
    /// The same peer has been met again.
    Introduced,
    /// The rendezvous says that the peer has left it.
    PeerLeft,
    /// The peer says that it ends the session.
    Bye,
    /// The meeting is over, though nobody has ended it.
    Failed,
}

/// A simulated process with its meeting.
struct Side {
    meetings: Meetings,
    end: Option<End>,
    credential: Credential,
    begin_with: Vec<ToRendezvous>,
    /// What it said right after the hello of the connection that is being made.
    told: Vec<ToRendezvous>,
    link: Option<u64>,
    /// To the peer of the session.
    channel: Option<ChannelId>,
    code: Option<Code>,
    is_burned: bool,
    news: VecDeque<News>,
    is_dead: bool,
}

enum Parcel {
    ToRendezvous(u64, ToRendezvous),
    ToPeer(u64, FromRendezvous),
    Dial(usize),
    /// A connector is started, which knows the code or guesses one word wrong.
    Start {
        guesses: bool,
    },
    Expire,
}

/// The rendezvous, the listener, and the connectors.
pub(crate) struct Meeting {
    base: Instant,
    now: Duration,
    key: AccessKey,
    rendezvous: InMemory,
    sides: Vec<Side>,
    delay: Duration,
    /// Until when the rendezvous takes no connections.
    away_until: Duration,
    on_way: BTreeMap<(Duration, u64), Parcel>,
    order: u64,
}

impl Meeting {
    /// The listener is started, and the connector once there is a code; before it one that `guesses`, if it is told to.
    pub(crate) fn new(base: Instant, delay: Duration, guessed: bool) -> Self {
        let key = AccessKey::random();
        let mut meeting = Self {
            base,
            now: Duration::ZERO,
            rendezvous: InMemory::new(&key, base),
            key,
            sides: Vec::new(),
            delay,
            away_until: Duration::ZERO,
            on_way: BTreeMap::new(),
            order: 0,
        };
        meeting.start(Role::Listener, Some(End::Listener), Whom::CodeHolder);
        meeting.post(TYPED, Parcel::Start { guesses: guessed });
        meeting.post(EXPIRE, Parcel::Expire);
        meeting
    }

    /// When something happens here next.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        let parcel = self.on_way.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.timeout().map(|(at, _)| at);
        [parcel, timeout].into_iter().flatten().min()
    }

    /// Lets time pass. What comes to a stopped process waits there.
    pub(crate) fn pass_to(&mut self, now: Duration, stopped_until: impl Fn(End) -> Duration) {
        while let Some(at) = self.next_at().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            let parcel = self.on_way.first_key_value().map(|((at, _), _)| *at);
            match self.timeout() {
                Some((due, who)) if parcel.is_none_or(|parcel| due < parcel) => {
                    self.input(who, Input::Timeout);
                }
                _ => {
                    if let Some((_, parcel)) = self.on_way.pop_first() {
                        self.arrive(parcel, &stopped_until);
                    }
                }
            }
        }
        self.now = self.now.max(now);
    }

    /// What the meeting of an end has told since it was asked last.
    pub(crate) fn news(&mut self, end: End) -> Vec<News> {
        let side = self.sides.iter_mut().find(|side| side.end == Some(end));
        side.into_iter()
            .flat_map(|side| side.news.drain(..))
            .collect()
    }

    /// The session of an end doubts that the rendezvous knows it.
    pub(crate) fn doubt(&mut self, end: End) {
        self.tell(end, Input::Owner(MeetingCommand::Doubt));
    }

    /// The network of an end has changed.
    pub(crate) fn on_network_changed(&mut self, end: End) {
        self.tell(end, Input::NetworkChanged);
    }

    /// The control connection of an end breaks.
    pub(crate) fn cut(&mut self, end: End) {
        if let Some(who) = self.side(end) {
            self.lose(who);
        }
    }

    /// The rendezvous is started again, and serves from then on.
    pub(crate) fn away(&mut self, until: Duration) {
        self.away_until = until.max(self.away_until);
        self.rendezvous.restart(self.base + self.now);
        for who in 0..self.sides.len() {
            self.lose(who);
        }
    }

    /// The process of an end dies.
    pub(crate) fn kill(&mut self, end: End) {
        if let Some(who) = self.side(end) {
            self.sides[who].is_dead = true;
            self.disconnect(who, false);
        }
    }

    /// The user of an end leaves.
    pub(crate) fn close(&mut self, end: End) {
        self.tell(end, Input::Close);
    }

    /// A burned code was followed by another one, if one was guessed at.
    pub(crate) fn has_burned_a_code(&self) -> bool {
        self.sides.iter().any(|side| side.is_burned)
    }

    fn side(&self, end: End) -> Option<usize> {
        self.sides.iter().position(|side| side.end == Some(end))
    }

    fn tell(&mut self, end: End, input: Input) {
        if let Some(who) = self.side(end) {
            self.input(who, input);
        }
    }

    /// Which timeout is due next, and whose.
    fn timeout(&self) -> Option<(Duration, usize)> {
        let all = self.sides.iter().enumerate();
        let all = all.filter(|(_, side)| side.link.is_some() && !side.is_dead);
        let all = all.filter_map(|(who, side)| Some((side.meetings.poll_timeout()?, who)));
        let (at, who) = all.min()?;
        Some((at.saturating_duration_since(self.base).max(self.now), who))
    }

    fn start(&mut self, role: Role, end: Option<End>, whom: Whom) {
        let access_key = (role == Role::Listener).then(|| self.key.clone());
        let url = RendezvousUrl {
            access_key,
            host: "192.0.2.2".into(),
            port: ADDRESS.1,
            further: Vec::new(),
            fingerprint: None,
        };
        let Ok(identity) = Identity::ephemeral() else {
            return;
        };
        let credential = match &url.access_key {
            Some(key) => Credential::AccessKey(key.clone()),
            None => Credential::None,
        };
        let config = MeetingConfig::detached(role, Arc::new(identity), whom, url);
        let who = self.sides.len();
        self.sides.push(Side {
            meetings: Meetings::new(&config),
            end,
            credential,
            begin_with: Vec::new(),
            told: Vec::new(),
            link: None,
            channel: None,
            code: None,
            is_burned: false,
            news: VecDeque::new(),
            is_dead: false,
        });
        self.carry_out(who);
        self.dial(who);
    }

    fn dial(&mut self, who: usize) {
        if self.sides[who].is_dead || self.sides[who].link.is_some() {
            return;
        }
        if self.now < self.away_until {
            return self.post(REDIAL, Parcel::Dial(who));
        }
        let host = [198, 51, 100, 1 + who as u8];
        let now = self.base + self.now;
        let id = self.rendezvous.connect(now, SocketAddr::from((host, 4000)));
        let side = &mut self.sides[who];
        side.link = Some(id);
        side.told = side.begin_with.clone();
        let hello = ToRendezvous::Hello {
            credential: side.credential.clone(),
            agent: "peersim".into(),
        };
        for message in std::iter::once(hello).chain(side.told.clone()) {
            self.post(self.delay, Parcel::ToRendezvous(id, message));
        }
    }

    fn disconnect(&mut self, who: usize, on_purpose: bool) -> bool {
        let Some(id) = self.sides[who].link.take() else {
            return false;
        };
        let told = self.rendezvous.lose(self.base + self.now, id, on_purpose);
        self.deliver(told);
        true
    }

    fn lose(&mut self, who: usize) {
        if self.disconnect(who, false) {
            let error = LinkError::Lost("cut".into());
            self.input(who, Input::LinkDown(error));
            self.post(REDIAL, Parcel::Dial(who));
        }
    }

    fn post(&mut self, pause: Duration, parcel: Parcel) {
        self.order += 1;
        self.on_way.insert((self.now + pause, self.order), parcel);
    }

    fn deliver(&mut self, told: Vec<p2pdbg_rendezvous::Told>) {
        for (id, message) in told {
            if let Some(message) = message {
                self.post(self.delay, Parcel::ToPeer(id, message));
            }
        }
    }

    fn input(&mut self, who: usize, input: Input) {
        if !self.sides[who].is_dead {
            let now = self.base + self.now;
            self.sides[who].meetings.handle(now, input);
            self.carry_out(who);
        }
    }

    fn carry_out(&mut self, who: usize) {
        while let Some(output) = self.sides[who].meetings.poll_output() {
            let side = &mut self.sides[who];
            match output {
                Output::Send(message) => {
                    if let Some(id) = side.link {
                        self.post(self.delay, Parcel::ToRendezvous(id, message));
                    }
                }
                Output::BeginWith(messages) => side.begin_with = messages,
                Output::UseCredential(credential) => side.credential = credential,
                Output::Met(_, met) => {
                    side.channel = Some(met.channel);
                    side.news.push_back(News::Met);
                }
                Output::Event(event) => side.on_event(event),
                Output::Redial
                | Output::MakeReady(..)
                | Output::ExpectTunnel { .. }
                | Output::Confirmed(_)
                | Output::PeerSeen(..) => {}
            }
        }
    }

    fn arrive(&mut self, parcel: Parcel, stopped_until: &impl Fn(End) -> Duration) {
        match parcel {
            Parcel::ToRendezvous(id, message) => {
                let told = self.rendezvous.say(self.base + self.now, id, message);
                self.deliver(told);
            }
            Parcel::ToPeer(id, message) => self.on_message(id, message, stopped_until),
            Parcel::Dial(who) => self.dial(who),
            Parcel::Start { guesses } => self.start_connector(guesses),
            Parcel::Expire => {
                let told = self.rendezvous.expire(self.base + self.now);
                self.deliver(told);
                self.post(EXPIRE, Parcel::Expire);
            }
        }
    }

    fn start_connector(&mut self, guesses: bool) {
        let Some(mut code) = self.sides.first().and_then(|side| side.code.clone()) else {
            // The rendezvous is away, say.
            return self.post(REDIAL, Parcel::Start { guesses });
        };
        if guesses {
            let right = code.words.password();
            let mut words = std::iter::repeat_with(Words::random);
            code.words = words
                .find(|words| words.password() != right)
                .unwrap_or(code.words);
            // Whoever was told the code of before finds that it leads nowhere, and is given the next one.
            self.sides[0].code = None;
            self.post(TYPED, Parcel::Start { guesses: false });
        }
        let end = (!guesses).then_some(End::Connector);
        self.start(Role::Connector, end, Whom::CodeMaker(code));
    }

    fn on_message(
        &mut self,
        id: u64,
        message: FromRendezvous,
        stopped_until: &impl Fn(End) -> Duration,
    ) {
        let mut sides = self.sides.iter();
        let Some(who) = sides.position(|side| side.link == Some(id)) else {
            return;
        };
        let wakes = self.sides[who].end.map_or(Duration::ZERO, stopped_until);
        if wakes > self.now {
            return self.post(wakes - self.now, Parcel::ToPeer(id, message));
        }
        let input = match message {
            FromRendezvous::Welcome { stun, .. } => Input::LinkUp {
                told: std::mem::take(&mut self.sides[who].told),
                reached: Reached {
                    address: SocketAddr::from(ADDRESS),
                    stun,
                    over_tcp: false,
                    returns_until: self.base + self.now,
                },
            },
            message => Input::Rendezvous(message),
        };
        self.input(who, input);
    }
}

impl Side {
    fn on_event(&mut self, event: MeetingEvent) {
        let is_peers = |channel: &ChannelId| self.channel == Some(*channel);
        let news = match event {
            MeetingEvent::Introduced(channel, _) if is_peers(&channel) => News::Introduced,
            MeetingEvent::PeerLeft(channel) if is_peers(&channel) => News::PeerLeft,
            MeetingEvent::Message(channel, PeerMessage::Bye) if is_peers(&channel) => News::Bye,
            MeetingEvent::Failed(_) => News::Failed,
            MeetingEvent::Code(code) => {
                self.code = Some(code);
                return;
            }
            MeetingEvent::CodeBurned => {
                self.is_burned = true;
                return;
            }
            _ => return,
        };
        self.news.push_back(news);
    }
}
