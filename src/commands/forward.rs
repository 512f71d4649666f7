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
    use p2pdbg_base::{ErrorCode, HostPort};
    use p2pdbg_forward::{Direction, Forward, ForwardSpec};

    use super::pipe::session;
    use crate::{cli::forward_malformed, stdout};

    let malformed = |fault| {
        match args.forward.parse::<u16>() {
        Ok(port) => forward_malformed(fault).hint(format!(
            "name the debugger that listens there, as in p2pdbg forward node:{port}"
        )),
        // It has no -L, of which the hint may speak.
        Err(_) if args.forward.parse::<HostPort>().is_ok() => forward_malformed(fault).hint(
            "name the debugger that listens there, and its port: p2pdbg forward node:9230; another host, or a port alone, \
             is forwarded by p2pdbg listen -L",
        ),
        Err(_) => forward_malformed(fault),
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
    let (_, running) = session::look(peer).await?;
    let listen = match session::leading_to(&running, port) {
        Some(listen) => listen,
        None => session::forward(peer, port, debugger).await?,
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
