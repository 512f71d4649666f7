//! Codes: `NAMEPLATE-word-word-word`, what one person reads to another to pair two hosts.
//!
//! The nameplate is public: the rendezvous draws it and finds the listener by it. The words are the
//! password of the PAKE: 33 bits from the operating system's randomness, never sent anywhere. The words are
//! those of BIP 39, a public list of 2,048 English words that differ in their first four letters, so a code
//! survives being read aloud, and four letters of a word are enough when typing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    node::NodeNumber,
    secret::random_bytes,
    spelling::{is_dash, nearest},
};

/// How many words a code has.
const WORDS: usize = 3;

/// The public number by which the rendezvous finds a listener: six digits, the first not zero. One that a node of a
/// cluster has given has eight, of which the first two are the node's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Nameplate(u32);

impl TryFrom<u32> for Nameplate {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, &'static str> {
        Self::new(number).ok_or("a nameplate has six or eight digits")
    }
}

/// How many nameplates a node has.
const OF_A_NODE: u32 = 1_000_000;

impl Nameplate {
    /// The lowest nameplate: six digits, none of them a leading zero.
    pub const MIN: Nameplate = Nameplate(100_000);
    /// The highest nameplate that no node of a cluster has given.
    pub const MAX: Nameplate = Nameplate(999_999);

    /// Draws a nameplate of six digits uniformly at random.
    pub fn random() -> Self {
        Self(Self::MIN.0 + random_below(Self::MAX.0 - Self::MIN.0 + 1))
    }

    /// Draws one of this node's.
    pub fn random_of(node: NodeNumber) -> Self {
        Self(u32::from(node.get()) * OF_A_NODE + random_below(OF_A_NODE))
    }

    /// The nameplate of that number, if it has six digits, or eight that begin with a node's number.
    pub fn new(number: u32) -> Option<Self> {
        let plain = (Self::MIN.0..=Self::MAX.0).contains(&number);
        let nameplate = Self(number);
        (plain || nameplate.node().is_some()).then_some(nameplate)
    }

    /// Which node of a cluster has given it.
    pub fn node(self) -> Option<NodeNumber> {
        let number = u8::try_from(self.0 / OF_A_NODE).ok()?;
        NodeNumber::new(number)
    }
}

fn random_below(span: u32) -> u32 {
    // 64 random bits make the modulo's bias (2^-44) meaningless.
    let drawn = u64::from_be_bytes(random_bytes()) % u64::from(span);
    u32::try_from(drawn).unwrap_or_default()
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The secret half of a code.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Words(String);

impl Words {
    /// Draws three words from the operating system's randomness.
    pub fn random() -> Self {
        let list = bip39::Language::English.word_list();
        let words: Vec<&str> = (0..WORDS)
            // 2,048 words: a power of two, so the modulo has no bias.
            .map(|_| list[usize::from(u16::from_be_bytes(random_bytes())) % list.len()])
            .collect();
        Self(words.join("-"))
    }

    /// The password for the PAKE: the words in full, joined by dashes.
    pub fn password(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<words>")
    }
}

/// What `p2pdbg listen` prints and `p2pdbg connect` takes. `Display` shows it whole, words and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The public half: the rendezvous finds the listener by it.
    pub nameplate: Nameplate,
    /// The secret half: it never leaves the two hosts.
    pub words: Words,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.nameplate, self.words.0)
    }
}

/// Why a text is not a code. The messages never repeat a word that might be right; the word that a wrong one is nearest
/// to is told, since the code stands on the same person's screen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotACode {
    /// It does not have four parts.
    #[error("a code looks like 482913-orbit-lemon-tiger: a number and {WORDS} words")]
    Shape,
    /// A program stands behind it, as in the line that `p2pdbg listen` shows for one.
    #[error("a program stands behind the code: run p2pdbg connect CODE -- PROGRAM for that")]
    Program,
    /// The first part is not a number of six or eight digits.
    #[error("a code begins with a number of six or eight digits, as in 482913-orbit-lemon-tiger")]
    Nameplate,
    /// A word is not in the list; the position counts from 1.
    #[error("word {position} of the code is not one that p2pdbg uses: {}", advice(*nearest))]
    Word {
        /// Which word, counted from 1.
        position: usize,
        /// The word of the list that it is nearest to, if it is near to one alone.
        nearest: Option<&'static str>,
    },
}

