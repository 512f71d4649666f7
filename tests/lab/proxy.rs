//! A network in which only an HTTP proxy reaches the rendezvous: tinyproxy, as Debian has it.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Flow, Host, Lab, NatKind, Node, TwoNats};
use tempfile::TempDir;

use super::{
    DELAY,
    harness::{
        Process, Setting, eventually, skip,
        traffic::{accept, say},
    },
    place, setting,
};

/// A user and a password as the proxy's configuration has them, as a URL has them, and as they go over the wire.
const SECRET: [&str; 3] = ["an.na s3cret", "an%2Ena:s3cr%65t", "an.na:s3cret"];

/// The debuggee behind a NAT with a proxy beside it: nothing else reaches the rendezvous from there.
struct Office {
    lab: TwoNats,
    setting: Setting,
    proxy: Host,
    _running: Process,
    _files: TempDir,
}

impl Office {
    fn open(name: &str, more: &str) -> Option<Self> {
        let lab = Lab::new_or_skip(name)?;
        if Command::new("tinyproxy").arg("-v").output().is_err() {
            skip("tinyproxy is not installed");
            return None;
        }
        let nat = NatKind::PORT_RESTRICTED;
        let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
        let proxy = lab.nat_b.host("proxy").unwrap();
        lab.nat_b.block(Flow::udp()).unwrap();
        let past_the_proxy = Flow::between(lab.debuggee.ip(), lab.rdv.ip());
        lab.nat_b.block(past_the_proxy).unwrap();
        let setting = setting(&lab);
        let files = tempfile::tempdir().unwrap();
        let running = serve(&proxy, files.path(), more, &setting);
        Some(Self {
            lab,
            setting,
            proxy,
            _running: running,
            _files: files,
        })
    }

    fn url(&self, who: &str) -> String {
        format!("http://{who}{}:8888", self.proxy.ip())
    }

    /// Gives the debuggee's host IPv6, of which its router loses what goes to `2001:db8:dead::/48`.
    fn with_ipv6_that_leads_nowhere(&self) {
        let nodes: [&Node; 2] = [&self.lab.debuggee, &self.lab.nat_b];
        for node in nodes {
            node.sysctl("ipv6/conf/all/disable_ipv6", "0").unwrap();
        }
        let router = &self.lab.nat_b;
        router
            .ip("addr add 2001:db8:1::1/64 dev lan nodad\nroute add blackhole 2001:db8:dead::/48\n")
            .unwrap();
        let host: &Node = &self.lab.debuggee;
        let device = self.lab.debuggee.link().interface().to_owned();
        host.ip(&format!(
            "addr add 2001:db8:1::2/64 dev {device} nodad\nroute add default via 2001:db8:1::1\n"
        ))
        .unwrap();
    }
}

/// The names that a host knows. What `ip netns exec` puts in the place of /etc/hosts is in here.
pub(super) struct Hosts(PathBuf);

