//! What a row of the table says.

use p2pdbg_base::HoldPolicy;
use p2pdbg_inspect::{Debugger as Seen, Protocol};
use p2pdbg_proto::tunnel::Direction;

use crate::ide::Ides;

/// What is known of a debugger.
#[derive(Debug)]
pub struct Debugger {
    /// Its name on the command line, in JSON and in the documents.
    pub name: &'static str,
    /// What people call it, its language or its IDE where they are asked for its name. One word may be said of several.
    pub also_called: &'static [&'static str],
    /// Which way its connections go: who listens is at the end of the arrow.
    pub direction: Direction,
    /// The port used when none is given: the debugger's own, or a customary one where it has none.
    pub port: u16,
    /// The command, or the line of code, that starts the debuggee, with `PORT` for the port.
    pub start: &'static str,
    /// What becomes of a connection while nothing listens at the other end.
    pub while_absent: WhileAbsent,
    /// Which end writes first on a new connection.
    pub first_word: FirstWord,
    /// The languages in which it may speak, the most telling first.
    pub speaks: &'static [Protocol],
    /// Whether its DAP is the one in which the adapter names itself debugpy or ptvsd.
    pub is_debugpy: bool,
    /// By which files its presence on a host is seen.
    pub presence: Presence,
    /// How a process of it that listens is recognised.
    pub listens: Option<Listens>,
    /// What people stumble over; `p2pdbg doctor` tells them of a debugger that it finds.
    pub traps: &'static [Trap],
    /// How its configurations read in the IDEs.
    pub ides: Ides,
}

/// How a process that listens for its IDE is told from other processes, by its words: those of its command line, and as
/// `NAME=WORD` those of the variables by which it was told more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listens {
    /// How the file name of its program begins, each way that it may.
    pub programs: &'static [&'static str],
    /// What one of its words contains; nothing where the program is the debugger itself.
    pub argument: &'static str,
    /// The variables in which it may have been told what else stands in the command line.
    pub variables: &'static [&'static str],
    /// Which of the ports on which it listens is the debugger's.
    pub port: ListeningPort,
}

/// Which of the ports on which a process listens is its debugger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListeningPort {
    /// Any: the process does nothing else.
    Any,
    /// One whose number stands among its words.
    InCommandLine,
    /// One whose number stands in the word that contains [`Listens::argument`].
    InArgument,
    /// The same, or one of so many from the debugger's own port on: processes that it starts count up from there.
    InArgumentOrOwn(u16),
}

impl Listens {
    /// Whether this, the first word of a command line, is its program.
    pub fn is_program(&self, word: &str) -> bool {
        let name = word.rsplit('/').next().unwrap_or_default();
        self.programs.iter().any(|begin| name.starts_with(begin))
    }
}

impl Debugger {
    /// Whether a process with this command line may listen for this debugger's IDE on some port.
    pub fn may_listen_as(&self, words: &[String]) -> bool {
        let Some(listens) = self.listens else {
            return false;
        };
        let mut words = words.iter();
        let program = words.next().map_or("", String::as_str);
        listens.is_program(program)
            && match listens.port {
                ListeningPort::Any | ListeningPort::InArgumentOrOwn(_) => true,
                ListeningPort::InCommandLine | ListeningPort::InArgument => {
                    words.any(|word| word.contains(listens.argument))
                }
            }
    }

    /// Whether a process with these words, which listens on `port`, does so for this debugger's IDE.
    pub fn listens_as(&self, words: &[String], port: u16) -> bool {
        let Some(listens) = self.listens.filter(|_| self.may_listen_as(words)) else {
            return false;
        };
        let mut words = words.iter().skip(1);
        let says = |word: &&String| word.contains(listens.argument);
        let names = |word: &String| {
            let mut numbers = word.split(|c: char| !c.is_ascii_digit());
            numbers.any(|number| number.parse() == Ok(port))
        };
        match listens.port {
            ListeningPort::Any => true,
            ListeningPort::InCommandLine => words.any(names),
            ListeningPort::InArgument => words.filter(says).any(names),
            ListeningPort::InArgumentOrOwn(count) => {
                let own = self.port..self.port.saturating_add(count);
                own.contains(&port) || words.filter(says).any(names)
            }
        }
    }
}

/// What becomes of a connection while nothing listens at the other end, unless the user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAbsent {
    /// It is accepted and held until something listens.
    Hold,
    /// It is held until the other end was reached once: a program that is started to be debugged waits for its IDE.
    /// From then on it is refused: one that only tries whether somebody debugs goes on.
    HoldOnce,
    /// It is refused, for this reason.
    Refuse {
        /// Why holding harms, for the documents and for whoever changes the row.
        why: &'static str,
    },
}

impl WhileAbsent {
    /// The same in the words of `--absent`.
    pub fn policy(self) -> HoldPolicy {
        match self {
            Self::Hold => HoldPolicy::Hold,
            Self::HoldOnce => HoldPolicy::HoldOnce,
            Self::Refuse { .. } => HoldPolicy::Refuse,
        }
    }
}

/// Which end writes on a new connection without waiting for a word of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstWord {
    /// The end that connects (the other may speak unasked too): until it has written, nothing is lost by not dialling
    /// the other end.
    Client,
    /// The end that connects, though some clients wait for the other's: for one who stays and says nothing the other
    /// end is dialled.
    Either,
    /// The end that accepts, and the one that connects waits for it: the far end has to be dialled at once.
    Server,
}

/// By which files a debugger is found on a host. Nothing is run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A Python package, as its metadata directory spells it.
    PythonPackage(&'static str),
    /// It cannot be seen from files.
    Unseen,
}

/// Something that goes wrong with a debugger, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// What one sees, as the beginning of a sentence.
    pub symptom: &'static str,
    /// What helps, as a command or as its end.
    pub fix: &'static str,
}

pub(crate) const fn trap(symptom: &'static str, fix: &'static str) -> Trap {
    Trap { symptom, fix }
}

impl Debugger {
    /// Whether what was seen on a connection can be this debugger.
    pub fn can_be(&self, seen: &Seen) -> bool {
        // What it is cannot be told.
        if matches!(seen.protocol, Protocol::Unknown | Protocol::Tls) {
            return true;
        }
        if !self.speaks.contains(&seen.protocol) {
            return false;
        }
        // DAP alone does not say whose it is, until the debugger names itself.
        if seen.protocol == Protocol::Dap && seen.version.is_some() {
            let is_debugpy = matches!(seen.name.as_deref(), Some("debugpy" | "ptvsd"));
            return self.is_debugpy == is_debugpy;
        }
        true
    }
}

/// Defines `Preset` from the table: its names in the order of the help text, and the row of each.
macro_rules! presets {
    ($($(#[$doc:meta])+ $preset:ident => $row:ident,)+) => {
        /// A debugger's way of connecting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Preset {
            $($(#[$doc])+ $preset,)+
        }

        impl Preset {
            /// Every preset, in the order of the help text.
            pub const ALL: [Preset; [$(stringify!($preset)),+].len()] = [$(Preset::$preset),+];

            /// What is known of the debugger.
            pub fn debugger(self) -> &'static Debugger {
                match self {
                    $(Preset::$preset => &$row,)+
                }
            }
        }
    };
}
pub(crate) use presets;