fn advice(nearest: Option<&str>) -> String {
    nearest.map_or("check its spelling".to_owned(), |word| {
        format!("did you mean {word}?")
    })
}

/// What stands before a code in the line that `p2pdbg listen` shows, and people paste with it.
const BEFORE_A_CODE: [&str; 4] = ["p2pdbg", "p2pdbg.exe", "connect", "code"];

/// What stands between the parts of a code: as it is shown, as people type it, and as programs for text and chat make
/// it, which take a hyphen for a dash.
fn divides(c: char) -> bool {
    matches!(c, '-' | '_' | ':' | ',' | '.') || is_dash(c) || c.is_whitespace()
}

impl FromStr for Code {
    type Err = NotACode;

    /// Reads a code as people type it: any case, dashes or blanks, words cut to their first four letters, and pasted
    /// with the command before it, the rendezvous after it, or the quotes and full stops of a message.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let text = without_rendezvous(text)?;
        let mut parts = text
            .split(divides)
            .map(|part| part.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|part| !part.is_empty())
            .skip_while(|part| BEFORE_A_CODE.contains(&part.to_ascii_lowercase().as_str()));
        let number = parts.next().ok_or(NotACode::Shape)?;
        let nameplate = number
            .parse()
            .ok()
            .and_then(Nameplate::new)
            .ok_or(NotACode::Nameplate)?;
        let mut words = Vec::with_capacity(WORDS);
        for (index, part) in parts.enumerate() {
            if index == WORDS {
                return Err(NotACode::Shape);
            }
            words.push(whole_word(part).ok_or_else(|| NotACode::Word {
                position: index + 1,
                nearest: nearest(part, bip39::Language::English.word_list().iter().copied()),
            })?);
        }
        if words.len() != WORDS {
            return Err(NotACode::Shape);
        }
        let words = Words(words.join("-"));
        Ok(Self { nameplate, words })
    }
}

/// What stands before ` --rendezvous URL`, which the line that is shown ends with. Another option would be lost without
/// a word, so none is taken.
fn without_rendezvous(text: &str) -> Result<&str, NotACode> {
    if let Some((_, program)) = text.split_once(" -- ")
        && !program.trim().is_empty()
    {
        return Err(NotACode::Program);
    }
    let Some((before, option)) = text.split_once(" --") else {
        return Ok(text);
    };
    let mut words = option
        .split([' ', '='])
        .filter(|word| !word.trim().is_empty());
    let is_it = words.next() == Some("rendezvous") && words.next().is_some();
    (is_it && words.next().is_none())
        .then_some(before)
        .ok_or(NotACode::Shape)
}

/// What `typed`, the beginning of a code, may go on as: with each of the words that its last part begins, which may not
/// be empty.
pub fn completions(typed: &str) -> Vec<String> {
    let Some((before, last)) = typed.rsplit_once('-') else {
        return Vec::new();
    };
    let number = before.split('-').next().unwrap_or_default();
    let is_code = number.parse().ok().and_then(Nameplate::new).is_some();
    if !is_code || last.is_empty() || before.split('-').count() > WORDS {
        return Vec::new();
    }
    let last = last.to_ascii_lowercase();
    let words = bip39::Language::English.word_list().iter();
    let begun = words.filter(|word| word.starts_with(&last));
    begun.map(|word| format!("{before}-{word}")).collect()
}

