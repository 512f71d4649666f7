//! Messages on a wire: what can be said is described.

use syn::Item;

use super::root;

/// Enums of `crates/proto` whose variants are messages, by their files.
const MESSAGES: [(&str, &[&str]); 5] = [
    ("tunnel", &["TunnelMessage"]),
    ("signal", &["PeerMessage"]),
    ("rendezvous", &["ToRendezvous", "FromRendezvous"]),
    ("attach", &["AttachMessage"]),
    ("sources", &["SourcesMessage"]),
];

#[test]
fn every_message_on_a_wire_is_described_in_the_protocol() {
    let protocol = std::fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    let described: Vec<&str> = protocol
        .split(|c: char| !c.is_ascii_alphanumeric())
        .collect();
    for (file, enums) in MESSAGES {
        let path = root().join(format!("crates/proto/src/{file}.rs"));
        let text = std::fs::read_to_string(path).unwrap();
        let items = syn::parse_file(&text).unwrap().items;
        for name in enums {
            let messages = items.iter().find_map(|item| match item {
                Item::Enum(item) if item.ident == name => Some(&item.variants),
                _ => None,
            });
            let messages = messages.unwrap_or_else(|| panic!("{file}.rs has no {name}"));
            for message in messages {
                let fields: Vec<String> = message
                    .fields
                    .iter()
                    .filter_map(|field| Some(field.ident.as_ref()?.to_string()))
                    .collect();
                let message = message.ident.to_string();
                assert!(
                    described.contains(&message.as_str()),
                    "docs/PROTOCOL.md does not say what {name}::{message} is"
                );
                let row = format!("| `{message}` |");
                let rows = || protocol.lines().filter(|line| line.contains(&row));
                for field in fields {
                    assert!(
                        rows().any(|row| row.contains(&format!(" {field}: "))),
                        "docs/PROTOCOL.md does not say what {name}::{message}.{field} is"
                    );
                }
            }
        }
    }
}
