//! `p2pdbg doctor`: examines this host's network and tells what it found.

use std::{
    cell::Cell,
    io::{self, Write},
    time::{Duration, Instant},
};

use p2pdbg_base::{Failure, shows_colours, takes_escapes};

use crate::{
    cli::DoctorOptions,
    doctor::{self, Progress, findings::Findings, screen::Screen},
    stdout,
};

/// Where no terminal shows a line that changes, progress is told this often.
const NEWS: Duration = Duration::from_secs(30);

/// Examines and prints; gives back what is wrong with the rendezvous, if anything is. It has been told then.
///
/// # Errors
/// If nothing can be printed.
pub async fn run(options: DoctorOptions) -> Result<Option<Failure>, Failure> {
    let progress = Teller::new();
    let findings = doctor::examine(options.examination, |step| progress.tell(step));
    let findings = Box::pin(findings).await;
    progress.clear();
    print(&findings, options.json)?;
    Ok(findings.error)
}

fn print(findings: &Findings, json: bool) -> Result<(), Failure> {
    stdout::print(|out| match json {
        true => {
            let line = serde_json::to_string(findings).map_err(io::Error::other)?;
            writeln!(out, "{line}")
        }
        false => {
            let colours = shows_colours(&io::stdout());
            out.write_all(Screen::of(findings).text(colours).as_bytes())
        }
    })
}

/// Says on standard error what is being done: as a line that changes on a terminal, else now and then.
struct Teller {
    terminal: bool,
    began: Instant,
    told: Cell<Option<Instant>>,
}

impl Teller {
    fn new() -> Self {
        Self {
            terminal: takes_escapes(&io::stderr()),
            began: Instant::now(),
            told: Cell::new(None),
        }
    }

    fn tell(&self, step: Progress) {
        let text = match step {
            Progress::Reaching => "asking the rendezvous …".to_owned(),
            Progress::Measuring => "looking at the network …".to_owned(),
            Progress::Waiting { alive_s } => format!(
                "waiting for the NAT to forget: alive after {alive_s} s, {} s so far, at most {} s …",
                self.began.elapsed().as_secs(),
                doctor::LONGEST_DEEP.as_secs(),
            ),
        };
        // Nowhere is left to complain to.
        if self.terminal {
            let _ = write!(io::stderr(), "\r\u{1b}[K{text}");
            return;
        }
        let due = self.told.get().is_none_or(|told| told.elapsed() >= NEWS);
        if matches!(step, Progress::Waiting { .. }) && due {
            self.told.set(Some(Instant::now()));
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
