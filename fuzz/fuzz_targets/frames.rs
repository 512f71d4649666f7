//! Any bytes as a frame of the control connection, of a tunnel's control stream, or of a signal: whatever reads as a
//! message is written as one that reads the same, and nothing is allocated for a length beyond the bound.
//!
//! The first byte says which type; the rest is the frame, prefix and all.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use p2pdbg_proto::{
    rendezvous::{FromRendezvous, ToRendezvous},
    frame::{self, MAX_BODY, PREFIX},
    signal::{PeerMessage, Signal},
    tunnel::TunnelMessage,
};
use serde::{Serialize, de::DeserializeOwned};

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) {
    let Ok(message) = frame::decode_extensible::<T>(body) else {
        assert!(frame::decode::<T>(body).is_err(), "what is strict is extensible too");
        return;
    };
    let mut out = Vec::new();
    frame::encode(&message, &mut out).expect("what was read is short enough");
    let (_, again) = out.split_first_chunk::<PREFIX>().expect("a frame has a prefix");
    assert_eq!(frame::decode::<T>(again).as_ref(), Ok(&message));
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, frame)) = data.split_first() else {
        return;
    };
    let Some((prefix, body)) = frame.split_first_chunk::<PREFIX>() else {
        return;
    };
    let Ok(length) = frame::body_length(*prefix) else {
        return;
    };
    assert!(length <= MAX_BODY);
    let body = &body[..length.min(body.len())];
    match kind % 5 {
        0 => reads_back::<ToRendezvous>(body),
        1 => reads_back::<FromRendezvous>(body),
        2 => reads_back::<TunnelMessage>(body),
        3 => reads_back::<Signal>(body),
        _ => reads_back::<PeerMessage>(body),
    }
});
