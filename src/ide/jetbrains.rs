//! `.idea/runConfigurations/*.xml`, one file of our own for each forward, which the IDEs read beside their others.
//!
//! The IDE writes such a file anew when the user changes something in its dialogue. So of a file that is there only
//! the port and the mapping of the project's directory are changed, where they stand.

use std::{fmt::Write, path::PathBuf};

use p2pdbg_base::Failure;
use p2pdbg_debugger::ide::JetBrains;
use p2pdbg_forward::{Direction, Preset};

use serde_json::Value as Json;

use super::{Ide, Plan, PlannedFile, ReadFile, Sessions, Written, no_use, written::Lists};

/// What stands for the project's directory.
const FOLDER: &str = "$PROJECT_DIR$";

/// What the directories are called that were added to the mappings of a file.
const MAPPINGS: &str = "pathMappings";

/// Where the port of a configuration stands: an attribute that its element has, and what stands before the port in it.
/// The IDE puts others between the two: `folderName`, say.
type Anchor = (&'static str, &'static str);

/// The port as an option.
const PORT_OPTION: Anchor = ("name=\"PORT\"", " value=\"");

/// The port behind a host, as an option.
const ADDRESS_OPTION: Anchor = ("name=\"remoteAddress\"", " value=\"");

pub(super) fn plan(
    ide: Ide,
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
    written: &mut Written,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let fallback = |direction| match (ide, direction) {
        (Ide::Pycharm, Direction::ToIde) => Some(Preset::Pydevd),
        _ => None,
    };
    let instead = format!("; use p2pdbg listen {}", ide.customary_debuggers());
    for wanted in facts.wanted(fallback, &mut plan.notes) {
        let name = facts.name(&wanted);
        let port = wanted.port();
        let kind = wanted.debugger.debugger().ides.jetbrains;
        let Some((whole, anchor)) = new_file(ide, kind, facts, &name, port) else {
            plan.notes
                .push(no_use(ide.product(), wanted.debugger, &instead));
            continue;
        };
        let path = PathBuf::from(format!(
            ".idea/runConfigurations/{}.xml",
            name.replace(' ', "_")
        ));
        let before = read(&path)?;
        let ours = written.of(&facts.whole_path(&path));
        let after = match &before {
            Some(text) => match with_port(text, anchor, port) {
                Some(text) => with_roots(text, facts, ours),
                None => {
                    plan.notes.push(format!(
                        "left {} as it is: there is no port in it; delete it to have it made anew",
                        path.display()
                    ));
                    text.clone()
                }
            },
            None => {
                note_others(facts, ours);
                whole
            }
        };
        plan.files.push(PlannedFile {
            path,
            before,
            after,
        });
    }
    Ok(())
}

/// The text of a new file, and what stands before the port in it; none if the IDE has no use for the debugger.
fn new_file(
    ide: Ide,
    kind: Option<JetBrains>,
    facts: &Sessions<'_>,
    name: &str,
    port: u16,
) -> Option<(String, Anchor)> {
    Some(match (ide, kind?) {
        (Ide::Pycharm, JetBrains::PythonDebugServer) => {
            (python_debug_server(facts, name, port), PORT_OPTION)
        }
        (Ide::Goland | Ide::Idea, JetBrains::GoRemote) => (
            go_remote(name, port),
            ("factoryName=\"Go Remote\"", " port=\""),
        ),
        (Ide::Idea, JetBrains::RemoteJvmAttach) => (remote_jvm(name, port, false), PORT_OPTION),
        (Ide::Idea, JetBrains::RemoteJvmListen) => (remote_jvm(name, port, true), PORT_OPTION),
        (Ide::Pycharm, JetBrains::AttachToDap) => {
            (attach_to_dap(facts, name, port), ADDRESS_OPTION)
        }
        _ => return None,
    })
}

/// Notes which directories of a new file's mappings may go from it again.
fn note_others(facts: &Sessions<'_>, ours: &mut Lists) {
    let others = facts.paths.remote.iter().skip(1);
    let others = others.map(|remote| Json::String(escape(remote.as_str())));
    ours.insert(MAPPINGS.to_owned(), others.collect());
}

