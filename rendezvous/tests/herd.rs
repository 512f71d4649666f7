//! Two thousand idle peers whose rendezvous goes away, twice. Here what does not depend on the machine is held; how
//! long it takes, and with more peers, tells `cargo run --release -p p2pdbg-herd -- --end kill --peers 3000`.
#![cfg(target_os = "linux")]

use std::path::Path;

use p2pdbg_herd::{Herd, Program, Report, Signal, raise_descriptors};

const PEERS: usize = 2_000;

async fn lose(herd: &mut Herd, program: &mut Program, signal: Signal) -> Report {
    let report = herd.lose(program, signal).await.unwrap();
    println!("{report}");
    assert_eq!(report.returns.len(), PEERS, "{report}");
    assert!(report.codes > 0, "{report}");
    assert_eq!(report.codes_denied, 0, "{report}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn herd_comes_back_after_a_crash_and_after_a_stop_with_few_dials_and_no_code_denied() {
    raise_descriptors().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_p2pdbg-rendezvous"));
    let mut program = Program::start(program).unwrap();
    let mut herd = Herd::gather(program.url(), PEERS).await.unwrap();

    // Told by the next process that their connection is none of its own, rather than by 25 s of silence.
    let crash = lose(&mut herd, &mut program, Signal::KILL).await;
    assert!(crash.told * 100 >= PEERS * 95, "{crash}");

    let stop = lose(&mut herd, &mut program, Signal::TERM).await;
    assert_eq!(stop.told, PEERS, "{stop}");
    assert!(stop.dials_per_peer() <= 1.5, "{stop}");
}
