//! `p2pdbg forward`: adds a forward to the session of the `p2pdbg listen` that runs here, for a debugger that came
//! later.

use p2pdbg_base::Failure;

use crate::cli::args::ForwardPortArgs;

/// Has the port opened, and says where.
///
/// # Errors
/// If that is no debugger with which a port here leads to the debuggee, if there is no session, or the other end
/// refuses.
pub async fn run(args: ForwardPortArgs) -> Result<(), Failure> {
    use p2pdbg_base::ErrorCode;
    use p2pdbg_forward::{Direction, Forward, ForwardSpec};

    use super::running_session;
    use crate::{cli::forward_malformed, stdout};

    let malformed = |fault| {
        let failure = forward_malformed(fault);
        match instead_of(&args.forward, failure.hint.as_deref().unwrap_or_default()) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    let asked = match args.forward.parse().map_err(malformed)? {
        ForwardSpec::Fixed(forward) => Some(forward),
        ForwardSpec::Auto { .. } => None,
    };
    let leads_there = |f: &Forward| f.direction == Direction::ToDebuggee;
    let named = asked.filter(leads_there);
    let Some((forward, debugger)) = named.and_then(|f| f.preset().map(|preset| (f, preset))) else {
        let message = format!(
            "{:?} opens no port here that leads to the debuggee",
            args.forward
        );
        return Err(Failure::new(ErrorCode::Usage, message)
            .hint("name the debugger that listens there, and its port: p2pdbg forward node:9230"));
    };
    let port = forward.target.port;
    let peer = args.peer.as_deref();
    let (_, running) = running_session::look(peer).await?;
    let listen = match running_session::leading_to(&running, port) {
        Some(listen) => listen,
        None => running_session::forward(peer, port, debugger).await?,
    };
    let name = debugger.name();
    stdout::print(|out| {
        writeln!(
            out,
            "forward: {listen} here -> {} at the debuggee  ({name}): let the IDE attach to {listen}",
            forward.target
        )
    })
}

/// What to write in place of a text for which `p2pdbg listen` would be told `hint`: of ports alone and other hosts that
/// is `-L`, which this command has not.
fn instead_of(text: &str, hint: &str) -> Option<String> {
    if !hint.contains("-L ") {
        return None;
    }
    let digits = |c: char| c.is_ascii_digit();
    let port = text.split(|c| !digits(c)).rfind(|part| !part.is_empty());
    let port = port
        .and_then(|port| port.parse().ok())
        .filter(|port: &u16| *port != 0);
    let port = port.unwrap_or(9230);
    Some(format!(
        "name the debugger that listens there, and its port: p2pdbg forward node:{port}; another host, or a port alone, \
         is forwarded by p2pdbg listen -L"
    ))
}
