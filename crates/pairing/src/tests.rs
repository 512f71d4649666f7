//! Whole exchanges, between honest sides and with somebody in the middle.

use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    code::Code,
    fingerprint::Fingerprint,
    frame,
    rendezvous::{MAX_SIGNAL, Role},
    signal::{AbortReason, PeerMessage, Signal, VERSION},
    tunnel::PathKind,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn code(text: &str) -> Code {
    text.parse().unwrap()
}

fn right_code() -> Code {
    code("482913-orbit-lemon-tiger")
}

fn fingerprint(name: &str) -> Fingerprint {
    Fingerprint::of_certificate(name.as_bytes())
}

fn by_code(role: Role, code: &Code) -> Side {
    let own = fingerprint(match role {
        Role::Connector => "connector",
        Role::Listener => "listener",
    });
    Side::new(Exchange::by_code(role, code, own))
}

const SECRET: [u8; 32] = [9; 32];

fn by_secret(role: Role, secret: [u8; 32]) -> Side {
    let (own, known) = match role {
        Role::Connector => ("connector", "listener"),
        Role::Listener => ("listener", "connector"),
    };
    let secret = PairSecret::from_bytes(secret);
    Side::new(Exchange::by_secret(
        role,
        &secret,
        fingerprint(own),
        fingerprint(known),
    ))
}

/// Both kinds of exchange, each with sides that belong together.
fn both_kinds() -> [fn() -> (Side, Side); 2] {
    [
        || {
            let code = right_code();
            (
                by_code(Role::Connector, &code),
                by_code(Role::Listener, &code),
            )
        },
        || {
            (
                by_secret(Role::Connector, SECRET),
                by_secret(Role::Listener, SECRET),
            )
        },
    ]
}

/// One side, and what it has said that was not delivered yet.
struct Side {
    next: Next,
    outbox: Vec<Vec<u8>>,
}

impl Side {
    fn new((exchange, first): (Exchange, Signal)) -> Self {
        Self {
            next: Next::Wait(exchange),
            outbox: vec![bytes(&first)],
        }
    }

    /// Takes a signal, unless the exchange is over.
    fn hear(&mut self, payload: &[u8]) {
        let over = Next::Failed(Failure::PeerLeft);
        match std::mem::replace(&mut self.next, over) {
            Next::Wait(exchange) => {
                let step = exchange.handle_payload(payload);
                self.outbox.extend(step.reply.as_ref().map(bytes));
                self.next = step.next;
            }
            ended => self.next = ended,
        }
    }

    fn say(&mut self) -> Option<Vec<u8>> {
        (!self.outbox.is_empty()).then(|| self.outbox.remove(0))
    }

    fn is_waiting(&self) -> bool {
        matches!(self.next, Next::Wait(_))
    }

    fn is_paired(&self) -> bool {
        matches!(self.next, Next::Paired(_))
    }

    fn paired(self) -> Paired {
        match self.next {
            Next::Paired(paired) => *paired,
            other => panic!("not paired: {other:?}"),
        }
    }

    fn failure(&self) -> Failure {
        match &self.next {
            Next::Failed(failure) => failure.clone(),
            other => panic!("not failed: {other:?}"),
        }
    }
}

fn bytes(signal: &Signal) -> Vec<u8> {
    postcard::to_stdvec(signal).unwrap()
}

/// Passes signals both ways until nobody says anything more; `tamper` sees each with the role of its sender
/// and may change it.
fn run(connector: &mut Side, listener: &mut Side, mut tamper: impl FnMut(Role, &mut Vec<u8>)) {
    loop {
        let (from_connector, from_listener) = (connector.say(), listener.say());
        if from_connector.is_none() && from_listener.is_none() {
            return;
        }
        if let Some(mut payload) = from_connector {
            tamper(Role::Connector, &mut payload);
            listener.hear(&payload);
        }
        if let Some(mut payload) = from_listener {
            tamper(Role::Listener, &mut payload);
            connector.hear(&payload);
        }
    }
}

fn untouched(_: Role, _: &mut Vec<u8>) {}

