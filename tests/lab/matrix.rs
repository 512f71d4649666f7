//! The kernel's own kinds of NAT against each other: the three programs behind each pair of them.
//!
//! The suite tries the pairs that the other tests leave out, once. `scripts/lab-matrix` has all of them tried several
//! times, and the table in docs/TRAVERSAL.md written anew. A run takes some seconds of real time, so what needs many
//! runs is measured in the simulator.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Flow, Lab, NatKind, TwoNats};

use super::{DELAY, harness::eventually, setting};

/// How often each pair of the whole matrix is tried; with nothing said, there is no whole matrix.
const RUNS: &str = "P2PDBG_LAB_MATRIX_RUNS";

/// The kind of which alone the row and the column are measured; the other cells stay as they are.
const KIND: &str = "P2PDBG_LAB_MATRIX_KIND";

/// The same without UDP, for direct paths by TCP.
const BEGIN_TCP: &str = "<!-- measured by TCP: scripts/lab-matrix -->";
const END_TCP: &str = "<!-- end of the lab's matrix by TCP -->";

/// Those that differ for TCP.
const KINDS_TCP: [(&str, NatKind); 4] = [
    ("none", NatKind::NONE),
    ("firewall", NatKind::FIREWALL),
    ("port-restr.", NatKind::PORT_RESTRICTED),
    ("random", NatKind::SYMMETRIC_RANDOM),
];

const BEGIN: &str = "<!-- measured: scripts/lab-matrix -->";
const END: &str = "<!-- end of the lab's matrix -->";

const KINDS: [(&str, NatKind); 7] = [
    ("none", NatKind::NONE),
    ("firewall", NatKind::FIREWALL),
    ("full cone", NatKind::FULL_CONE),
    ("addr.-restr.", NatKind::ADDRESS_RESTRICTED),
    ("port-restr.", NatKind::PORT_RESTRICTED),
    ("random", NatKind::SYMMETRIC_RANDOM),
    ("UDP blocked", NatKind::UDP_BLOCKED),
];

/// What the log has when all rounds of TCP were in vain.
const TCP_FAILED: &str = "TcpRound { round: 5";

/// How two peers came together for good, as the connector says.
struct Meeting {
    /// By which technique; none: on the relay.
    technique: Option<String>,
    /// From the start of the connector's process to the path.
    after_ms: u64,
}

/// Has the connector behind `a` and the listener behind `b` meet once.
#[track_caller]
fn meet(name: &str, a: NatKind, b: NatKind) -> Option<Meeting> {
    let lab = Lab::new_or_skip(name)?;
    let failed = match a.blocks_udp || b.blocks_udp {
        true => TCP_FAILED,
        false => "AttemptFailed",
    };
    meet_in(&TwoNats::new(lab, b, a, DELAY).unwrap(), failed)
}

/// The same where no UDP passes, until all rounds of TCP were in vain.
#[track_caller]
fn meet_without_udp(name: &str, a: NatKind, b: NatKind) -> Option<Meeting> {
    let lab = Lab::new_or_skip(name)?;
    let lab = TwoNats::new(lab, b, a, DELAY).unwrap();
    lab.nat_a.block(Flow::udp()).unwrap();
    lab.nat_b.block(Flow::udp()).unwrap();
    meet_in(&lab, TCP_FAILED)
}

/// Has them meet; `failed` is in the line of the log after which nothing is to be hoped for.
#[track_caller]
fn meet_in(lab: &TwoNats, failed: &str) -> Option<Meeting> {
    let setting = setting(lab);
    let listener = setting.listener().start();
    let connector = setting.connector_with(&listener.code()).start();
    let relay = connector.path(PathKind::Relay);
    eventually("an end of the first round of attempts", || {
        let said = connector.stderr();
        // After a short pause the next technique would be tried.
        let failed = |line: &String| line.contains(failed) && !line.contains("200ms");
        let direct = connector.paths().iter().any(|p| p.kind == PathKind::Direct);
        (direct || said.iter().any(failed)).then_some(())
    });
    let direct = |path: &p2pdbg_events::PathReport| path.kind == PathKind::Direct;
    let Some(path) = connector.paths().into_iter().find(direct) else {
        // What was tried, if somebody wonders.
        let told = connector.stderr();
        let tried = told.iter().filter(|line| line.contains("traversal"));
        tried.for_each(|line| println!("{line}"));
        let after_ms = relay.after_ms;
        let technique = None;
        return Some(Meeting {
            technique,
            after_ms,
        });
    };
    listener.path(PathKind::Direct);
    Some(Meeting {
        technique: path.technique,
        after_ms: path.after_ms,
    })
}

#[track_caller]
fn meets_directly(name: &str, a: NatKind, b: NatKind, techniques: &[&str]) {
    let Some(meeting) = meet(name, a, b) else {
        return;
    };
    let technique = meeting.technique.expect("it goes direct");
    assert!(techniques.contains(&technique.as_str()), "{technique}");
}

