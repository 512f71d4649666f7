//! The word that somebody meant who mistyped it.

/// How many letters may be wrong, missing, too many or swapped with the next one.
const MOST_WRONG: usize = 2;

/// Longer texts are no mistyped words.
const LONGEST: usize = 32;

/// The nearest of `words` to `typed`, if it is near and no other one is as near. Capital letters do not count.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > LONGEST {
        return None;
    }
    let typed = typed.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    let mut is_alone = false;
    for word in words {
        // Where half of a short word is wrong, what is left of it is chance: "dap" is no mistyped "jdwp".
        let most = MOST_WRONG.min(word.len().saturating_sub(1) / 2);
        let wrong = strsim::damerau_levenshtein(&typed, word);
        match best {
            Some((least, _)) if wrong > least => {}
            Some((least, _)) if wrong == least => is_alone = false,
            _ if wrong <= most => (best, is_alone) = (Some((wrong, word)), true),
            _ => {}
        }
    }
    best.filter(|_| is_alone).map(|(_, word)| word)
}

/// Whether `word` may be what was meant by `typed`: the one begins with the other, or few of its letters are wrong. A
/// likeness of sounds or of single letters, by which `--force` is near to `--sources`, is none.
pub fn is_near(typed: &str, word: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('-').to_lowercase();
    let (typed, word) = (bare(typed), bare(word));
    // What two letters begin begins too much.
    let begins = |long: &str, short: &str| short.len() > 2 && long.starts_with(short);
    begins(&word, &typed) || begins(&typed, &word) || nearest(&typed, [word.as_str()]).is_some()
}

/// Whether a program for text makes this of a hyphen.
pub(crate) fn is_dash(c: char) -> bool {
    matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The option that was meant by a word whose hyphens a program for text has made a dash of.
pub fn option_of_dashes(word: &str) -> Option<String> {
    let option = word.strip_prefix(is_dash)?;
    let option = option.trim_start_matches(|c| is_dash(c) || c == '-');
    Some(format!("--{option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_is_found_behind_dashes_of_any_kind() {
        for word in ["\u{2014}json", "\u{2013}-json", "\u{2212}\u{2212}json"] {
            assert_eq!(option_of_dashes(word).as_deref(), Some("--json"));
        }
        assert_eq!(option_of_dashes("--json"), None);
    }

    #[test]
    fn nearest_word_is_found_only_where_it_is_near_and_alone() {
        let words = ["lemon", "orbit", "node", "lldb", "absent", "absorb"];
        for (typed, meant) in [
            ("lemmon", Some("lemon")),
            ("LEMNO", Some("lemon")),
            ("obrit", Some("orbit")),
            ("nod", Some("node")),
            // Both are two letters off.
            ("absont", Some("absent")),
            ("absob", Some("absorb")),
            ("ipdb", None),
            ("ab", None),
            ("zebra", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
        assert_eq!(nearest("cat", ["car", "cap"]), None);
    }

    #[test]
    fn word_is_near_by_its_beginning_or_by_few_letters_and_not_by_chance() {
        for (typed, word) in [
            ("gdb", "gdbserver"),
            ("--verbos", "--verbose"),
            ("connect-to", "connect"),
            ("LISTEN", "listen"),
            ("stauts", "status"),
        ] {
            assert!(is_near(typed, word), "{typed} {word}");
        }
        for (typed, word) in [
            ("--force", "--sources"),
            ("--listen", "--stun"),
            ("--server", "--resume-for"),
            ("license", "listen"),
            ("shell", "help"),
            ("ssh", "push"),
            ("st", "status"),
        ] {
            assert!(!is_near(typed, word), "{typed} {word}");
        }
    }

    #[test]
    fn a_long_text_is_near_to_nothing() {
        assert_eq!(nearest(&"x".repeat(1 << 10), ["orbit"]), None);
    }
}
