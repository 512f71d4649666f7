//! Whatever peers say, in whatever order: nothing panics, nobody is told what is not theirs, and nothing is
//! left once they have gone.

use proptest::prelude::*;

use super::*;

const PEERS: u64 = 5;

/// A step; numbers choose among what there is at that point.
#[derive(Clone, Debug)]
enum Step {
    Connect(u64, u8),
    Listen(u64, Option<usize>),
    Unlisten(u64, usize, u8),
    Join(u64, usize),
    Meet(u64, u8, bool),
    Unmeet(u64, u8, bool),
    Signal(u64, usize),
    Leave(u64, usize),
    Confirmed(u64, usize),
    Seen(usize, bool, u8),
    Lose(u64, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..PEERS;
    let some = 0..8usize;
    prop_oneof![
        3 => (peer.clone(), 0..4u8).prop_map(|(p, c)| Step::Connect(p, c)),
        3 => (peer.clone(), proptest::option::of(some.clone())).prop_map(|(p, c)| Step::Listen(p, c)),
        1 => (peer.clone(), some.clone(), 0..3u8).prop_map(|(p, n, f)| Step::Unlisten(p, n, f)),
        3 => (peer.clone(), some.clone()).prop_map(|(p, n)| Step::Join(p, n)),
        3 => (peer.clone(), 0..2u8, any::<bool>()).prop_map(|(p, h, r)| Step::Meet(p, h, r)),
        1 => (peer.clone(), 0..2u8, any::<bool>()).prop_map(|(p, h, r)| Step::Unmeet(p, h, r)),
        3 => (peer.clone(), some.clone()).prop_map(|(p, s)| Step::Signal(p, s)),
        2 => (peer.clone(), some.clone()).prop_map(|(p, s)| Step::Leave(p, s)),
        4 => (peer.clone(), some.clone()).prop_map(|(p, s)| Step::Confirmed(p, s)),
        1 => (some, any::<bool>(), any::<u8>()).prop_map(|(s, r, ip)| Step::Seen(s, r, ip)),
        2 => (peer, any::<bool>()).prop_map(|(p, on_purpose)| Step::Lose(p, on_purpose)),
        1 => (0..40_000u64).prop_map(Step::Pass),
    ]
}

/// What the peers believe, as far as they were told.
#[derive(Default)]
struct Model {
    claims: Vec<NameplateClaim>,
    vouchers: Vec<Vec<u8>>,
    sessions: Vec<SessionId>,
    /// Who may be told what of which session.
    members: HashMap<SessionId, [ConnId; 2]>,
    connected: HashSet<ConnId>,
    legs: HashSet<SessionId>,
}

impl Model {
    fn take_note(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::OpenLegs(session, ..) => assert!(self.legs.insert(*session)),
                Effect::CloseLegs { session, .. } => assert!(self.legs.remove(session)),
                Effect::Ask(ask) => panic!("there is no directory: {ask:?}"),
                Effect::Close(id, _) => assert!(self.connected.contains(id)),
                Effect::Tell(id, message) => {
                    assert!(self.connected.contains(id), "{id:?} is gone");
                    self.told(*id, message);
                }
            }
        }
    }

    fn told(&mut self, id: ConnId, message: &FromRendezvous) {
        let of = |session: &SessionId| self.members[session].contains(&id);
        match message {
            FromRendezvous::Listening(claim) => self.claims.push(claim.clone()),
            FromRendezvous::Introduced(introduction) => {
                let session = introduction.session;
                assert!(self.legs.contains(&session), "told before the legs open");
                let members = self.members.entry(session).or_insert([id; 2]);
                members[crate::relay::side(introduction.role)] = id;
                self.sessions.push(session);
            }
            FromRendezvous::Signal { session, .. } => {
                assert!(of(session));
                assert!(self.legs.contains(session));
            }
            FromRendezvous::PeerSeen { session, .. } | FromRendezvous::PeerLeft { session, .. } => {
                assert!(of(session));
            }
            FromRendezvous::Vouched { voucher } => self.vouchers.push(voucher.clone()),
            FromRendezvous::Nodes { .. }
            | FromRendezvous::GoTo { .. }
            | FromRendezvous::RelayAt { .. } => {
                panic!("it is the one host: {message:?}")
            }
            FromRendezvous::Welcome { .. }
            | FromRendezvous::Refused { .. }
            | FromRendezvous::Stopping { .. }
            | FromRendezvous::Draining { .. }
            | FromRendezvous::Offer { .. }
            | FromRendezvous::Pong => {}
        }
    }
}

fn pick<T: Clone>(from: &[T], number: usize) -> Option<T> {
    from.get(number % from.len().max(1)).cloned()
}

