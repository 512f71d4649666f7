//! Any text as a code, a rendezvous' URL, a peer's name, or an address with a port: nothing panics, and what reads as
//! one is shown as one that reads the same.

#![no_main]

use std::{fmt::Display, str::FromStr};

use libfuzzer_sys::fuzz_target;
use p2pdbg_base::{HostPort, PeerName, Untrusted};
use p2pdbg_proto::{code::Code, url::RendezvousUrl};

fn reads_back<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(one) = text.parse::<T>() {
        let again = one.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == one), "{text:?}");
    }
}

fuzz_target!(|text: &str| {
    reads_back::<Code>(text);
    reads_back::<RendezvousUrl>(text);
    reads_back::<PeerName>(text);
    reads_back::<HostPort>(text);
    // What is made of a stranger's text is always a name, and never moves the terminal's cursor.
    reads_back::<PeerName>(PeerName::nearest(text).as_str());
    let shown = Untrusted::new(text).to_string();
    assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
});
