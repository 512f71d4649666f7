//! Which elements of the lists within our entries are ours, where the user may have added to them: what was written
//! the last time and is wanted no more goes, what is wanted comes, and everything else stays where it is, comments
//! and all.

use jsonc_parser::cst::{CstArray, CstInputValue as Value, CstNode};
use p2pdbg_forward::{ForwardSpec, Preset};
use serde_json::Value as Json;

use super::{
    jsonc_merge::{merge, to_json},
    written::Lists,
};
use crate::cli::{has_value, is_directory, is_repeated};

/// What stands for the project's directory in a task.
const FOLDER: &str = "${workspaceFolder}";

/// What tells the elements of a list apart: the first of these that they have.
pub(super) const IDENTITIES: [&str; 5] = ["name", "label", "localRoot", "from", "text"];

/// One thing that a list says: an element, or an option with its value.
#[derive(Debug)]
struct Item<T> {
    says: Vec<Json>,
    /// The same, whichever way an option is written.
    means: Vec<Json>,
    elements: Vec<T>,
}

/// What bringing a list up to date has come to.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// What may be taken out of it again: what was put into it, now or the last time.
    pub(super) ours: Vec<Json>,
    /// What was left to the user, in words.
    pub(super) left: Vec<String>,
}

/// Brings a list up to date. `written` is what was put into it the last time, if that is known.
pub(super) fn update(list: &CstArray, wanted: &[Value], written: Option<&[Json]>) -> Updated {
    let wanted_json: Vec<Json> = wanted.iter().map(to_json).collect();
    let is_command = wanted_json.first().is_some_and(|first| first == "listen");
    let nodes = list.elements();
    let says: Vec<Json> = nodes
        .iter()
        .map(|node| node.to_serde_value().unwrap_or(Json::Null))
        .collect();
    let mut there = items(&says, &nodes, is_command);
    let wanted = items(&wanted_json, wanted, is_command);
    let before: Option<Vec<Vec<Json>>> = written.map(|written| {
        let items = items(written, written, is_command).into_iter();
        items.map(|item| item.means).collect()
    });
    let was_ours = |means: &Vec<Json>| before.as_ref().map(|before| before.contains(means));
    let mut updated = Updated::default();
    // Each that is wanted and there stands for itself once.
    let (mut last_own, mut missing) = (None, Vec::new());
    for item in wanted {
        match there.iter().position(|own| own.means == item.means) {
            Some(at) => {
                if was_ours(&item.means).unwrap_or_else(|| may_be_ours(&item.says, is_command)) {
                    updated.ours.extend(item.says);
                }
                last_own = there.remove(at).elements.pop();
            }
            None => missing.push(item),
        }
    }
    let is_stale = |item: &Item<CstNode>| {
        was_ours(&item.means)
            .unwrap_or_else(|| is_ours_by_its_looks(&item.says, &missing, is_command))
    };
    let (mut stale, users): (Vec<_>, Vec<_>) = there.into_iter().partition(is_stale);
    for item in missing {
        let is_taken_out = was_ours(&item.means) == Some(true);
        let own = users.iter().find(|own| is_instead(own, &item, is_command));
        if is_taken_out {
            updated.ours.extend_from_slice(&item.says);
        }
        if is_taken_out || own.is_some() {
            updated.left.push(left(&item, own));
            continue;
        }
        let takes_its_place = |old: &Item<CstNode>| {
            alike(&old.says, &item.says) && old.elements.len() == item.elements.len()
        };
        let nodes = match stale.iter().position(takes_its_place) {
            Some(old) => replace(stale.remove(old).elements, &item.elements),
            None => insert(list, last_own.as_ref(), &item.elements),
        };
        last_own = nodes.last().cloned();
        updated.ours.extend(item.says);
    }
    for node in stale.into_iter().flat_map(|item| item.elements) {
        node.remove();
    }
    updated
}

