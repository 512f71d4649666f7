//! Whatever the two ends write: nothing panics, and how it was cut into pieces makes no difference.

use std::time::Instant;

use p2pdbg_inspect::{Advice, Context, Debugger, End, Inspector};
use proptest::prelude::*;

/// What both ends wrote, piece by piece.
type Talk = Vec<(End, Vec<u8>)>;

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Ide), Just(End::Debuggee)]
}

fn dap(json: &str) -> Vec<u8> {
    format!("Content-Length: {}\r\n\r\n{json}", json.len()).into_bytes()
}

/// Parts of conversations, whole and broken.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let dap_messages = prop::sample::select(vec![
        dap(
            r#"{"seq":1,"type":"request","command":"initialize","arguments":{"clientID":"x","adapterID":"debugpy"}}"#,
        ),
        dap(r#"{"seq":2,"type":"request","command":"next"}"#),
        dap(
            r#"{"seq":3,"type":"request","command":"setBreakpoints","arguments":{"source":{"path":"/home/a/b.py"}}}"#,
        ),
        dap(
            r#"{"type":"response","request_seq":3,"success":true,"command":"setBreakpoints","body":{"breakpoints":[{"verified":false,"message":"Breakpoint in file that does not exist."}]}}"#,
        ),
        dap(
            r#"{"type":"event","event":"process","body":{"name":"/srv/a/b.py","systemProcessId":7}}"#,
        ),
        dap(r#"{"type":"event","event":"stopped","body":{}}"#),
        dap(
            r#"{"type":"response","request_seq":9,"success":true,"command":"stackTrace","body":{"stackFrames":[{"line":3,"source":{"path":"/usr/lib/python3.11/x.py"}}]}}"#,
        ),
        dap("nonsense"),
        dap(r#"{"type":7}"#),
    ]);
    let others = prop::sample::select(vec![
        b"501\t1\t263.7307.50\tUNIX\n".to_vec(),
        b"501\t1\t243.1.1\n".to_vec(),
        b"105\t4\t<xml><thread id=\"pid_5_id_1\"><frame file=\"%2Fsrv%2Fb.py\" line=\"2\"/></thread></xml>\n".to_vec(),
        b"116\t8\t<xml><io s=\"x to file that does not exist: /home/b.py (will%250A\" ctx=\"2\"/></xml>\n".to_vec(),
        b"108\t5\tpid\n".to_vec(),
        b"33\0<init fileuri=\"file:///srv/b.php\"><engine version=\"3\"><![CDATA[X]]></engine></init>\0".to_vec(),
        b"breakpoint_set -i 1 -t line -f file:///home/b.php -n 1\0".to_vec(),
        b"+$qSupported:multiprocess+#00".to_vec(),
        b"$vCont;s#00$T05thread:p1f.1f;#00".to_vec(),
        b"JDWP-Handshake".to_vec(),
        vec![0, 0, 0, 11, 0, 0, 0, 1, 0, 1, 1],
        b"GET /json HTTP/1.1\r\n".to_vec(),
    ]);
    prop_oneof![
        8 => dap_messages,
        6 => others,
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn talk() -> impl Strategy<Value = Talk> {
    prop::collection::vec((end(), part()), 0..24)
}

/// What is known after a talk.
fn learnt(talk: &Talk, now: Instant) -> (Option<Debugger>, Vec<Advice>) {
    let mut inspector = Inspector::new(Context::default());
    for (from, bytes) in talk {
        inspector.handle(now, *from, bytes);
    }
    let advice = std::iter::from_fn(|| inspector.poll_advice()).collect();
    (inspector.debugger().cloned(), advice)
}

proptest! {
    #[test]
    fn nothing_panics(pieces in prop::collection::vec((end(), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) {
        learnt(&pieces, Instant::now());
    }

    #[test]
    fn the_pieces_make_no_difference(talk in talk(), cuts in prop::collection::vec(1_usize..40, 1..20)) {
        let now = Instant::now();
        let mut cuts = cuts.iter().copied().cycle();
        let pieces: Talk = talk
            .iter()
            .flat_map(|(from, bytes)| {
                let mut rest = &bytes[..];
                let mut pieces = Vec::new();
                while !rest.is_empty() {
                    let (piece, more) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                    pieces.push((*from, piece.to_vec()));
                    rest = more;
                }
                pieces
            })
            .collect();
        let bytewise: Talk = talk
            .iter()
            .flat_map(|(from, bytes)| bytes.iter().map(|byte| (*from, vec![*byte])))
            .collect();
        let whole = learnt(&talk, now);
        prop_assert_eq!(&whole, &learnt(&pieces, now));
        prop_assert_eq!(&whole, &learnt(&bytewise, now));
    }
}