/// Whether two sides that paired can work with each other in all that they got.
fn fit(a: &mut Paired, b: &mut Paired) -> bool {
    let message = PeerMessage::Bye;
    let passes = |from: &mut Paired, to: &mut Paired| {
        let Ok(Signal::Sealed {
            counter,
            ciphertext,
        }) = from.sealer.seal(&message)
        else {
            panic!("a short message can be sealed");
        };
        to.opener.open(counter, &ciphertext).as_ref() == Ok(&message)
    };
    let (sealed, opened) = (passes(a, b), passes(b, a));
    let proof = a
        .keys
        .tunnel
        .prove(Role::Connector, 1, PathKind::Direct, &[1; 32]);
    let tunnel = b
        .keys
        .tunnel
        .verify(Role::Connector, 1, PathKind::Direct, &[1; 32], &proof);
    let handles = a.keys.resume == b.keys.resume;
    sealed && opened && tunnel && handles && a.pair_secret == b.pair_secret
}

#[test]
fn peers_with_one_code_share_keys_and_know_each_others_certificates() {
    let code = right_code();
    let mut connector = by_code(Role::Connector, &code);
    let mut listener = by_code(Role::Listener, &code);
    run(&mut connector, &mut listener, untouched);
    let (mut connector, mut listener) = (connector.paired(), listener.paired());
    assert_eq!(connector.peer, fingerprint("listener"));
    assert_eq!(listener.peer, fingerprint("connector"));
    assert!(connector.pair_secret.is_some());
    assert!(fit(&mut connector, &mut listener));
}

#[test]
fn peers_that_remember_each_other_need_no_code_and_keep_their_secret() {
    let mut connector = by_secret(Role::Connector, SECRET);
    let mut listener = by_secret(Role::Listener, SECRET);
    run(&mut connector, &mut listener, untouched);
    let (mut connector, mut listener) = (connector.paired(), listener.paired());
    assert_eq!(connector.peer, fingerprint("listener"));
    assert_eq!(listener.peer, fingerprint("connector"));
    assert_eq!(connector.pair_secret, None);
    assert!(fit(&mut connector, &mut listener));
}

#[test]
fn each_exchange_gives_other_keys() {
    for sides in both_kinds() {
        let once = || {
            let (mut connector, mut listener) = sides();
            run(&mut connector, &mut listener, untouched);
            connector.paired()
        };
        let (mut first, mut second) = (once(), once());
        assert!(!fit(&mut first, &mut second));
        assert_ne!(first.keys.resume, second.keys.resume);
    }
}

#[test]
fn peers_that_know_each_other_do_not_tell_the_rendezvous_who_they_are() {
    let mut connector = by_secret(Role::Connector, SECRET);
    let mut listener = by_secret(Role::Listener, SECRET);
    let mut seen = Vec::new();
    run(&mut connector, &mut listener, |_, payload| {
        seen.push(payload.clone());
    });
    for name in ["connector", "listener"] {
        let fingerprint = fingerprint(name);
        let shown = |payload: &Vec<u8>| payload.windows(32).any(|w| w == fingerprint.as_bytes());
        assert!(!seen.iter().any(shown), "the {name}'s");
    }
    // The same two look different the next time.
    let mut again = by_secret(Role::Connector, SECRET);
    assert_ne!(again.say().as_ref(), seen.first());
}

#[test]
fn two_programs_with_one_certificate_can_pair() {
    let (code, own) = (right_code(), fingerprint("host"));
    let mut connector = Side::new(Exchange::by_code(Role::Connector, &code, own));
    let mut listener = Side::new(Exchange::by_code(Role::Listener, &code, own));
    run(&mut connector, &mut listener, untouched);
    let (mut connector, mut listener) = (connector.paired(), listener.paired());
    assert_eq!((connector.peer, listener.peer), (own, own));
    assert!(fit(&mut connector, &mut listener));

    let secret = connector.pair_secret.unwrap();
    let mut connector = Side::new(Exchange::by_secret(Role::Connector, &secret, own, own));
    let mut listener = Side::new(Exchange::by_secret(Role::Listener, &secret, own, own));
    run(&mut connector, &mut listener, untouched);
    assert!(fit(&mut connector.paired(), &mut listener.paired()));
}

