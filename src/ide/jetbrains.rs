//! `.idea/runConfigurations/*.xml`, one file of our own for each forward, which the IDEs read beside their others.
//!
//! The IDE writes such a file anew when the user changes something in its dialogue. So of a file that is there only
//! the port and the mapping of the project's directory are changed, where they stand.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use p2pdbg_base::Failure;
use p2pdbg_debugger::ide::JetBrains;
use p2pdbg_forward::{Direction, Preset};

use super::{Ide, Plan, PlannedFile, ReadFile, Sessions, no_use};

/// What stands for the project's directory.
const FOLDER: &str = "$PROJECT_DIR$";

pub(super) fn plan(
    ide: Ide,
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
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
        let (whole, anchor) = match (ide, kind) {
            (Ide::Pycharm, Some(JetBrains::PythonDebugServer)) => (
                python_debug_server(facts, &name, port),
                "name=\"PORT\" value=\"",
            ),
            (Ide::Goland | Ide::Idea, Some(JetBrains::GoRemote)) => {
                (go_remote(&name, port), "factoryName=\"Go Remote\" port=\"")
            }
            (Ide::Idea, Some(JetBrains::RemoteJvmAttach)) => {
                (remote_jvm(&name, port, false), "name=\"PORT\" value=\"")
            }
            (Ide::Idea, Some(JetBrains::RemoteJvmListen)) => {
                (remote_jvm(&name, port, true), "name=\"PORT\" value=\"")
            }
            (Ide::Pycharm, Some(JetBrains::AttachToDap)) => (
                attach_to_dap(facts, &name, port),
                "name=\"remoteAddress\" value=\"127.0.0.1:",
            ),
            _ => {
                plan.notes
                    .push(no_use(ide.product(), wanted.debugger, &instead));
                continue;
            }
        };
        let path = PathBuf::from(format!(
            ".idea/runConfigurations/{}.xml",
            name.replace(' ', "_")
        ));
        let before = read(&path)?;
        let after = match &before {
            Some(text) => up_to_date(text, anchor, port, facts, &path, &mut plan.notes),
            None => whole,
        };
        plan.files.push(PlannedFile {
            path,
            before,
            after,
        });
    }
    Ok(())
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

/// The text of a file that is there, with this session's port and directory in it.
fn up_to_date(
    text: &str,
    anchor: &str,
    port: u16,
    facts: &Sessions<'_>,
    path: &Path,
    notes: &mut Vec<String>,
) -> String {
    let Some(mut text) = with_value(text, anchor, &port.to_string()) else {
        notes.push(format!(
            "left {} as it is: there is no port in it; delete it to have it made anew",
            path.display()
        ));
        return text.to_owned();
    };
    if let Some(remote) = facts.paths.remote.first() {
        let remote = escape(remote.as_str());
        let local = escape(&facts.paths.local_for(FOLDER));
        let none = "<list />";
        let option = "name=\"remoteRoot\" value=\"";
        if let Some(mapped) = with_mappings(&text, facts) {
            text = mapped;
        } else if let Some(mapped) = with_value(&text, option, &remote) {
            text = with_value(&mapped, "name=\"localRoot\" value=\"", &local).unwrap_or(mapped);
        } else if text.contains("\"pathMappings\"") && text.contains(none) {
            text = text.replacen(none, &mappings(facts), 1);
        }
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

/// The text with the remote directories in the mappings of our local one, in their order; what is missing is added behind
/// them. `None` if there is none. Further mappings of that directory are the user's.
fn with_mappings(text: &str, facts: &Sessions<'_>) -> Option<String> {
    let local = escape(&facts.paths.local_for(FOLDER));
    let anchor = format!("local-root=\"{local}\" remote-root=\"");
    let (mut mapped, mut from) = (text.to_owned(), 0);
    for remote in &facts.paths.remote {
        let remote = escape(remote.as_str());
        if let Some(next) = with_value(&mapped[from..], &anchor, &remote) {
            let at = from + mapped[from..].find(&anchor)?;
            mapped.replace_range(from.., &next);
            from = at + anchor.len() + remote.len();
            continue;
        }
        // Behind the last one, as that is indented.
        let last = mapped[..from].rfind("<mapping")?;
        let end = from + mapped[from..].find('>')? + 1;
        let line = mapped[..last].rfind('\n')?;
        let added = format!("{}<mapping {anchor}{remote}\" />", &mapped[line..last]);
        mapped.insert_str(end, &added);
        from = end + added.len();
    }
    (from > 0).then_some(mapped)
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