impl Hosts {
    pub(super) fn of(host: &Host, lines: &[String]) -> Self {
        let directory = PathBuf::from("/etc/netns").join(host.namespace());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts"), lines.join("\n") + "\n").unwrap();
        Self(directory)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the proxy, and waits until it serves.
fn serve(host: &Host, files: &Path, more: &str, setting: &Setting) -> Process {
    let mut config = "Port 8888\nTimeout 600\nMaxClients 50\nLogLevel Info\n".to_owned();
    writeln!(config, "{more}").unwrap();
    let path = files.join("tinyproxy.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = place(host).command("tinyproxy");
    command.arg("-d").arg("-c").arg(&path);
    let running = Process::start("tinyproxy", command, &setting.transcript);
    let address = SocketAddr::new(host.ip().into(), 8888);
    eventually("proxy", || {
        let connected = place(host).enter(|| std::net::TcpStream::connect(address));
        connected.ok().map(drop)
    });
    running
}

/// Pairs a debuggee that uses the proxy, and sends something through; what the debuggee's p2pdbg logged.
fn talk(office: &Office, proxy: &str) -> String {
    let setting = &office.setting;
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let listener = setting.listener().args(["-L", &forward]).start();
    let connector = setting
        .connector_with(&listener.code())
        .env("HTTPS_PROXY", proxy)
        .env("P2PDBG_LOG", "trace")
        .start();
    connector.forward(port);
    let path = connector.path(PathKind::Relay);
    assert_eq!(path.via, Via::Tcp);
    println!("relayed through the proxy after {} ms", path.after_ms);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    for round in 0..20 {
        say(
            &ide,
            &debuggee,
            &format!("through the proxy, round {round}"),
        );
        say(&debuggee, &ide, &format!("and back, round {round}"));
    }
    let mut said = connector.stderr();
    said.extend(connector.stdout());
    said.join("\n")
}

#[test]
fn a_debuggee_whom_only_a_proxy_lets_out_is_debugged_through_it() {
    let Some(office) = Office::open("proxy", "") else {
        return;
    };
    talk(&office, &office.url(""));
}

#[test]
fn proxy_whose_first_address_leads_nowhere_is_used_at_its_other_one() {
    let Some(office) = Office::open("proxy-v6", "") else {
        return;
    };
    office.with_ipv6_that_leads_nowhere();
    let dead = "2001:db8:dead::1 proxy.corp".to_owned();
    let live = format!("{} proxy.corp", office.proxy.ip());
    let _hosts = Hosts::of(&office.lab.debuggee, &[dead, live]);
    talk(&office, "http://proxy.corp:8888");
}

#[test]
fn proxy_that_does_not_answer_is_told_of() {
    let Some(office) = Office::open("proxy-dead", "") else {
        return;
    };
    office.with_ipv6_that_leads_nowhere();
    let code = "482913-orbit-lemon-tiger".parse().unwrap();
    let connector = office.setting.connector_with(&code);
    let dead = "http://[2001:db8:dead::1]:8888";
    let mut connector = connector.env("HTTPS_PROXY", dead).start();
    let failure = connector.fails(ErrorCode::RendezvousUnreachable);
    let said = format!("{} ({})", failure.message, failure.hint.unwrap());
    let told = "nor through the proxy [2001:db8:dead::1]:8888: it does not answer";
    assert!(
        said.contains(told) && said.contains("HTTPS_PROXY"),
        "{said}"
    );
}

#[test]
fn a_proxy_that_wants_a_password_gets_it_and_nobody_else_does() {
    let [user, url, plain] = SECRET;
    let Some(office) = Office::open("proxy-pw", &format!("BasicAuth {user}")) else {
        return;
    };
    let said = talk(&office, &office.url(&format!("{url}@")));
    assert!(!said.contains("s3cret") && !said.contains(url));
    let encoded = data_encoding::BASE64.encode(plain.as_bytes());
    assert!(!said.contains(&encoded));
}

#[test]
fn what_a_proxy_refuses_is_said_in_its_words_and_without_the_password() {
    let [user, ..] = SECRET;
    let Some(office) = Office::open("proxy-no", &format!("BasicAuth {user}\nConnectPort 443"))
    else {
        return;
    };
    let refused = |who: &str| {
        let code = "482913-orbit-lemon-tiger".parse().unwrap();
        let connector = office.setting.connector_with(&code);
        let mut connector = connector.env("https_proxy", office.url(who)).start();
        let failure = connector.fails(ErrorCode::RendezvousUnreachable);
        assert!(!connector.stderr().join("\n").contains("s3cret"));
        format!("{} ({})", failure.message, failure.hint.unwrap())
    };
    let cases = [
        ("", "it asks for a user and a password"),
        (
            "an.na:s3cre@",
            "it does not accept the user and the password",
        ),
        ("an.na:s3cret@", "it does not allow connections to"),
    ];
    for (who, why) in cases {
        let said = refused(who);
        assert!(said.contains(why) && said.contains("HTTPS_PROXY"), "{said}");
        assert!(!said.contains("s3cre"), "{said}");
    }
}