/// Written out once more from the description of the exchange, with the primitives alone.
#[test]
fn an_exchange_by_secret_is_the_one_that_is_written_down() {
    let mac = |key: &[u8], message: &[u8]| {
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
        mac.chain_update(message).finalize().into_bytes()
    };
    let (mut connector, mut listener) = both_kinds()[1]();
    let (mut said, mut confirmations) = (Vec::new(), Vec::new());
    run(
        &mut connector,
        &mut listener,
        |_, payload| match frame::decode(payload).unwrap() {
            Signal::Known {
                nonce,
                hidden_fingerprint,
                ..
            } => said.push((nonce, hidden_fingerprint)),
            Signal::Confirm { mac } => confirmations.push(mac),
            other => panic!("unexpected: {other:?}"),
        },
    );
    let mut transcript = Sha256::new();
    // `run` delivers the connector's signals first.
    let own = ["connector", "listener"].map(fingerprint);
    let fields: [&[u8]; 6] = [
        b"p2pdbg exchange by secret",
        &[0, 1],
        own[0].as_bytes(),
        &said[0].0,
        own[1].as_bytes(),
        &said[1].0,
    ];
    for field in fields {
        transcript.update((field.len() as u64).to_be_bytes());
        transcript.update(field);
    }
    let transcript = transcript.finalize();
    let prk = mac(&transcript, &SECRET);
    for ((role, own), (nonce, hidden)) in ["connector", "listener"].iter().zip(own).zip(&said) {
        let info = format!("p2pdbg 1 hide {role}\u{1}");
        let pad = mac(&mac(nonce, &SECRET), info.as_bytes());
        let shown: Vec<u8> = hidden.iter().zip(pad).map(|(a, b)| a ^ b).collect();
        assert_eq!(shown, own.as_bytes());
    }
    for (purpose, confirmation) in ["connector", "listener"].iter().zip(confirmations) {
        let info = format!("p2pdbg 1 confirm {purpose}\u{1}");
        let key = mac(&prk, info.as_bytes());
        assert_eq!(mac(&key, &transcript)[..], confirmation);
    }
}

#[test]
fn a_wrong_word_fails_at_both_ends_and_burns_the_code() {
    let right = right_code();
    for wrong in [
        "apple-lemon-tiger",
        "orbit-apple-tiger",
        "orbit-lemon-apple",
        "lemon-orbit-tiger",
    ] {
        let wrong = code(&format!("482913-{wrong}"));
        let mut connector = by_code(Role::Connector, &wrong);
        let mut listener = by_code(Role::Listener, &right);
        run(&mut connector, &mut listener, untouched);
        assert_eq!(connector.failure(), Failure::WrongWord);
        assert_eq!(listener.failure(), Failure::WrongWord);
        let fate = Guesses::default().failed(&listener.failure());
        assert_eq!(fate, CodeFate::Burned);
    }
}

#[test]
fn the_right_words_under_another_nameplate_are_wrong() {
    let mut connector = by_code(Role::Connector, &code("482914-orbit-lemon-tiger"));
    let mut listener = by_code(Role::Listener, &right_code());
    run(&mut connector, &mut listener, untouched);
    assert_eq!(listener.failure(), Failure::WrongWord);
}

#[test]
fn a_wrong_pair_secret_fails_at_both_ends() {
    let mut connector = by_secret(Role::Connector, [8; 32]);
    let mut listener = by_secret(Role::Listener, SECRET);
    run(&mut connector, &mut listener, untouched);
    assert_eq!(connector.failure(), Failure::WrongSecret);
    assert_eq!(listener.failure(), Failure::WrongSecret);
}

#[test]
fn the_listener_gives_nothing_away_before_the_connector_has_confirmed() {
    for sides in both_kinds() {
        let (mut connector, mut listener) = sides();
        listener.say();
        listener.hear(&connector.say().unwrap());
        assert!(listener.is_waiting());
        assert_eq!(listener.say(), None);
    }
}

