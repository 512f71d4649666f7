//! Nodes at a real store, a Redis or a Valkey, as it may be set up: with a password, a user, TLS; with another's
//! data, full, a replica that takes nothing.

use std::time::Duration;
#[cfg(unix)]
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use p2pdbg_identity::{Authority, IDENTITY_FILE, StateDir, tls::SERVER_NAME};
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{Credential, FromRendezvous, Refusal, Role, SessionId, ToRendezvous},
    secret::Secret,
};
use p2pdbg_rendezvous::{
    CLUSTER_SECRET, ClusterConfig, PROGRAM, Server, ServerConfig, StoreUrl,
    operate::{NodeReport, NodesReport, StoreReport},
};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    store_program::{Store, only_the_runbooks_user, programs},
    support::{Peer, soon, state_dir},
};

const PASSWORD: &str = "correct-horse";

/// What two nodes share.
struct Cluster {
    authority: Authority,
    secret: Vec<u8>,
}

/// A node that serves.
struct Node {
    server: Server,
    state: TempDir,
}

impl Cluster {
    fn new() -> Self {
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let secret = vec![7; 32];
        Self { authority, secret }
    }

    /// The name before all keys of its nodes.
    fn prefix(&self) -> String {
        format!(
            "p2pdbg:{{{}}}",
            &self.authority.fingerprint().to_string()[..12]
        )
    }

    async fn node(&self, number: u8, store: &str) -> Node {
        let state = state_dir();
        let directory = StateDir::open(Some(state.path()), PROGRAM).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let names = ["127.0.0.1", SERVER_NAME].map(str::to_owned);
        let pem = self.authority.issue(&names, day);
        let pem = pem.unwrap();
        directory.write_atomically(IDENTITY_FILE, &pem).unwrap();
        directory
            .write_atomically(CLUSTER_SECRET, &self.secret)
            .unwrap();
        let config = self.config(number, store, &state);
        Node {
            server: Server::start(config).await.unwrap(),
            state,
        }
    }

    fn config(&self, number: u8, store: &str, state: &TempDir) -> ServerConfig {
        let nodes = vec![
            "17=127.0.0.1".parse().unwrap(),
            "18=127.0.0.1:3479".parse().unwrap(),
        ];
        let cluster = ClusterConfig {
            own: number.to_string().parse().unwrap(),
            nodes,
            relays: Vec::new(),
            store: Some(StoreUrl::new(store.to_owned())),
        };
        ServerConfig {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().into()),
            cluster: Some(cluster),
            ..ServerConfig::default()
        }
    }
}

impl Node {
    async fn nodes(&self) -> NodesReport {
        let status = soon(self.server.operator().status()).await;
        status.and_then(|status| status.cluster).unwrap()
    }

    /// Somebody who was welcomed.
    async fn peer(&self, credential: Credential) -> Peer {
        let fingerprint = self.server.url().fingerprint.unwrap();
        let mut peer = Peer::connect(self.server.addresses()[0], fingerprint).await;
        peer.hello(credential).await;
        peer.told().await;
        peer
    }

    /// A session that both members have confirmed, the listener first.
    async fn session(&self) -> (Peer, Peer, SessionId) {
        let key = self.server.url().access_key.clone().unwrap();
        let mut listener = self.peer(Credential::AccessKey(key)).await;
        let nameplate = listener.listen(None).await.nameplate;
        let mut connector = self.peer(Credential::None).await;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let session = listener.introduced().await.session;
        for member in [&mut listener, &mut connector] {
            member.say(&ToRendezvous::Confirmed { session }).await;
            member.told().await;
        }
        (listener, connector, session)
    }

