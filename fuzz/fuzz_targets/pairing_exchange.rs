//! Any signals at an exchange, by code and by secret, at either end: nothing panics, nobody without the code or the
//! secret gets to the keys, and what the real peer says is understood when nothing was put in between.
//!
//! An input is a row of signals, each from the stranger or, where it says so, from the real peer.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pdbg_pairing::{Exchange, Next, PairSecret, Step};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    rendezvous::Role,
    fingerprint::Fingerprint,
    frame,
    signal::Signal,
};

#[derive(Arbitrary, Debug)]
struct Script {
    listener: bool,
    by_code: bool,
    signals: Vec<Said>,
}

#[derive(Arbitrary, Debug)]
enum Said {
    /// Bytes of a stranger's.
    Bytes(Vec<u8>),
    /// A confirmation of a stranger's, well formed.
    Confirm([u8; 32]),
    /// What the peer really says next.
    Peer,
}

fuzz_target!(|script: Script| {
    let role = if script.listener { Role::Listener } else { Role::Connector };
    let (own, theirs) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
    let code = Code {
        nameplate: Nameplate::MIN,
        words: Words::random(),
    };
    let secret = PairSecret::from_bytes([7; 32]);
    let begin = |role, own, theirs| match script.by_code {
        true => Exchange::by_code(role, &code, own),
        false => Exchange::by_secret(role, &secret, own, theirs),
    };
    let (mut ours, first) = begin(role, own, theirs);
    let (peer, theirs_first) = begin(role.other(), theirs, own);
    // The peer hears this end's first signal at once, and a connector answers with its confirmation.
    let Step { reply, .. } = peer.handle(first);
    let mut genuine = [Some(theirs_first), reply].into_iter().flatten();
    let mut stranger = false;
    for said in &script.signals {
        let step = match said {
            Said::Bytes(bytes) => {
                stranger = true;
                ours.handle_payload(bytes)
            }
            Said::Confirm(mac) => {
                stranger = true;
                let payload = frame::encode_body(&Signal::Confirm { mac: *mac });
                ours.handle_payload(&payload.expect("a short signal"))
            }
            Said::Peer => match genuine.next() {
                Some(signal) => ours.handle(signal),
                None => return,
            },
        };
        match step.next {
            Next::Wait(exchange) => ours = exchange,
            Next::Paired(paired) => {
                assert!(!stranger, "whoever has neither code nor secret has no key");
                assert_eq!(paired.peer, theirs);
                return;
            }
            Next::Failed(_) => return,
        }
    }
});