#[test]
fn a_connector_seals_behind_its_confirmation_and_only_the_right_listener_opens_it() {
    let message = PeerMessage::Punch(vec![1, 2, 3]);
    let seal = |side: &mut Side| match &mut side.next {
        Next::Wait(exchange) => exchange.seal(&message),
        _ => None,
    };
    for sides in both_kinds() {
        let (mut connector, mut listener) = sides();
        assert_eq!(seal(&mut connector), None, "there is no key yet");
        let (first, second) = (connector.say().unwrap(), listener.say().unwrap());
        connector.hear(&second);
        listener.hear(&first);
        let Some(Signal::Sealed {
            counter,
            ciphertext,
        }) = seal(&mut connector)
        else {
            panic!("nothing was sealed");
        };
        assert_eq!(seal(&mut listener), None, "a listener verifies first");
        run(&mut connector, &mut listener, untouched);
        let (mut connector, mut listener) = (connector.paired(), listener.paired());
        assert_eq!(
            listener.opener.open(counter, &ciphertext).as_ref(),
            Ok(&message)
        );
        // The counters go on, so no nonce comes twice.
        let Ok(Signal::Sealed { counter: next, .. }) = connector.sealer.seal(&message) else {
            panic!("nothing was sealed");
        };
        assert!(next > counter);
    }
}

#[test]
fn what_a_connector_seals_early_is_of_no_use_to_who_guessed_a_word_wrongly() {
    let mut connector = by_code(Role::Connector, &right_code());
    let mut guesser = by_code(Role::Listener, &code("482913-orbit-lemon-zebra"));
    let (first, second) = (connector.say().unwrap(), guesser.say().unwrap());
    connector.hear(&second);
    guesser.hear(&first);
    let Next::Wait(mut exchange) = connector.next else {
        panic!("the connector waits");
    };
    let sealed = exchange.seal(&PeerMessage::Bye).unwrap();
    let Signal::Sealed {
        counter,
        ciphertext,
    } = sealed
    else {
        panic!("not sealed");
    };
    // What the guesser would open it with, had it not to verify first.
    let mut other = by_code(Role::Connector, &code("482913-orbit-lemon-zebra"));
    let mut own = by_code(Role::Listener, &code("482913-orbit-lemon-zebra"));
    run(&mut other, &mut own, untouched);
    assert_eq!(
        own.paired().opener.open(counter, &ciphertext),
        Err(OpenError::Forged)
    );
}

#[test]
fn a_known_peer_with_another_certificate_is_refused_by_its_own_confirmation() {
    let secret = PairSecret::from_bytes(SECRET);
    let (old, new) = (fingerprint("connector"), fingerprint("connector's new one"));
    let listener = fingerprint("listener");
    let mut connector = Side::new(Exchange::by_secret(Role::Connector, &secret, new, listener));
    let mut listener = by_secret(Role::Listener, SECRET);
    run(&mut connector, &mut listener, untouched);
    assert_eq!(
        listener.failure(),
        Failure::IdentityChanged {
            known: old,
            presented: new
        }
    );
    let told = connector.failure();
    assert_eq!(told, Failure::Aborted(AbortReason::Identity));
    assert!(told.to_string().contains("pair them again"), "{told}");
}

#[test]
fn a_listener_with_another_certificate_is_refused_by_the_connector() {
    let secret = PairSecret::from_bytes(SECRET);
    let (old, new) = (fingerprint("listener"), fingerprint("listener's new one"));
    let known = fingerprint("connector");
    let mut listener = Side::new(Exchange::by_secret(Role::Listener, &secret, new, known));
    let mut connector = by_secret(Role::Connector, SECRET);
    run(&mut connector, &mut listener, untouched);
    assert_eq!(
        connector.failure(),
        Failure::IdentityChanged {
            known: old,
            presented: new
        }
    );
}

#[test]
fn a_certificate_swapped_on_the_way_is_not_called_a_change_of_the_peers() {
    let mut connector = by_secret(Role::Connector, SECRET);
    let mut listener = by_secret(Role::Listener, SECRET);
    run(&mut connector, &mut listener, swap_fingerprints);
    assert_eq!(connector.failure(), Failure::WrongSecret);
    assert_eq!(listener.failure(), Failure::WrongSecret);
}

