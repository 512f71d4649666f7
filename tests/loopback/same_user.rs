//! `--same-user`: whose programs may use a port.

use p2pdbg_events::WarningCode;

use crate::harness::{
    Place, Setting, skip,
    traffic::{accept, say},
};

/// Connects to the port that is its argument and says whether it was let in: whether something came back. A shell,
/// since other users may not run what a test's own user has installed.
const CLIENT: &str = "exec 3<>/dev/tcp/127.0.0.1/$0; printf hello >&3; \
                      if read -r -t 20 -n 1 answer <&3; then echo in; else echo out; fi";

#[test]
fn program_of_another_user_is_turned_away_and_our_own_is_let_in() {
    if !rustix::process::geteuid().is_root() {
        return skip("another user's program needs root");
    }
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["--same-user", "-L", &forward], port);
    let debuggee = setting.debuggee.listen(target);
    let other = Place::Here
        .command("setpriv")
        .args(["--reuid", "12345", "--clear-groups", "bash", "-c", CLIENT])
        .arg(port.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stdout);
    assert_eq!(said.trim(), "out", "{other:?}");
    let warning = pair.listener.warning(WarningCode::OtherUser);
    assert!(warning.message.contains("user 12345"), "{warning:?}");
    // The first that reaches the debuggee is ours.
    let ours = setting.ide.connect(port);
    say(&ours, &accept(&debuggee), "let in");
}