/// PyCharm's client of the Debug Adapter Protocol, of 2025.3 and later.
fn attach_to_dap(facts: &Sessions<'_>, name: &str, port: u16) -> String {
    let roots = facts.paths.remote.first().map_or(String::new(), |remote| {
        format!(
            "    <option name=\"localRoot\" value=\"{}\" />\n    <option name=\"remoteRoot\" value=\"{}\" />\n",
            escape(&facts.paths.local_for(FOLDER)),
            escape(remote.as_str())
        )
    });
    configuration(
        &format!(
            "name=\"{}\" type=\"PythonDapAttachConfiguration\"",
            escape(name)
        ),
        &format!("    <option name=\"remoteAddress\" value=\"127.0.0.1:{port}\" />\n{roots}"),
    )
}

fn python_debug_server(facts: &Sessions<'_>, name: &str, port: u16) -> String {
    let mapping = match facts.paths.remote.is_empty() {
        true => "<list />".to_owned(),
        false => mappings(facts),
    };
    configuration(
        &format!(
            "name=\"{}\" type=\"PyRemoteDebugConfigurationType\" factoryName=\"Python Remote Debug\"",
            escape(name)
        ),
        &format!(
            r#"    <module name="" />
    <option name="PORT" value="{port}" />
    <option name="HOST" value="localhost" />
    <PathMappingSettings>
      <option name="pathMappings">
        {mapping}
      </option>
    </PathMappingSettings>
    <option name="REDIRECT_OUTPUT" value="true" />
    <option name="SUSPEND_AFTER_CONNECT" value="true" />
"#
        ),
    )
}

fn go_remote(name: &str, port: u16) -> String {
    configuration(
        &format!(
            "name=\"{}\" type=\"GoRemoteDebugConfigurationType\" factoryName=\"Go Remote\" port=\"{port}\"",
            escape(name)
        ),
        "    <option name=\"disconnectOption\" value=\"LEAVE\" />\n    <disconnect value=\"LEAVE\" />\n",
    )
}

fn remote_jvm(name: &str, port: u16, server: bool) -> String {
    configuration(
        &format!("name=\"{}\" type=\"Remote\"", escape(name)),
        &format!(
            r#"    <option name="USE_SOCKET_TRANSPORT" value="true" />
    <option name="SERVER_MODE" value="{server}" />
    <option name="SHMEM_ADDRESS" />
    <option name="HOST" value="localhost" />
    <option name="PORT" value="{port}" />
    <option name="AUTO_RESTART" value="false" />
"#
        ),
    )
}

fn configuration(attributes: &str, body: &str) -> String {
    format!(
        "<component name=\"ProjectRunConfigurationManager\">\n  <configuration default=\"false\" {attributes}>\n{body}    \
         <method v=\"2\" />\n  </configuration>\n</component>\n"
    )
}

/// The text of a file that is there, with this session's directories in it.
fn with_roots(mut text: String, facts: &Sessions<'_>, ours: &mut Lists) -> String {
    let Some(remote) = facts.paths.remote.first() else {
        return text;
    };
    let remote = escape(remote.as_str());
    let local = escape(&facts.paths.local_for(FOLDER));
    let none = "<list />";
    let option = "name=\"remoteRoot\" value=\"";
    if let Some(mapped) = with_mappings(&text, facts, ours) {
        text = mapped;
    } else if let Some(mapped) = with_value(&text, option, &remote) {
        text = with_value(&mapped, "name=\"localRoot\" value=\"", &local).unwrap_or(mapped);
    } else if text.contains("\"pathMappings\"") && text.contains(none) {
        let mut list = mappings(facts);
        if text.contains("\r\n") {
            list = list.replace('\n', "\r\n");
        }
        text = text.replacen(none, &list, 1);
    }
    text
}

/// The list of the project's directory and those that it stands for.
fn mappings(facts: &Sessions<'_>) -> String {
    let local = escape(&facts.paths.local_for(FOLDER));
    let remotes = facts.paths.remote.iter().map(|remote| {
        let remote = escape(remote.as_str());
        format!("          <mapping local-root=\"{local}\" remote-root=\"{remote}\" />\n")
    });
    format!("<list>\n{}        </list>", remotes.collect::<String>())
}