    /// Waits until it says this of the store; gives why, if it is of no use.
    async fn store_answers(&self, answers: bool) -> String {
        soon(async {
            loop {
                let store: StoreReport = self.nodes().await.store.unwrap();
                let is_asked = store.why.as_deref() != Some("it was not asked yet");
                if store.answers == answers && is_asked {
                    return store.why.unwrap_or_default();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    /// Waits until it knows these nodes as alive.
    async fn knows(&self, numbers: &[u8]) {
        self.shows(numbers, |node| node.lives == Some(true)).await;
    }

    /// Waits until it shows these nodes as going out of service.
    async fn shows_draining(&self, numbers: &[u8]) {
        self.shows(numbers, |node| node.drains == Some(true)).await;
    }

    async fn shows(&self, numbers: &[u8], so: impl Fn(&NodeReport) -> bool) {
        soon(async {
            loop {
                let nodes = self.nodes().await.nodes;
                let found = nodes.iter().filter(|node| so(node));
                let found: Vec<u8> = found.map(|node| node.number).collect();
                if found == numbers {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn store_with_a_password_takes_nodes_that_have_it_and_others_say_what_is_wrong() {
    for program in programs() {
        let store = Store::start(&program, &["--requirepass", PASSWORD]);
        let cluster = Cluster::new();
        let good = cluster
            .node(17, &store.url("redis", &format!(":{PASSWORD}@")))
            .await;
        good.store_answers(true).await;
        for who in ["", ":wrong@"] {
            let node = cluster.node(18, &store.url("redis", who)).await;
            let why = node.store_answers(false).await;
            let says = ["NOAUTH", "WRONGPASS", "Authentication", "assword"];
            assert!(says.iter().any(|word| why.contains(word)), "{why}");
            assert!(!why.contains("wrong@"), "{why}");
        }
        good.store_answers(true).await;
    }
}

#[tokio::test]
async fn store_user_may_be_as_narrow_as_the_runbook_has_it() {
    let user = only_the_runbooks_user(PASSWORD);
    let arguments: Vec<&str> = user.iter().map(String::as_str).collect();
    for program in programs() {
        let store = Store::start(&program, &arguments);
        let cluster = Cluster::new();
        let url = store.url("redis", &format!("p2pdbg:{PASSWORD}@"));
        let [one, other] = [cluster.node(17, &url).await, cluster.node(18, &url).await];
        for node in [&one, &other] {
            node.store_answers(true).await;
            node.knows(&[17, 18]).await;
        }
    }
}

#[tokio::test]
async fn store_user_that_may_not_do_all_that_nodes_do_is_told_before_anybody_leaves() {
    for program in programs() {
        for lacks in ["get", "set", "del", "eval"] {
            let mut user = only_the_runbooks_user(PASSWORD);
            let all = user.len();
            user.retain(|word| *word != format!("+{lacks}"));
            assert_eq!(user.len(), all - 1, "{user:?}");
            let arguments: Vec<&str> = user.iter().map(String::as_str).collect();
            let store = Store::start(&program, &arguments);
            let url = store.url("redis", &format!("p2pdbg:{PASSWORD}@"));
            let node = Cluster::new().node(17, &url).await;
            let why = node.store_answers(false).await;
            let says = ["NOPERM", "permission", "can't run this command"];
            assert!(says.iter().any(|word| why.contains(word)), "{lacks}: {why}");
            assert!(!why.contains(PASSWORD), "{why}");
        }
    }
}

#[tokio::test]
async fn store_without_the_database_of_the_url_is_told_as_such() {
    for program in programs() {
        let store = Store::start(&program, &["--databases", "2"]);
        let url = store.url("redis", "");
        let cluster = Cluster::new();
        let node = cluster.node(17, &format!("{url}/1")).await;
        node.store_answers(true).await;
        let node = cluster.node(18, &format!("{url}/2")).await;
        let why = node.store_answers(false).await;
        assert!(why.contains("DB"), "{why}");
    }
}

#[tokio::test]
async fn store_over_tls_is_taken_if_its_certificate_is_one_that_the_host_trusts() {
    // Only processes of their own can be told by SSL_CERT_FILE whom to trust: without it, this certificate is no one's.
    for program in programs() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority.issue(&["127.0.0.1".to_owned()], day).unwrap();
        let file = directory.path().join("store.pem");
        std::fs::write(&file, &pem).unwrap();
        let store = Store::start_over_tls(&program, &file, &[]);
        let node = Cluster::new().node(17, &store.url("rediss", "")).await;
        let why = node.store_answers(false).await;
        assert!(why.to_lowercase().contains("certificate"), "{why}");
        // One that speaks in the clear to it is told nothing useful, and says that.
        let plain = Cluster::new().node(17, &store.url("redis", "")).await;
        assert!(!plain.store_answers(false).await.is_empty());
    }
}

/// How node 17 is started by itself.
#[cfg(unix)]
const NODE: [&str; 6] = [
    "--bind",
    "127.0.0.1:0",
    "--node",
    "17",
    "--nodes",
    "17=127.0.0.1",
];

/// Its state directory.
#[cfg(unix)]
fn directory_of_a_node() -> TempDir {
    let state = state_dir();
    let directory = StateDir::open(Some(state.path()), PROGRAM).unwrap();
    let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let pem = authority.issue(&["127.0.0.1".to_owned()], day).unwrap();
    directory.write_atomically(IDENTITY_FILE, &pem).unwrap();
    directory
        .write_atomically(CLUSTER_SECRET, &[7; 32])
        .unwrap();
    state
}

/// A node as its operator runs it, who has named a file with whom it trusts; gives what it says of the store once it
/// says that this answers, or does not.
#[cfg(unix)]
fn of_program(trusted: &Path, store: &str, answers: bool) -> serde_json::Value {
    use crate::program::{PROGRAM as RENDEZVOUS, Running};

    let state = directory_of_a_node();
    let mut command = Command::new(RENDEZVOUS);
    command
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .env("P2PDBG_CLUSTER", store);
    let _node = Running::run(command, state.path(), &NODE);
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let mut asked = Command::new(RENDEZVOUS);
        asked.args(["nodes", "--json", "--state"]).arg(state.path());
        let told = asked.output().unwrap().stdout;
        let nodes: serde_json::Value = serde_json::from_slice(&told).unwrap_or_default();
        let store = nodes["store"].clone();
        if store["answers"] == answers && store["why"] != "it was not asked yet" {
            return store;
        }
        assert!(std::time::Instant::now() < until, "{nodes}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(unix)]
#[test]
fn sighup_while_a_node_still_asks_the_store_ends_nothing_and_has_the_keys_read_once_it_serves() {
    // A store that answers nothing, until it hangs up.
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", store.local_addr().unwrap());
    let state = directory_of_a_node();
    let mut node = Command::new(crate::program::PROGRAM)
        .arg("--state")
        .arg(state.path())
        .args(["--alt-port", "0", "-v"])
        .args(NODE)
        .env("P2PDBG_CLUSTER", url)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asks = store.accept().unwrap();
    let pid = Pid::from_child(&node);
    kill_process(pid, Signal::HUP).unwrap();
    drop((asks, store));
    let mut says = BufReader::new(node.stderr.take().unwrap()).lines();
    let is_read = says.any(|line| line.is_ok_and(|line| line.contains("keys are read again")));
    let _ = node.kill();
    let status = node.wait().unwrap();
    assert!(is_read, "{status}");
}

/// A certificate and its key, and the certificate of who has signed it, each in a file.
#[cfg(unix)]
fn certificate(directory: &Path, name: &str, host: &str) -> [PathBuf; 2] {
    let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let pem = authority.issue(&[host.to_owned()], day).unwrap();
    let pem = String::from_utf8(pem.to_vec()).unwrap();
    let signer = pem.split("-----BEGIN CERTIFICATE-----").last().unwrap();
    let signer = signer.split("-----END CERTIFICATE-----").next().unwrap();
    let signer = format!("-----BEGIN CERTIFICATE-----{signer}-----END CERTIFICATE-----\n");
    let [own, whole] = ["ca.pem", "store.pem"].map(|end| directory.join(format!("{name}-{end}")));
    std::fs::write(&own, signer).unwrap();
    std::fs::write(&whole, pem).unwrap();
    [own, whole]
}

#[cfg(unix)]
#[test]
fn store_over_tls_with_a_user_of_its_own_serves_a_node_that_trusts_its_ca_and_no_other() {
    let files = tempfile::tempdir().unwrap();
    let [ca, pem] = certificate(files.path(), "right", "127.0.0.1");
    let [other_ca, _] = certificate(files.path(), "other", "127.0.0.1");
    let [elsewhere_ca, elsewhere] = certificate(files.path(), "elsewhere", "store.example");
    for program in programs() {
        let start = |pem: &Path| {
            let user = format!("--user p2pdbg on >{PASSWORD} ~p2pdbg:* +get +set +del +eval");
            let user: Vec<&str> = user.split(' ').collect();
            let users = [&["--user", "default", "off"][..], &user].concat();
            Store::start_over_tls(&program, pem, &users)
        };
        let store = start(&pem);
        let url = store.url("rediss", &format!("p2pdbg:{PASSWORD}@"));
        of_program(&ca, &url, true);
        let why = |trusted: &Path, url: &str| {
            let store = of_program(trusted, url, false);
            store["why"].as_str().unwrap().to_lowercase()
        };
        let refused = why(&other_ca, &url);
        assert!(refused.contains("certificate"), "{refused}");
        let wrong = store.url("rediss", "p2pdbg:wrong@");
        let refused = why(&ca, &wrong);
        assert!(
            refused.contains("assword") || refused.contains("auth"),
            "{refused}"
        );
        let store = start(&elsewhere);
        let url = store.url("rediss", &format!("p2pdbg:{PASSWORD}@"));
        let refused = why(&elsewhere_ca, &url);
        assert!(
            refused.contains("name") || refused.contains("certificate"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn store_with_anothers_data_serves_also_where_that_lies_where_ours_would() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        for key in ["session:1", "p2pdbg:{other}:node:17", "node:17"] {
            store.say(&format!("SET {key} something")).await;
        }
        let url = store.url("redis", "");
        let node = cluster.node(17, &url).await;
        node.store_answers(true).await;
        // Something that no node has written, where a node would: it counts as no node.
        let prefix = cluster.prefix();
        store.say(&format!("SET {prefix}:node:18 something")).await;
        store.say(&format!("RPUSH {prefix}:node:19 one two")).await;
        let other = Cluster::new();
        store
            .say(&format!("RPUSH {}:node:17 one two", other.prefix()))
            .await;
        node.knows(&[17]).await;
        // Where it would write itself it does.
        let another = other.node(17, &url).await;
        another.store_answers(true).await;
        node.store_answers(true).await;
    }
}

/// What nodes keep in the store, by its names.
async fn names(store: &Store) -> Vec<String> {
    let says = store.say("KEYS p2pdbg:*").await;
    let names = says.lines().filter(|line| line.starts_with("p2pdbg:"));
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_somebody_has_put_where_nodes_write_is_theirs_again_and_the_store_serves_on() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let node = cluster.node(17, &store.url("redis", "")).await;
        node.store_answers(true).await;
        let url = node.server.url();
        let at = node.server.addresses()[0];
        let mut peer = Peer::connect(at, url.fingerprint.unwrap()).await;
        let key = url.access_key.clone().unwrap();
        peer.hello(Credential::AccessKey(key)).await;
        let handle = Secret::random();
        peer.say(&ToRendezvous::Meet {
            handle: handle.clone(),
            role: Role::Listener,
            already: None,
        })
        .await;
        let nameplate = Nameplate::new(17_000_000).unwrap();
        peer.say(&ToRendezvous::Join { nameplate }).await;
        for kind in ["node:", "uses:", "at:", "miss:"] {
            let pattern = format!("KEYS *:{kind}*");
            let found = until(&store, &pattern, |says| says.contains("p2pdbg:")).await;
            let name = found.lines().find(|line| line.starts_with("p2pdbg:"));
            let name = name.unwrap();
            store.say(&format!("DEL {name}")).await;
            store.say(&format!("RPUSH {name} one two")).await;
            // A miss is counted with the next one; who waits is written again when the store has forgotten the node.
            match kind {
                "miss:" => peer.say(&ToRendezvous::Join { nameplate }).await,
                "at:" => drop(
                    store
                        .say(&format!("DEL {}:node:17", cluster.prefix()))
                        .await,
                ),
                _ => {}
            }
            let is_text = |says: &str| says.starts_with("+string");
            until(&store, &format!("TYPE {name}"), is_text).await;
        }
        node.store_answers(true).await;
        assert!(names(&store).await.len() >= 4);
    }
}

/// A peer that waits at these handles, at this node.
async fn waits(node: &Node, handles: &[&Secret<32>]) -> Peer {
    let url = node.server.url();
    let at = node.server.addresses()[0];
    let mut peer = Peer::connect(at, url.fingerprint.unwrap()).await;
    let key = url.access_key.clone().unwrap();
    peer.hello(Credential::AccessKey(key)).await;
    for handle in handles {
        peer.say(&ToRendezvous::Meet {
            handle: (*handle).clone(),
            role: Role::Listener,
            already: None,
        })
        .await;
    }
    peer
}

/// The name of the only record there is, which begins so.
async fn record(store: &Store, node: &str) -> String {
    let found = until(store, "KEYS *:at:*", |says| says.contains("p2pdbg:")).await;
    let name = found.lines().find(|line| line.starts_with("p2pdbg:"));
    let name = name.unwrap().to_owned();
    until(store, &format!("GET {name}"), |says| {
        says.lines().any(|line| line.starts_with(node))
    })
    .await;
    name
}

#[tokio::test]
async fn listener_that_has_moved_is_found_where_it_is_whatever_the_clocks_of_its_nodes_say() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let url = store.url("redis", "");
        let (one, other) = (cluster.node(17, &url).await, cluster.node(18, &url).await);
        for node in [&one, &other] {
            node.store_answers(true).await;
            node.knows(&[17, 18]).await;
        }
        let (handle, second) = (Secret::random(), Secret::random());
        let _before = waits(&one, &[&handle]).await;
        let name = record(&store, "17:").await;
        // What a node would have written whose clock is years ahead.
        let says = store.say(&format!("GET {name}")).await;
        let process = says.lines().find(|line| line.starts_with("17:")).unwrap();
        let process = process.trim_end().rsplit_once(':').unwrap().0;
        store
            .say(&format!("SET {name} {process}:9999999999 PX 93600000"))
            .await;
        let _now = waits(&other, &[&handle]).await;
        record(&store, "18:").await;
        // The connection that the listener has left lingers. Its node writes all again, and has done so once another
        // listener is there.
        let _more = waits(&one, &[&second]).await;
        let both = |says: &str| says.matches("p2pdbg:").count() == 2;
        let found = until(&store, "KEYS *:at:*", both).await;
        let mut names = found.lines().filter(|line| line.starts_with("p2pdbg:"));
        let new = names.find(|found| found.trim_end() != name.trim_end());
        let new = new.unwrap();
        store.say(&format!("DEL {new}")).await;
        store
            .say(&format!("DEL {}:node:17", cluster.prefix()))
            .await;
        until(&store, "KEYS *:at:*", both).await;
        let says = store.say(&format!("GET {name}")).await;
        assert!(says.lines().any(|line| line.starts_with("18:")), "{says}");
    }
}

#[tokio::test]
async fn number_that_no_node_holds_for_a_time_is_given_to_the_node_that_has_it() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let own = format!("{}:node:17", cluster.prefix());
        let url = store.url("redis", "");
        for forged in [
            "0123456789abcdef",
            "something PX 9000",
            "0123456789abcdef PX 90000000",
        ] {
            store.say(&format!("SET {own} {forged}")).await;
            let node = cluster.node(17, &url).await;
            node.store_answers(true).await;
            drop(node);
        }
    }
}

#[tokio::test]
async fn store_that_is_full_or_a_replica_that_takes_nothing_is_told_as_such_until_it_is_mended() {
    for program in programs() {
        let store = Store::start(&program, &["--maxmemory-policy", "noeviction"]);
        let url = store.url("redis", "");
        let node = Cluster::new().node(17, &url).await;
        node.store_answers(true).await;
        store.say("CONFIG SET maxmemory 1").await;
        let why = node.store_answers(false).await;
        assert!(why.contains("OOM") || why.contains("maxmemory"), "{why}");
        store.say("CONFIG SET maxmemory 0").await;
        node.store_answers(true).await;
        store.say("REPLICAOF 127.0.0.1 1").await;
        let why = node.store_answers(false).await;
        let says = ["READONLY", "read only", "ReadOnly", "MASTERDOWN"];
        assert!(says.iter().any(|word| why.contains(word)), "{why}");
        store.say("REPLICAOF NO ONE").await;
        node.store_answers(true).await;
    }
}

/// How much the store has sent, in bytes.
async fn sent_by(store: &Store) -> u64 {
    let says = store.say("INFO stats").await;
    let (_, sent) = says.split_once("total_net_output_bytes:").unwrap();
    sent.lines().next().unwrap().parse().unwrap()
}

/// Asks until the answer is one of these.
async fn until(store: &Store, command: &str, is_so: impl Fn(&str) -> bool) -> String {
    soon(async {
        loop {
            let says = store.say(command).await;
            if is_so(&says) {
                return says;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn long_text_that_somebody_has_put_into_the_store_is_read_by_no_node() {
    const LONG: u64 = 9 << 20;
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let node = cluster.node(17, &store.url("redis", "")).await;
        node.store_answers(true).await;
        let places = until(&store, "KEYS *:uses:*", |says| says.contains("p2pdbg")).await;
        let uses = places.lines().find(|line| line.starts_with("p2pdbg"));
        let [own, other] = [17, 42].map(|node| format!("{}:node:{node}", cluster.prefix()));
        let before = sent_by(&store).await;
        for key in [uses.unwrap(), &other] {
            store.say(&format!("SETRANGE {key} {LONG} x")).await;
        }
        // What nodes alone write becomes theirs again.
        let is_short = |says: &str| {
            let length = says.trim_start_matches(':').trim().parse::<u64>();
            length.is_ok_and(|length| length < LONG)
        };
        until(&store, &format!("STRLEN {}", uses.unwrap()), is_short).await;
        // The second beat begins when the answer to the first has been read.
        for _ in 0..2 {
            store.say(&format!("DEL {own}")).await;
            until(&store, &format!("EXISTS {own}"), |says| {
                says.starts_with(":1")
            })
            .await;
        }
        let sent = sent_by(&store).await - before;
        assert!(sent < LONG, "{sent} bytes were read");
        node.store_answers(true).await;
    }
}

#[tokio::test]
async fn node_that_lives_and_is_not_in_the_list_is_shown() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let url = store.url("redis", "");
        let node = cluster.node(17, &url).await;
        node.store_answers(true).await;
        let key = format!("{}:node:42", cluster.prefix());
        store
            .say(&format!("SET {key} 0123456789abcdef PX 60000"))
            .await;
        node.knows(&[17, 42]).await;
        let nodes = node.nodes().await.nodes;
        assert_eq!(nodes.last().unwrap().at, "");
    }
}

/// Has a session relayed by node 18, again and again, until that is granted, or is refused.
async fn relayed_at_the_other(connector: &mut Peer, session: SessionId, granted: bool) {
    let node = "18".parse().unwrap();
    soon(async {
        loop {
            connector.say(&ToRendezvous::Relay { session, node }).await;
            let is_granted = loop {
                match connector.hear().await {
                    FromRendezvous::RelayAt { .. } => break true,
                    FromRendezvous::Refused { refusal, .. } => {
                        assert_eq!(refusal, Refusal::Draining);
                        break false;
                    }
                    _ => {}
                }
            };
            if is_granted == granted {
                return;
            }
            // It counts as twenty signals.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn node_that_goes_out_of_service_relays_no_new_sessions_of_others_until_it_is_back() {
    for program in programs() {
        let store = Store::start(&program, &[]);
        let cluster = Cluster::new();
        let url = store.url("redis", "");
        let [home, other] = [cluster.node(17, &url).await, cluster.node(18, &url).await];
        home.knows(&[17, 18]).await;
        let (_listener, mut connector, session) = home.session().await;
        relayed_at_the_other(&mut connector, session, true).await;
        other.server.operator().drain(None).await;
        relayed_at_the_other(&mut connector, session, false).await;
        for node in [&home, &other] {
            node.shows_draining(&[18]).await;
        }
        assert!(other.server.operator().undrain().await);
        relayed_at_the_other(&mut connector, session, true).await;
        for node in [&home, &other] {
            node.shows_draining(&[]).await;
        }
        // As at SIGTERM; the store holds for a while yet that the node lives.
        other.server.shutdown().await;
        relayed_at_the_other(&mut connector, session, false).await;
        home.knows(&[17, 18]).await;
        let config = cluster.config(18, &url, &other.state);
        let _again = Server::start(config).await.unwrap();
        relayed_at_the_other(&mut connector, session, true).await;
    }
}

#[tokio::test]
async fn node_makes_no_place_for_a_successor_that_could_not_show_whose_number_it_takes() {
    // Whether the store answers makes no difference.
    let node = Cluster::new().node(17, "redis://127.0.0.1:1").await;
    node.server.can_be_succeeded().unwrap();
    let path = node.state.path().join("node-epoch");
    let before = std::fs::read(&path).unwrap();
    for now in ["", "damaged", "0123456789abcdef of another directory"] {
        std::fs::write(&path, now).unwrap();
        let why = node.server.can_be_succeeded().unwrap_err().to_string();
        assert!(why.contains("node-epoch is damaged"), "{why}");
        assert!(why.contains("start it again"), "{why}");
    }
    std::fs::remove_file(&path).unwrap();
    let why = node.server.can_be_succeeded().unwrap_err().to_string();
    assert!(why.contains("node-epoch is missing"), "{why}");
    assert!(!path.exists());
    StateDir::open(Some(node.state.path()), PROGRAM)
        .unwrap()
        .write_atomically("node-epoch", &before)
        .unwrap();
    node.server.can_be_succeeded().unwrap();
}