#[test]
fn a_peer_behind_random_ports_is_found_from_a_port_restricted_nat() {
    let (easy, hard) = (NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM);
    meets_directly("m-pr", easy, hard, &["birthday-search"]);
}

#[test]
fn a_peer_behind_random_ports_finds_one_behind_a_port_restricted_nat() {
    let (easy, hard) = (NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM);
    meets_directly("m-rp", hard, easy, &["birthday-search"]);
}

#[test]
fn a_peer_behind_random_ports_meets_one_behind_an_address_restricted_nat_without_a_search() {
    let (easy, hard) = (NatKind::ADDRESS_RESTRICTED, NatKind::SYMMETRIC_RANDOM);
    meets_directly("m-ar", easy, hard, &["hole-punch", "peer-reflexive"]);
}

#[test]
fn two_peers_behind_random_ports_stay_on_the_relay() {
    let hard = NatKind::SYMMETRIC_RANDOM;
    if let Some(meeting) = meet("m-rr", hard, hard) {
        assert_eq!(meeting.technique, None);
    }
}

/// All runs of one pair.
#[derive(Default)]
struct Cell {
    runs: usize,
    direct: Vec<u64>,
    relayed: Vec<u64>,
    techniques: BTreeMap<String, usize>,
}

impl Cell {
    fn add(&mut self, meeting: Meeting) {
        self.runs += 1;
        match meeting.technique {
            Some(technique) => {
                self.direct.push(meeting.after_ms);
                *self.techniques.entry(technique).or_default() += 1;
            }
            None => self.relayed.push(meeting.after_ms),
        }
    }

    fn describe(&mut self) -> String {
        let seconds = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times[times.len() / 2] as f64 / 1000.0
        };
        if self.direct.is_empty() {
            return format!("relay {:.1} s", seconds(&mut self.relayed));
        }
        let (direct, runs) = (self.direct.len(), self.runs);
        let after = seconds(&mut self.direct);
        let most = self.techniques.iter().max_by_key(|(_, count)| **count);
        let technique = most.map_or("", |(technique, _)| technique);
        format!("{direct}/{runs} {after:.1} s {technique}")
    }
}

#[test]
fn the_whole_matrix_is_measured_when_asked_for() {
    let Some(runs) = std::env::var(RUNS).ok().and_then(|runs| runs.parse().ok()) else {
        return;
    };
    write_table(runs, (BEGIN, END), &KINDS, |a, b| meet("matrix", a, b));
}

#[test]
fn the_matrix_without_udp_is_measured_when_asked_for() {
    let Some(runs) = std::env::var(RUNS).ok().and_then(|runs| runs.parse().ok()) else {
        return;
    };
    let marks = (BEGIN_TCP, END_TCP);
    write_table(runs, marks, &KINDS_TCP, |a, b| {
        meet_without_udp("matrix-t", a, b)
    });
}

/// Measures all pairs of these kinds, and writes the table between the marks of the page.
fn write_table(
    runs: usize,
    (begin, end): (&str, &str),
    kinds: &[(&str, NatKind)],
    meet: impl Fn(NatKind, NatKind) -> Option<Meeting>,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/TRAVERSAL.md");
    let page = || {
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(begin).expect("a place for the table");
        let (stands, after) = rest.split_once(end).expect("an end of the table");
        [before, stands, after].map(str::to_owned)
    };
    let [_, stands, _] = page();
    let only = std::env::var(KIND).ok();
    let mut out = String::new();
    write!(out, "| connector ↓ listener → |").unwrap();
    for (name, _) in kinds {
        write!(out, " {name} |").unwrap();
    }
    writeln!(out, "\n|---|{}", "---|".repeat(kinds.len())).unwrap();
    for (name, a) in kinds {
        write!(out, "| **{name}** |").unwrap();
        for (n, (column, b)) in kinds.iter().enumerate() {
            if only
                .as_ref()
                .is_some_and(|only| ![name, column].contains(&&only.as_str()))
            {
                let row = stands
                    .lines()
                    .find(|line| line.starts_with(&format!("| **{name}** |")));
                let cell = row.and_then(|row| row.split('|').nth(n + 2));
                write!(out, "{}|", cell.expect("a cell that stands")).unwrap();
                continue;
            }
            let mut cell = Cell::default();
            for _ in 0..runs {
                cell.add(meet(*a, *b).expect("a lab"));
            }
            write!(out, " {} |", cell.describe()).unwrap();
        }
        writeln!(out).unwrap();
    }
    println!("{out}");
    let [before, _, after] = page();
    let runs = format!("Each cell: direct in so many of {runs} runs.");
    std::fs::write(
        &path,
        format!("{before}{begin}\n\n{runs}\n\n{out}\n{end}{after}"),
    )
    .unwrap();
}
