//! Asks the user at the debuggee's terminal whether a debugger may attach.

use std::{
    io::{self, BufRead},
    time::{Duration, Instant},
};

use p2pdbg_attach::{Consent, Question};
use p2pdbg_base::Untrusted;
use p2pdbg_events::{Event, Reporter};
use p2pdbg_proto::attach::MAX_COMMAND;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::{QueueSelector, tcflush, tcgetpgrp},
};
use tokio::sync::mpsc;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Consent that is asked for on the terminal, each time.
pub(super) fn by_terminal(reporter: Reporter) -> Consent {
    // A second question is asked when the first is answered.
    let (asked, mut questions) = mpsc::channel::<Question>(1);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            let reporter = reporter.clone();
            // If it breaks off, the question is dropped, which is a no.
            let _ = tokio::task::spawn_blocking(move || ask(question, &reporter)).await;
        }
    });
    Consent::Asked(asked)
}

fn ask(question: Question, reporter: &Reporter) {
    // Its session may have ended while another question was open.
    if question.answer.is_closed() {
        return;
    }
    // Before it is shown: whatever comes from then on may be the answer, and nothing from before is.
    let is_ready =
        is_in_foreground().unwrap_or(false) && tcflush(io::stdin(), QueueSelector::IFlush).is_ok();
    reporter.emit(Event::AttachAsked {
        pid: question.pid,
        command: Untrusted::limited(&question.command, MAX_COMMAND),
        debugger: question.debugger,
    });
    let _ = question
        .answer
        .send(is_ready && answered().unwrap_or(false));
}

/// Whether this process may read: in the background it would be stopped.
fn is_in_foreground() -> io::Result<bool> {
    Ok(tcgetpgrp(io::stdin())? == getpgrp())
}

/// Whether the next line that is typed is a yes.
fn answered() -> io::Result<bool> {
    let stdin = io::stdin();
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut looked = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut looked, Some(&left)) {
            Ok(0) => return Ok(false),
            // It may have been put into the background meanwhile.
            Ok(_) if !is_in_foreground()? => return Ok(false),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
