//! Which protocol it is, by the first bytes.

use super::debugger_advice::{End, Protocol};

/// What is looked at of each end, in bytes, before it is given up.
const ENOUGH: usize = 64;

/// How much is kept of what was said before the protocol was recognised, in bytes.
const KEPT: usize = 8 << 10;

/// Waits for enough to be said.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    heard: Vec<(End, Vec<u8>)>,
    kept: usize,
}

/// What a protocol says of the beginning of a conversation.
enum Verdict {
    It(Protocol),
    /// It may become one of those that are known.
    Undecided,
    Nothing,
}

impl Detector {
    /// Takes in more. The protocol, once it is clear.
    pub(crate) fn handle(&mut self, from: End, bytes: &[u8]) -> Option<Protocol> {
        match self.heard.last_mut() {
            Some((last, heard)) if *last == from => heard.extend_from_slice(bytes),
            _ => self.heard.push((from, bytes.to_vec())),
        }
        self.kept += bytes.len();
        let mut undecided = false;
        for end in [End::Ide, End::Debuggee] {
            let of_it = self.heard.iter().filter(|(from, _)| *from == end);
            let beginning: Vec<u8> = of_it
                .flat_map(|(_, bytes)| bytes.iter().copied())
                .take(ENOUGH)
                .collect();
            match judge(end, &beginning) {
                Verdict::It(protocol) => return Some(protocol),
                Verdict::Undecided => undecided = true,
                Verdict::Nothing => {}
            }
        }
        (!undecided || self.kept > KEPT).then_some(Protocol::Unknown)
    }

    /// What was said so far, in order.
    pub(crate) fn into_heard(self) -> Vec<(End, Vec<u8>)> {
        self.heard
    }
}

fn judge(end: End, beginning: &[u8]) -> Verdict {
    if beginning.is_empty() {
        return Verdict::Undecided;
    }
    let mut undecided = false;
    let mut begins = |with: &[u8]| {
        let common = with.len().min(beginning.len());
        let alike = with[..common].eq_ignore_ascii_case(&beginning[..common]);
        undecided |= alike && common < with.len();
        alike && common == with.len()
    };
    if begins(b"Content-Length:") {
        return Verdict::It(Protocol::Dap);
    }
    if begins(b"JDWP-Handshake") {
        return Verdict::It(Protocol::Jdwp);
    }
    if begins(b"GET /") {
        return Verdict::It(Protocol::Cdp);
    }
    if begins(b"{\"method\":\"RPCServer.") {
        return Verdict::It(Protocol::Delve);
    }
    if begins(&[0x16, 0x03]) {
        return Verdict::It(Protocol::Tls);
    }
    if end == End::Ide && begins(b"version: ") {
        return Verdict::It(Protocol::Rdbg);
    }
    let more = undecided;
    let verdict = numbered(end, beginning).or_else(|| gdb_remote(end, beginning));
    match verdict {
        Some(verdict) => verdict,
        None if more => Verdict::Undecided,
        None => Verdict::Nothing,
    }
}

/// pydevd's `501 TAB 1 TAB`, and DBGp's `474 NUL <`.
fn numbered(end: End, beginning: &[u8]) -> Option<Verdict> {
    let digits = beginning.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 7 {
        return None;
    }
    Some(match &beginning[digits..] {
        [] => Verdict::Undecided,
        [b'\t', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            match rest.get(digits) {
                None => Verdict::Undecided,
                Some(b'\t') if digits > 0 => Verdict::It(Protocol::Pydevd),
                Some(_) => Verdict::Nothing,
            }
        }
        [0] if end == End::Debuggee => Verdict::Undecided,
        [0, b'<', ..] if end == End::Debuggee => Verdict::It(Protocol::Dbgp),
        _ => Verdict::Nothing,
    })
}

/// gdb's and lldb's `+$q…`: the client speaks first.
fn gdb_remote(end: End, beginning: &[u8]) -> Option<Verdict> {
    if end != End::Ide {
        return None;
    }
    let acks = beginning.iter().take_while(|b| **b == b'+').count();
    Some(match &beginning[acks..] {
        [] => Verdict::Undecided,
        [b'$'] => Verdict::Undecided,
        [b'$', b'q' | b'Q' | b'v' | b'?' | b'H' | b'!', ..] => Verdict::It(Protocol::GdbRemote),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(from: End, bytes: &[u8]) -> Option<Protocol> {
        Detector::default().handle(from, bytes)
    }

    #[test]
    fn every_protocol_is_known_by_its_first_bytes() {
        use End::{Debuggee, Ide};
        let cases: [(End, &[u8], Protocol); 12] = [
            (Ide, b"Content-Length: 335\r\n\r\n{", Protocol::Dap),
            (Debuggee, b"content-length: 1", Protocol::Dap),
            (Ide, b"501\t1\t0.1\tUNIX\n", Protocol::Pydevd),
            (Debuggee, b"501\t1\t263.7307.50\n", Protocol::Pydevd),
            (Debuggee, b"474\0<?xml version=", Protocol::Dbgp),
            (Ide, b"+$qSupported:multiprocess+", Protocol::GdbRemote),
            (Ide, b"$QStartNoAckMode#b0", Protocol::GdbRemote),
            (Ide, b"JDWP-Handshake", Protocol::Jdwp),
            (Ide, b"GET /json/version HTTP/1.1\r\n", Protocol::Cdp),
            (
                Ide,
                b"{\"method\":\"RPCServer.SetApiVersion\"",
                Protocol::Delve,
            ),
            (Ide, b"version: 1.4.0 width: 80 cookie: -", Protocol::Rdbg),
            (Ide, &[0x16, 3, 1, 2, 0], Protocol::Tls),
        ];
        for (from, bytes, protocol) in cases {
            assert_eq!(detect(from, bytes), Some(protocol), "{bytes:?}");
            // The same when it comes in single bytes: never mistaken, and known at the same byte or before.
            let mut detector = Detector::default();
            let found = bytes
                .iter()
                .find_map(|byte| detector.handle(from, std::slice::from_ref(byte)));
            assert_eq!(found, Some(protocol), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_given_up() {
        let mut detector = Detector::default();
        assert_eq!(detector.handle(End::Ide, b"SSH-2.0-OpenSSH\r\n"), None);
        let found = detector.handle(End::Debuggee, b"220 mail ESMTP\r\n");
        assert_eq!(found, Some(Protocol::Unknown));
        // One that only ever says half of something.
        let mut detector = Detector::default();
        let found = (0..KEPT + 1).find_map(|_| detector.handle(End::Ide, b"+"));
        assert_eq!(found, Some(Protocol::Unknown));
    }
}