fn walk(steps: Vec<Step>) {
    let mut bench = Bench::new();
    let mut model = Model::default();
    let handles: [Handle; 2] = [Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32])];
    let role = |listener| {
        if listener {
            Role::Listener
        } else {
            Role::Connector
        }
    };
    for step in steps {
        let said = match step {
            Step::Connect(peer, credential) => {
                let id = ConnId(peer);
                if !model.connected.insert(id) {
                    continue;
                }
                bench.connect(id);
                let credential = match credential {
                    0 => Credential::None,
                    1 => model
                        .vouchers
                        .last()
                        .cloned()
                        .map_or(Credential::None, Credential::Voucher),
                    _ => bench.key(),
                };
                let agent = String::new();
                Some((id, ToRendezvous::Hello { credential, agent }))
            }
            Step::Listen(peer, claim) => {
                let claim = claim.and_then(|number| pick(&model.claims, number));
                Some((ConnId(peer), ToRendezvous::Listen { claim }))
            }
            Step::Unlisten(peer, number, fate) => pick(&model.claims, number).map(|claim| {
                let nameplate = claim.nameplate;
                let fate = [Fate::Used, Fate::Burned, Fate::Withdrawn][usize::from(fate)];
                (ConnId(peer), ToRendezvous::Unlisten { nameplate, fate })
            }),
            Step::Join(peer, number) => pick(&model.claims, number).map(|claim| {
                let nameplate = claim.nameplate;
                (ConnId(peer), ToRendezvous::Join { nameplate })
            }),
            Step::Meet(peer, handle, listener) => {
                let handle = handles[usize::from(handle)].clone();
                let role = role(listener);
                Some((
                    ConnId(peer),
                    ToRendezvous::Meet {
                        handle,
                        role,
                        already: None,
                    },
                ))
            }
            Step::Unmeet(peer, handle, listener) => {
                let handle = handles[usize::from(handle)].clone();
                let role = role(listener);
                Some((ConnId(peer), ToRendezvous::Unmeet { handle, role }))
            }
            Step::Signal(peer, number) => pick(&model.sessions, number).map(|session| {
                let payload = vec![1];
                (ConnId(peer), ToRendezvous::Signal { session, payload })
            }),
            Step::Leave(peer, number) => pick(&model.sessions, number)
                .map(|session| (ConnId(peer), ToRendezvous::Leave { session })),
            Step::Confirmed(peer, number) => pick(&model.sessions, number)
                .map(|session| (ConnId(peer), ToRendezvous::Confirmed { session })),
            Step::Seen(number, listener, ip) => {
                if let Some(session) = pick(&model.sessions, number) {
                    let ip = [203, 0, 113, ip].into();
                    let effects = bench.bound(session, role(listener), ip);
                    model.take_note(&effects);
                }
                None
            }
            Step::Lose(peer, on_purpose) => {
                let id = ConnId(peer);
                let effects = bench.registry.on_lost(bench.now, id, on_purpose);
                model.connected.remove(&id);
                model.take_note(&effects);
                None
            }
            Step::Pass(seconds) => {
                bench.pass(Duration::from_secs(seconds));
                let effects = bench.registry.expire(bench.now);
                model.take_note(&effects);
                None
            }
        };
        if let Some((id, message)) = said {
            let effects = bench.say(id, message);
            model.take_note(&effects);
            if let Some(Effect::Close(closed, _)) = effects.last() {
                let effects = bench.registry.on_lost(bench.now, *closed, false);
                model.connected.remove(closed);
                model.take_note(&effects);
            }
        }
    }
    // What is looked up of a key, and what all connections say when they are asked.
    let taken = bench.registry.taken_by_key();
    for key in bench.registry.keys().ids() {
        let peers = taken.get(&key).map_or(0, |taken| taken.peers);
        assert_eq!(bench.registry.peers_of(key), peers);
    }
    for peer in 0..PEERS {
        let effects = bench.registry.on_lost(bench.now, ConnId(peer), true);
        model.connected.remove(&ConnId(peer));
        model.take_note(&effects);
    }
    assert!(model.legs.is_empty(), "legs are left open");
    assert_eq!((bench.registry.peers(), bench.registry.sessions()), (0, 0));
    assert!(bench.registry.handles.is_empty());
    assert!(bench.registry.present.by_key.is_empty());
    assert!(bench.registry.nameplates.none_is_live());
    assert!(bench.registry.sessions.nobody_holds_any());
}

proptest! {
    #[test]
    fn any_order_of_messages_is_survived_and_leaves_nothing(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        walk(steps);
    }
}