/// The word of the list that `typed` is, or begins, in no doubt.
fn whole_word(typed: &str) -> Option<&'static str> {
    let typed = typed.to_ascii_lowercase();
    let list = bip39::Language::English.word_list();
    if let Ok(index) = list.binary_search(&typed.as_str()) {
        return Some(list[index]);
    }
    let start = list.partition_point(|word| *word < typed.as_str());
    let mut candidates = list[start..]
        .iter()
        .take_while(|word| word.starts_with(&typed));
    let first = candidates.next()?;
    (typed.len() >= 4 && candidates.next().is_none()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_as_it_was_written() {
        for _ in 0..200 {
            let code = Code {
                nameplate: Nameplate::random(),
                words: Words::random(),
            };
            assert_eq!(code.to_string().parse(), Ok(code));
        }
    }

    #[test]
    fn nameplate_of_a_node_begins_with_its_number() {
        let node = NodeNumber::new(17).unwrap();
        for _ in 0..200 {
            let nameplate = Nameplate::random_of(node);
            assert_eq!(nameplate.node(), Some(node));
            assert_eq!(nameplate.to_string().len(), 8);
            assert_eq!(Nameplate::random().node(), None);
        }
        let code: Code = "17482913-orbit-lemon-tiger".parse().unwrap();
        assert_eq!(code.nameplate.node(), Some(node));
        for number in [99_999, 1_000_000, 9_999_999, 100_000_000, u32::MAX] {
            assert_eq!(Nameplate::new(number), None);
        }
    }

    #[test]
    fn a_code_may_be_typed_in_capitals_with_blanks_and_cut_words() {
        let code: Code = "482913-orbit-lemon-tiger".parse().unwrap();
        assert_eq!(" 482913 ORBIT  lemo tige ".parse(), Ok(code));
    }

    #[test]
    fn completions_are_the_words_that_the_last_part_begins() {
        assert_eq!(completions("482913-orb"), ["482913-orbit"]);
        assert_eq!(completions("482913-orbit-LEM"), ["482913-orbit-lemon"]);
        assert!(completions("482913-orbit-lemon-t").len() > 20);
        for nothing in [
            "482913",
            "482913-",
            "12-orb",
            "482913-orbit-lemon-tiger-t",
            "--",
        ] {
            assert!(completions(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_code_may_be_pasted_with_the_command_before_it() {
        let code: Code = "482913-orbit-lemon-tiger".parse().unwrap();
        for text in [
            "p2pdbg connect 482913-orbit-lemon-tiger",
            "$ p2pdbg connect 482913-orbit-lemon-tiger\n",
            "connect 482913 orbit lemon tiger",
            "p2pdbg connect 482913-orbit-lemon-tiger --rendezvous 'p2pdbg://k@r.example#f'",
            "`p2pdbg connect 482913-orbit-lemon-tiger`.",
            "\u{201c}482913-orbit-lemon-tiger\u{201d}",
            "482913-orbit-lemon-tiger.",
            "> (482913-Orbit-Lemon-Tiger)",
            "Code: 482913-orbit-lemon-tiger",
            "482913_orbit_lemon_tiger",
            "482913, orbit, lemon, tiger",
            "482913.orbit.lemon.tiger",
            "482913\u{2013}orbit\u{2013}lemon\u{2013}tiger",
            "482913\u{2011}orbit\u{2011}lemon\u{2011}tiger",
        ] {
            assert_eq!(text.parse(), Ok(code.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_code_says_which_part_is_wrong() {
        let wrong = |text: &str| text.parse::<Code>().unwrap_err();
        assert_eq!(wrong(""), NotACode::Shape);
        assert_eq!(wrong("482913-orbit-lemon"), NotACode::Shape);
        assert_eq!(wrong("482913-orbit-lemon-tiger-tiger"), NotACode::Shape);
        for options in [
            "--path relay-tcp",
            "--rendezvous x --no-sources",
            "--rendezvous",
        ] {
            let pasted = format!("482913-orbit-lemon-tiger {options}");
            assert_eq!(wrong(&pasted), NotACode::Shape);
        }
        for program in [
            "-- python -m app",
            "--rendezvous 'p2pdbg://r.example#f' -- python -m app",
        ] {
            let pasted = format!("p2pdbg connect 482913-orbit-lemon-tiger {program}");
            assert_eq!(wrong(&pasted), NotACode::Program);
        }
        assert_eq!(wrong("12-orbit-lemon-tiger"), NotACode::Nameplate);
        assert_eq!(wrong("orbit-lemon-tiger"), NotACode::Nameplate);
        assert_eq!(
            wrong("482913-orbit-lemmon-tiger"),
            NotACode::Word {
                position: 2,
                nearest: Some("lemon")
            }
        );
        assert_eq!(
            wrong("482913-orbit-lemon-t"),
            NotACode::Word {
                position: 3,
                nearest: None
            }
        );
    }

    #[test]
    fn debug_does_not_show_the_words() {
        let code: Code = "482913-orbit-lemon-tiger".parse().unwrap();
        assert!(!format!("{code:?}").contains("orbit"));
    }
}
