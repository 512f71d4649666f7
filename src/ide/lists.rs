//! Lists within our entries, to which the user may have added: what was written the last time and is wanted no more
//! goes, what is wanted comes, and everything else stays where it is, comments and all.

use jsonc_parser::cst::{CstArray, CstInputValue as Value, CstNode};
use p2pdbg_forward::{ForwardSpec, Preset};
use serde_json::Value as Json;

use super::jsonc::{merge, to_json};
use crate::cli::has_value;

/// What tells the elements of a list apart: the first of these that they have.
pub(super) const IDENTITIES: [&str; 5] = ["name", "label", "localRoot", "from", "text"];

/// One thing that a list says: an element, or an option with its value.
#[derive(Debug)]
struct Item {
    says: Vec<Json>,
    nodes: Vec<CstNode>,
}

/// Brings a list up to date. `written` is what was put into it the last time, if that is known.
pub(super) fn update(list: &CstArray, wanted: &[Value], written: Option<&[Json]>) {
    let wanted_json: Vec<Json> = wanted.iter().map(to_json).collect();
    let is_command = wanted_json.first().is_some_and(|first| first == "listen");
    let split = |says: &[Json]| split(says, is_command);
    let nodes = list.elements();
    let says: Vec<Json> = nodes
        .iter()
        .map(|node| node.to_serde_value().unwrap_or(Json::Null))
        .collect();
    let mut rest = &nodes[..];
    let mut there: Vec<Item> = Vec::new();
    for says in split(&says) {
        let (own, after) = rest.split_at(says.len());
        there.push(Item {
            says,
            nodes: own.to_vec(),
        });
        rest = after;
    }
    let before: Option<Vec<Vec<Json>>> = written.map(&split);
    // Each that is wanted and there stands for itself once.
    let mut last_own = None;
    let mut missing = Vec::new();
    let mut values = wanted;
    for says in split(&wanted_json) {
        let (own, after) = values.split_at(says.len());
        values = after;
        match there.iter().position(|item| item.says == says) {
            Some(at) => last_own = there.remove(at).nodes.last().cloned(),
            None => missing.push((says, own)),
        }
    }
    let mut stale: Vec<Item> = Vec::new();
    let is_stale = |item: &Item| match &before {
        Some(before) => before.contains(&item.says),
        None => is_ours_by_its_looks(&item.says, &missing, is_command),
    };
    let mut at = 0;
    while at < there.len() {
        match is_stale(&there[at]) {
            true => stale.push(there.remove(at)),
            false => at += 1,
        }
    }
    for (says, value) in missing {
        // The user has taken it out, or put another in its place.
        if before.as_ref().is_some_and(|before| before.contains(&says)) {
            continue;
        }
        let old = stale.iter().position(|item| alike(&item.says, &says));
        let nodes = match old {
            Some(old) => replace(stale.remove(old).nodes, value),
            None => insert(list, last_own.as_ref(), value),
        };
        last_own = nodes.last().cloned();
    }
    for node in stale.into_iter().flat_map(|item| item.nodes) {
        node.remove();
    }
}

/// The items that elements make up.
fn split(says: &[Json], is_command: bool) -> Vec<Vec<Json>> {
    let mut items = Vec::new();
    let mut rest = says;
    while let Some(first) = rest.first() {
        let length = match is_command && first.as_str().is_some_and(has_value) {
            true => 2.min(rest.len()),
            false => 1,
        };
        let (item, after) = rest.split_at(length);
        items.push(item.to_vec());
        rest = after;
    }
    items
}

/// Whether an item that is not wanted looks like one that p2pdbg has written, where that is not known.
fn is_ours_by_its_looks(
    says: &[Json],
    missing: &[(Vec<Json>, &[Value])],
    is_command: bool,
) -> bool {
    match says {
        [Json::String(option), _] => ["-L", "-R", "--peer", "--peers"].contains(&option.as_str()),
        [Json::String(word)] if is_command => word.parse::<ForwardSpec>().is_ok(),
        // The name of a configuration in a compound.
        [Json::String(name)] => is_name_of_ours(name),
        [element @ Json::Object(_)] => missing.iter().any(|(other, _)| match &other[..] {
            [other] => same_identity(element, other),
            _ => false,
        }),
        _ => false,
    }
}

fn is_name_of_ours(name: &str) -> bool {
    let after = name.strip_prefix("p2pdbg ");
    let debugger = after.and_then(|after| after.split([' ', ',']).next());
    let of_preset = |debugger: &str| Preset::ALL.iter().any(|preset| preset.name() == debugger);
    debugger.is_some_and(of_preset)
}

/// Whether one item may take the place of another, comments beside it included.
fn alike(one: &[Json], other: &[Json]) -> bool {
    match (one, other) {
        ([Json::String(one), _], [Json::String(other), _]) => one == other,
        ([one @ Json::Object(_)], [other @ Json::Object(_)]) => same_identity(one, other),
        ([Json::String(_)], [Json::String(_)]) => true,
        _ => false,
    }
}

fn same_identity(one: &Json, other: &Json) -> bool {
    IDENTITIES
        .iter()
        .find_map(|key| Some((one.get(key)?, other.get(key)?)))
        .is_some_and(|(one, other)| one == other)
}

fn replace(nodes: Vec<CstNode>, values: &[Value]) -> Vec<CstNode> {
    let pairs = nodes.into_iter().zip(values);
    let replaced = pairs.filter_map(|(node, value)| {
        if node.to_serde_value() == Some(to_json(value)) {
            return Some(node);
        }
        if let (Some(object), Value::Object(_)) = (node.as_object(), value) {
            // Without lists of its own: none of ours has one within a list.
            merge(&object, value, "", &mut super::written::Lists::new());
            return Some(node);
        }
        match node {
            CstNode::Container(jsonc_parser::cst::CstContainerNode::Object(node)) => {
                node.replace_with(value.clone())
            }
            CstNode::Leaf(jsonc_parser::cst::CstLeafNode::StringLit(node)) => {
                node.replace_with(value.clone())
            }
            other => Some(other),
        }
    });
    replaced.collect()
}

fn insert(list: &CstArray, after: Option<&CstNode>, values: &[Value]) -> Vec<CstNode> {
    let at = after.and_then(CstNode::element_index);
    if values.iter().any(|value| matches!(value, Value::Object(_))) {
        list.ensure_multiline();
    }
    let inserted = values.iter().enumerate().map(|(n, value)| match at {
        Some(at) => list.insert(at + 1 + n, value.clone()),
        None => list.append(value.clone()),
    });
    inserted.collect()
}