/// What a rendezvous would do that wants the tunnel for itself.
fn swap_fingerprints(_: Role, payload: &mut Vec<u8>) {
    let mut signal: Signal = frame::decode(payload).unwrap();
    let own = fingerprint("in the middle");
    match &mut signal {
        Signal::Pake { fingerprint, .. } => *fingerprint = own,
        Signal::Known {
            hidden_fingerprint, ..
        } => *hidden_fingerprint = *own.as_bytes(),
        _ => return,
    }
    *payload = bytes(&signal);
}

#[test]
fn a_rendezvous_that_swaps_the_fingerprints_pairs_nobody() {
    let code = right_code();
    let mut connector = by_code(Role::Connector, &code);
    let mut listener = by_code(Role::Listener, &code);
    run(&mut connector, &mut listener, swap_fingerprints);
    assert_eq!(connector.failure(), Failure::WrongWord);
    assert_eq!(listener.failure(), Failure::WrongWord);
}

#[test]
fn a_rendezvous_that_swaps_one_fingerprint_pairs_nobody() {
    for sides in both_kinds() {
        for victim in [Role::Connector, Role::Listener] {
            let (mut connector, mut listener) = sides();
            run(&mut connector, &mut listener, |sender, payload| {
                if sender == victim {
                    swap_fingerprints(sender, payload);
                }
            });
            assert!(!connector.is_paired() && !listener.is_paired());
        }
    }
}

#[test]
fn a_rendezvous_that_runs_both_sides_itself_pairs_with_neither() {
    let (right, guess) = (right_code(), code("482913-apple-apple-apple"));
    let mut connector = by_code(Role::Connector, &right);
    let mut listener = by_code(Role::Listener, &right);
    let mut fake_listener = by_code(Role::Listener, &guess);
    let mut fake_connector = by_code(Role::Connector, &guess);
    run(&mut connector, &mut fake_listener, untouched);
    run(&mut fake_connector, &mut listener, untouched);
    assert_eq!(connector.failure(), Failure::WrongWord);
    assert_eq!(listener.failure(), Failure::WrongWord);
}

#[test]
fn a_changed_bit_anywhere_pairs_nobody_who_did_not_see_it() {
    for sides in both_kinds() {
        // In order: the connector's two signals, the listener's two.
        for (sender, count) in [
            (Role::Connector, 0),
            (Role::Connector, 1),
            (Role::Listener, 0),
            (Role::Listener, 1),
        ] {
            let mut bit = 0;
            loop {
                let (mut connector, mut listener) = sides();
                let (mut seen, mut changed) = (0, false);
                run(&mut connector, &mut listener, |from, payload| {
                    if from != sender {
                        return;
                    }
                    if seen == count && bit < payload.len() * 8 {
                        payload[bit / 8] ^= 1 << (bit % 8);
                        changed = true;
                    }
                    seen += 1;
                });
                if !changed {
                    break;
                }
                // The last signal of all is the listener's confirmation: the listener has paired by then.
                let last = (sender, count) == (Role::Listener, 1);
                assert!(!connector.is_paired(), "bit {bit} of {sender:?} {count}");
                assert_eq!(
                    listener.is_paired(),
                    last,
                    "bit {bit} of {sender:?} {count}"
                );
                bit += 1;
            }
            assert!(bit > 32 * 8, "every bit of the signal was changed");
        }
    }
}

#[test]
fn a_side_that_hears_itself_pairs_with_nobody() {
    for sides in both_kinds() {
        let (connector, listener) = sides();
        for mut side in [connector, listener] {
            for _ in 0..4 {
                if let Some(payload) = side.say() {
                    side.hear(&payload);
                }
            }
            assert_eq!(side.failure(), Failure::Protocol);
        }
    }
}

#[test]
fn a_confirmation_sent_back_to_its_sender_does_not_confirm() {
    for sides in both_kinds() {
        let (mut connector, mut listener) = sides();
        connector.hear(&listener.say().unwrap());
        let _first = connector.say().unwrap();
        let confirmation = connector.say().unwrap();
        connector.hear(&confirmation);
        assert!(matches!(
            connector.failure(),
            Failure::WrongWord | Failure::WrongSecret
        ));
    }
}

