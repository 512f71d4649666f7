//! What the README promises, held against the code.

use std::path::Path;

use p2pdbg::forward::{Direction, Preset};

const README: &str = include_str!("../README.md");

#[test]
fn every_preset_has_its_row_with_the_command_that_starts_the_debuggee() {
    for preset in Preset::ALL {
        let name = format!("| `{}` ", preset.name());
        let row = README.lines().find(|line| line.starts_with(&name));
        let row = row.unwrap_or_else(|| panic!("{} has no row", preset.name()));
        let port = preset.default_port();
        let start = preset.start_debuggee(port);
        assert!(row.contains(&format!("| `{start}` |")), "{row}\n{start}");
        let (_, ide) = row.trim_end_matches(" |").rsplit_once("| ").unwrap();
        assert!(ide.contains(&port.to_string()), "{row}");
        if preset.direction() == Direction::ToDebuggee {
            assert!(!ide.starts_with("listens"), "{row}");
        } else {
            assert!(!ide.starts_with("attaches"), "{row}");
        }
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link)
        .collect();
    assert!(links.len() > 5);
    for link in links {
        assert!(root.join(link).exists(), "{link}");
    }
}