/// The items that elements make up.
fn items<T: Clone>(says: &[Json], elements: &[T], is_command: bool) -> Vec<Item<T>> {
    let mut items = Vec::new();
    let (mut says, mut elements) = (says, elements);
    while let Some(first) = says.first() {
        let length = match is_command && first.as_str().is_some_and(has_value) {
            true => 2.min(says.len()),
            false => 1,
        };
        let (own, rest) = says.split_at(length);
        let (own_elements, rest_elements) = elements.split_at(length);
        items.push(Item {
            says: own.to_vec(),
            means: meaning(own, is_command),
            elements: own_elements.to_vec(),
        });
        (says, elements) = (rest, rest_elements);
    }
    items
}

/// What an item means, whichever way it is written: an option with its value apart, and a directory by its name below
/// the project's, in which the task runs.
fn meaning(says: &[Json], is_command: bool) -> Vec<Json> {
    let mut parts = match says {
        [Json::String(word)] if is_command => match with_its_value(word) {
            Some((option, value)) => vec![option.into(), value.into()],
            None => says.to_vec(),
        },
        _ => says.to_vec(),
    };
    if let [Json::String(option), Json::String(value)] = &mut parts[..]
        && is_directory(option)
    {
        let below = value
            .strip_prefix(FOLDER)
            .map(|rest| rest.trim_start_matches('/'));
        let below = below.unwrap_or(value);
        let below = below.strip_prefix("./").unwrap_or(below);
        let below = below
            .strip_suffix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(below);
        *value = if below == "." { "" } else { below }.to_owned();
    }
    parts
}

/// An option and the value that is in the same word: `--name=laptop`, `-L8000:localhost:80`.
fn with_its_value(word: &str) -> Option<(&str, &str)> {
    let (option, value) = match word.starts_with("--") {
        true => word.split_once('=')?,
        false => word.split_at_checked(2)?,
    };
    let value = value.strip_prefix('=').unwrap_or(value);
    (has_value(option) && !value.is_empty()).then_some((option, value))
}

/// Whether an option of the user's leaves no room for one that is wanted: the same one that may be given once, or the
/// one that says the contrary.
fn is_instead<T, U>(own: &Item<T>, wanted: &Item<U>, is_command: bool) -> bool {
    let (Some(own), Some(wanted)) = (own.option(), wanted.option()) else {
        return false;
    };
    let is_contrary = |one: &str, other: &str| {
        let stem = one.strip_prefix("--no-");
        stem.is_some_and(|stem| other.strip_prefix("--") == Some(stem))
    };
    is_command
        && ((own == wanted && !is_repeated(own))
            || is_contrary(own, wanted)
            || is_contrary(wanted, own))
}

impl<T> Item<T> {
    fn option(&self) -> Option<&str> {
        let first = self.means.first()?.as_str()?;
        first.starts_with('-').then_some(first)
    }

    fn in_words(&self) -> String {
        let words = self.says.iter().map(|says| match says {
            Json::String(word) => word.clone(),
            other => other.to_string(),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// What is told of an item that is wanted and was not put in.
fn left<T, U>(wanted: &Item<T>, own: Option<&Item<U>>) -> String {
    let wanted = wanted.in_words();
    match own {
        Some(own) => format!(
            "{} stands there, and the session has {wanted}",
            own.in_words()
        ),
        None => format!("{wanted} was taken out or changed there"),
    }
}

/// Whether an item that is not wanted looks like one that p2pdbg has written, where that is not known.
fn is_ours_by_its_looks(says: &[Json], missing: &[Item<Value>], is_command: bool) -> bool {
    match says {
        [Json::String(option), _] => ["-L", "-R", "--peer", "--peers"].contains(&option.as_str()),
        [Json::String(word)] if is_command => word.parse::<ForwardSpec>().is_ok(),
        // The name of a configuration in a compound.
        [Json::String(name)] => is_name_of_ours(name),
        [element @ Json::Object(_)] => missing.iter().any(|other| match &other.says[..] {
            [other] => same_identity(element, other),
            _ => false,
        }),
        _ => false,
    }
}

/// Whether an item that is wanted, and there already, is one that p2pdbg has written, where that is not known.
fn may_be_ours(says: &[Json], is_command: bool) -> bool {
    match says {
        [Json::Object(_)] => true,
        [Json::String(word)] if is_command && word == "listen" => true,
        _ => is_ours_by_its_looks(says, &[], is_command),
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
            merge(&object, value, "", &mut Lists::new(), &mut Vec::new());
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