#[test]
fn signals_of_an_earlier_exchange_do_not_pair() {
    for sides in both_kinds() {
        let (mut connector, mut listener) = sides();
        let mut recorded = Vec::new();
        run(&mut connector, &mut listener, |sender, payload| {
            if sender == Role::Connector {
                recorded.push(payload.clone());
            }
        });
        assert!(listener.is_paired());
        let (_, mut listener) = sides();
        for payload in &recorded {
            listener.hear(payload);
        }
        assert!(matches!(
            listener.failure(),
            Failure::WrongWord | Failure::WrongSecret
        ));
    }
}

#[test]
fn a_confirmation_that_comes_first_breaks_the_protocol() {
    for sides in both_kinds() {
        let (connector, listener) = sides();
        for mut side in [connector, listener] {
            side.outbox.clear();
            side.hear(&bytes(&Signal::Confirm { mac: [0; 32] }));
            assert_eq!(side.failure(), Failure::Protocol);
            let abort = Signal::Abort {
                reason: AbortReason::Protocol,
            };
            assert_eq!(side.say(), Some(bytes(&abort)));
        }
    }
}

#[test]
fn a_first_signal_that_comes_twice_breaks_the_protocol() {
    for sides in both_kinds() {
        let (mut connector, mut listener) = sides();
        let first = connector.say().unwrap();
        listener.hear(&first);
        listener.hear(&first);
        assert_eq!(listener.failure(), Failure::Protocol);
    }
}

#[test]
fn an_exchange_of_the_other_kind_breaks_the_protocol() {
    let mut connector = by_secret(Role::Connector, SECRET);
    let mut listener = by_code(Role::Listener, &right_code());
    run(&mut connector, &mut listener, untouched);
    assert_eq!(connector.failure(), Failure::Protocol);
    assert_eq!(listener.failure(), Failure::Protocol);
}

#[test]
fn a_sealed_signal_before_the_end_breaks_the_protocol() {
    for sides in both_kinds() {
        let (_, mut listener) = sides();
        listener.hear(&bytes(&Signal::Sealed {
            counter: 0,
            ciphertext: vec![0; 40],
        }));
        assert_eq!(listener.failure(), Failure::Protocol);
    }
}

#[test]
fn a_point_that_is_none_breaks_the_protocol() {
    // Cut, empty, of no side, of the wrong side, and y = 2, which is on no point of the curve.
    let mut off_curve = [0; 33];
    (off_curve[0], off_curve[1]) = (b'A', 2);
    for message in [
        &b"A"[..],
        b"",
        &[0; 33],
        &[b'B'; 33],
        &off_curve,
        &[b'A'; 4096],
    ] {
        let mut listener = by_code(Role::Listener, &right_code());
        listener.hear(&bytes(&Signal::Pake {
            version: VERSION,
            fingerprint: fingerprint("connector"),
            message: message.to_vec(),
        }));
        assert_eq!(listener.failure(), Failure::Protocol, "{message:?}");
    }
}

#[test]
fn an_abort_ends_the_exchange_and_is_not_answered() {
    for sides in both_kinds() {
        let (connector, listener) = sides();
        for mut side in [connector, listener] {
            side.outbox.clear();
            let reason = AbortReason::Busy;
            side.hear(&bytes(&Signal::Abort { reason }));
            assert_eq!(side.failure(), Failure::Aborted(reason));
            assert_eq!(side.say(), None);
        }
    }
}

#[test]
fn an_abort_before_the_connector_has_confirmed_is_no_wrong_word() {
    let reason = AbortReason::Confirmation;
    let code = right_code();
    let mut connector = by_code(Role::Connector, &code);
    let mut listener = by_code(Role::Listener, &code);
    listener.hear(&connector.say().unwrap());
    for side in [&mut connector, &mut listener] {
        side.hear(&bytes(&Signal::Abort { reason }));
        assert_eq!(side.failure(), Failure::Aborted(reason));
    }
}