/// The text with the remote directories in mappings of our local one: the first takes the place of the first there, and
/// of the others those that are missing are added behind it. What was added so for another deployment goes; all else is
/// the user's. `None` if our local one is not mapped.
fn with_mappings(text: &str, facts: &Sessions<'_>, ours: &mut Lists) -> Option<String> {
    let local = escape(&facts.paths.local_for(FOLDER));
    let anchor = format!("local-root=\"{local}\" remote-root=\"");
    let remotes = facts.paths.remote.iter();
    let remotes: Vec<String> = remotes.map(|remote| escape(remote.as_str())).collect();
    let (first, others) = remotes.split_first()?;
    let mut mapped = with_value(text, &anchor, first)?;
    let added = ours.entry(MAPPINGS.to_owned()).or_default();
    let before: Vec<String> = std::mem::take(added)
        .iter()
        .filter_map(|remote| Some(remote.as_str()?.to_owned()))
        .collect();
    for stale in before.iter().filter(|remote| !remotes.contains(remote)) {
        if let Some((from, to)) = element(&mapped, &format!("{anchor}{stale}\"")) {
            let from = mapped[..from].trim_end().len();
            mapped.replace_range(from..to, "");
        }
    }
    let (from, mut end) = element(&mapped, &anchor)?;
    let space = mapped[mapped[..from].trim_end().len()..from].to_owned();
    for remote in others {
        let is_there = mapped.contains(&format!("{anchor}{remote}\""));
        if !is_there {
            let new = format!("{space}<mapping {anchor}{remote}\" />");
            mapped.insert_str(end, &new);
            end += new.len();
        }
        if !is_there || before.contains(remote) {
            added.push(Json::String(remote.clone()));
        }
    }
    Some(mapped)
}

/// From where to where the first mapping with these attributes stands.
fn element(text: &str, attributes: &str) -> Option<(usize, usize)> {
    let at = text.find(attributes)?;
    let from = text[..at].rfind("<mapping")?;
    Some((from, at + text[at..].find('>')? + 1))
}

/// The text with another port after the second part of `anchor` in the element that has the first, behind the host of
/// an address. `None` if no port stands there.
fn with_port(text: &str, anchor: Anchor, port: u16) -> Option<String> {
    let (mark, attribute) = anchor;
    let at = text.find(mark)?;
    let from = text[..at].rfind('<')?;
    let to = at + text[at..].find('>')?;
    let element = &text[from..to];
    let (_, behind) = element.split_once(attribute)?;
    let (old, _) = behind.split_once('"')?;
    let new = match anchor == ADDRESS_OPTION {
        true => format!("{}:{port}", host_of(old)?),
        false => port.to_string(),
    };
    let element = with_value(element, attribute, &new)?;
    Some(format!("{}{element}{}", &text[..from], &text[to..]))
}

/// What stands before the port of an address, if that is one: `::1` and `[::1]` have none.
fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.len() > 1 && rest.find(']') == Some(rest.len() - 1),
        None => !host.is_empty() && !host.contains([':', ']']),
    };
    (is_port && is_host).then_some(host)
}

/// The text with another value after `anchor`, up to the quotation mark.
fn with_value(text: &str, anchor: &str, value: &str) -> Option<String> {
    let start = text.find(anchor)? + anchor.len();
    let end = start + text[start..].find('"')?;
    Some(format!("{}{value}{}", &text[..start], &text[end..]))
}

/// A text as an XML attribute; paths have no control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '&' | '<' | '>' | '"' | '\'' => write!(escaped, "&#{};", u32::from(c)),
            c => write!(escaped, "{c}"),
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_changed_where_one_stands() {
        let element =
            |address: &str| format!("<option name=\"remoteAddress\" value=\"{address}\" />");
        for (address, host) in [
            ("127.0.0.1:5678", Some("127.0.0.1")),
            ("build-1:1", Some("build-1")),
            ("[::1]:5678", Some("[::1]")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:$port$", None),
            (":5678", None),
            ("[::1]", None),
            ("[::1:5678", None),
            ("::1", None),
            ("[]:1", None),
            ("", None),
        ] {
            let expected = host.map(|host| element(&format!("{host}:9000")));
            assert_eq!(
                with_port(&element(address), ADDRESS_OPTION, 9000),
                expected,
                "{address}"
            );
        }
        let plain = "<option name=\"PORT\" value=\"1\" />";
        let changed = with_port(plain, PORT_OPTION, 9000).unwrap();
        assert_eq!(changed, plain.replace('1', "9000"));
    }
}
