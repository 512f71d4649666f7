//! What the table of presets says of each, and that it is complete.

use p2pdbg_inspect::{Debugger as Seen, Protocol};
use p2pdbg_proto::tunnel::Direction::ToDebuggee;

use super::*;
use crate::row::FirstWord;

fn seen(protocol: Protocol, name: Option<&str>, version: Option<&str>) -> Seen {
    Seen {
        protocol,
        name: name.map(str::to_owned),
        version: version.map(str::to_owned),
        runtime: None,
        pid: None,
        ide: None,
        activity: None,
        step_round_trips: None,
    }
}

#[test]
fn debugger_row_fits_its_own_protocol_and_no_other() {
    let pydevd = seen(Protocol::Pydevd, Some("pydevd"), None);
    let debugpy = seen(Protocol::Dap, Some("debugpy"), Some("1.8.22"));
    // VS Code calls the adapter so before it has said a word.
    let unnamed = seen(Protocol::Dap, Some("python"), None);
    let unknown = seen(Protocol::Unknown, None, None);
    assert!(DEBUGPY.can_be(&debugpy) && DEBUGPY.can_be(&unnamed));
    assert!(PYDEVD.can_be(&pydevd) && !PYDEVD.can_be(&debugpy));
    assert!(!DELVE.can_be(&debugpy) && DELVE.can_be(&unnamed));
    assert!(!DEBUGPY.can_be(&pydevd));
    for preset in Preset::ALL {
        assert!(preset.debugger().can_be(&unknown));
    }
}

#[test]
fn process_that_listens_for_its_ide_is_known_by_its_command_line() {
    let line = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let adapter = line(
        "/usr/bin/python3.11 /v/site-packages/debugpy/adapter --for-server 41231 --host 127.0.0.1 --port 5679",
    );
    assert!(DEBUGPY.listens_as(&adapter, 5679));
    // That for the program's own processes.
    assert!(!DEBUGPY.listens_as(&adapter, 40_001) && !DEBUGPY.listens_as(&adapter, 567));
    let of_pypy = line("/usr/bin/pypy3.10 /v/debugpy/adapter --port 5679");
    assert!(DEBUGPY.listens_as(&of_pypy, 5679));
    let server = line("python app.py --port 5679");
    assert!(!DEBUGPY.listens_as(&server, 5679));
    let worker = line("/usr/bin/node --inspect=127.0.0.1:9229 --inspect-port=9230 app.js");
    assert!(NODE.listens_as(&worker, 9230) && !NODE.listens_as(&worker, 3000));
    assert!(NODE.listens_as(&line("node server.js 3000"), 9231));
    assert!(!NODE.listens_as(&line("node server.js 3000"), 3000));
    let deno = line("/home/me/.deno/bin/deno run --inspect=127.0.0.1:9230 app.ts");
    assert!(NODE.listens_as(&deno, 9230) && !NODE.listens_as(&deno, 8000));
    let jvm = line("java -agentlib:jdwp=transport=dt_socket,server=y,address=*:5006 -Dport=8080");
    assert!(JDWP.listens_as(&jvm, 5006) && !JDWP.listens_as(&jvm, 8080));
    assert!(GDBSERVER.listens_as(&line("gdbserver :2000 ./app"), 2000));
    assert!(!GDBSERVER.listens_as(&[], 2000));
    for (line, may) in [
        (&adapter, [true, false]),
        (&server, [false, false]),
        (&worker, [false, true]),
    ] {
        assert_eq!([DEBUGPY, NODE].map(|row| row.may_listen_as(line)), may);
    }
}

#[test]
fn debugger_row_has_traps_in_words_that_fit_a_line() {
    for preset in Preset::ALL {
        let traps = preset.debugger().traps;
        assert!(!traps.is_empty(), "{preset:?}");
        for trap in traps {
            assert!(
                trap.symptom.len() <= 72 && trap.fix.len() <= 100,
                "{trap:?}"
            );
        }
    }
}

#[test]
fn debugger_row_that_the_ide_dials_says_that_the_ide_speaks_first() {
    for preset in Preset::ALL {
        let row = preset.debugger();
        if row.direction == ToDebuggee {
            assert_ne!(row.first_word, FirstWord::Server, "{preset:?}");
        }
    }
}