#[test]
fn another_version_is_told_from_a_broken_protocol() {
    let newer = |kind: u8| {
        // The variant, the version, and a layout that nobody here knows.
        let mut payload = postcard::to_stdvec(&(kind, VERSION + 1)).unwrap();
        payload.extend([0xff; 5]);
        payload
    };
    for sides in both_kinds() {
        for kind in [0, 1] {
            let (_, mut listener) = sides();
            listener.outbox.clear();
            listener.hear(&newer(kind));
            let theirs = VERSION + 1;
            assert_eq!(listener.failure(), Failure::Version { theirs });
            let abort = Signal::Abort {
                reason: AbortReason::Version,
            };
            assert_eq!(listener.say(), Some(bytes(&abort)));
        }
        let (_, mut listener) = sides();
        listener.hear(&newer(2));
        assert_eq!(listener.failure(), Failure::Protocol);
    }
}

#[test]
fn a_readable_first_signal_of_another_version_is_refused() {
    let mut listener = by_code(Role::Listener, &right_code());
    let mut connector = by_code(Role::Connector, &right_code());
    run(&mut connector, &mut listener, |_, payload| {
        let mut signal: Signal = frame::decode(payload).unwrap();
        if let Signal::Pake { version, .. } = &mut signal {
            *version = 7;
            *payload = bytes(&signal);
        }
    });
    assert_eq!(listener.failure(), Failure::Version { theirs: 7 });
    assert_eq!(connector.failure(), Failure::Version { theirs: 7 });
}

#[test]
fn debug_of_what_belongs_to_an_exchange_shows_no_secret() {
    let (exchange, _) = Exchange::by_code(Role::Listener, &right_code(), fingerprint("listener"));
    assert_eq!(
        format!("{exchange:?}"),
        "Exchange { role: Listener, phase: \"by code\", .. }"
    );
    let (mut connector, mut listener) = both_kinds()[0]();
    run(&mut connector, &mut listener, untouched);
    let paired = connector.paired();
    let secret = *paired.pair_secret.as_ref().unwrap().expose();
    let shown = format!("{paired:?}");
    assert!(shown.contains("<secret>"), "{shown}");
    assert!(
        !shown.contains(&format!("{}, {}", secret[0], secret[1])),
        "{shown}"
    );
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let fingerprints = any::<u8>().prop_map(|n| Fingerprint::of_certificate(&[n]));
    prop_oneof![
        (
            1..3u16,
            fingerprints.clone(),
            prop::collection::vec(any::<u8>(), 30..36)
        )
            .prop_map(|(version, fingerprint, mut message)| {
                message[0] = b"ABS"[usize::from(message[0]) % 3];
                Signal::Pake {
                    version,
                    fingerprint,
                    message,
                }
            }),
        (1..3u16, any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
            |(version, nonce, hidden_fingerprint)| Signal::Known {
                version,
                nonce,
                hidden_fingerprint,
            }
        ),
        any::<[u8; 32]>().prop_map(|mac| Signal::Confirm { mac }),
        Just(Signal::Abort {
            reason: AbortReason::Confirmation
        }),
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..64)).prop_map(
            |(counter, ciphertext)| Signal::Sealed {
                counter,
                ciphertext
            }
        ),
    ]
}

proptest! {
    #[test]
    fn garbage_neither_pairs_nor_panics(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)
    ) {
        for sides in both_kinds() {
            let (connector, listener) = sides();
            for mut side in [connector, listener] {
                for payload in &payloads {
                    side.hear(payload);
                }
                prop_assert!(!side.is_paired());
            }
        }
    }

    #[test]
    fn signals_of_a_stranger_neither_pair_nor_panic(
        signals in prop::collection::vec(any_signal(), 1..6)
    ) {
        for sides in both_kinds() {
            let (connector, listener) = sides();
            for mut side in [connector, listener] {
                for signal in &signals {
                    side.hear(&bytes(signal));
                }
                prop_assert!(!side.is_paired());
            }
        }
    }

    #[test]
    fn what_a_stranger_seals_is_not_opened(
        counter in any::<u64>(),
        ciphertext in prop::collection::vec(any::<u8>(), 0..MAX_SIGNAL),
    ) {
        let key = p2pdbg_proto::secret::Secret::from_bytes([1; 32]);
        let mut opener = Opener::new(Role::Listener, &key);
        prop_assert_eq!(opener.open(counter, &ciphertext), Err(OpenError::Forged));
    }
}
