//! Every command that the README and the documents show is run as it stands, page by page, as a reader would: beside
//! the IDE and on the debuggee's host, two hosts behind NATs. What cannot be run is listed with the reason.
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;

mod pages;
mod rules;
mod world;

use std::collections::HashSet;

use pages::{Shown, listens_in_sentences, pages};
use rules::{How, RULES, rule};
use world::{Story, World};

#[test]
fn every_command_of_the_documents_is_run_or_has_a_reason_not_to_be() {
    let mut used = HashSet::new();
    for (page, lines) in pages() {
        for Shown { line, .. } in lines {
            let rule = rule(&line);
            let (prefix, how) = rule.unwrap_or_else(|| panic!("{page}: nobody runs {line:?}"));
            assert!(!matches!(how, How::Not(reason) if reason.is_empty()));
            used.insert(prefix);
        }
    }
    let unused = RULES.iter().find(|(prefix, _)| !used.contains(prefix));
    assert_eq!(
        unused.map(|(prefix, _)| prefix),
        None,
        "nothing is shown for this rule"
    );
}

#[test]
fn every_command_of_the_documents_does_as_it_stands_what_is_said_of_it() {
    let Some(world) = World::new() else { return };
    for (page, lines) in pages() {
        let mut story = Story::new(&world, &page);
        for shown in &lines {
            let (_, how) = rule(&shown.line).unwrap();
            story.go_on(shown, how);
        }
    }
}

#[test]
fn every_listen_that_stands_in_a_sentence_shows_a_code() {
    let Some(world) = World::new() else { return };
    for (page, line) in listens_in_sentences() {
        let shown = Shown {
            line,
            typed: Vec::new(),
        };
        Story::new(&world, &page).go_on(&shown, How::Listens);
    }
}
