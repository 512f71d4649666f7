//! Keys that nodes share by a real store, as operators change them at one node and peers notice at another.
#![cfg(unix)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use p2pdbg_identity::tls::SERVER_NAME;
use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Handle, Refusal, Role, ToRendezvous},
    url::{AccessKey, RendezvousUrl},
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    operator::ask_json,
    program::{PROGRAM, Running},
    store_program::{Store, only_the_runbooks_user, programs},
    support::{Peer, free, soon, state_dir},
};

const PASSWORD: &str = "correct-horse";

/// Two nodes with what one authority has issued, at a store that knows the runbook's user alone.
pub(crate) struct Cluster {
    store: Store,
    authority: TempDir,
    pub(crate) nodes: Vec<Node>,
}

pub(crate) struct Node {
    number: u8,
    pub(crate) at: SocketAddr,
    pub(crate) state: TempDir,
    running: Option<Running>,
}

/// Runs the program to its end; what it says on stderr.
fn command(state: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--state").arg(state);
    command.output().unwrap()
}

fn done(state: &Path, words: &[&str]) -> (String, String) {
    let output = command(state, words);
    assert!(output.status.success(), "{output:?}");
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (out, err)
}

pub(crate) fn secret_in(url: &str) -> AccessKey {
    let url: RendezvousUrl = url.trim().parse().unwrap();
    url.access_key.unwrap()
}

impl Cluster {
    fn new(program: &Path) -> Self {
        let user = only_the_runbooks_user(PASSWORD);
        let owner = format!("--user owner on >{PASSWORD} ~* +@all");
        let user = user.iter().map(String::as_str);
        let arguments: Vec<&str> = user.chain(owner.split(' ')).collect();
        let store = Store::start(program, &arguments);
        let authority = state_dir();
        done(authority.path(), &["authority", "new"]);
        let mut cluster = Self {
            store,
            authority,
            nodes: Vec::new(),
        };
        for number in [17, 18] {
            let state = state_dir();
            cluster.issue(state.path());
            cluster.nodes.push(Node {
                number,
                at: free(),
                state,
                running: None,
            });
        }
        cluster
    }

    fn issue(&self, into: &Path) {
        let into = into.to_str().unwrap();
        let words = [
            "authority",
            "issue",
            "127.0.0.1",
            SERVER_NAME,
            "--into",
            into,
        ];
        done(self.authority.path(), &words);
    }

    pub(crate) fn start(&mut self, index: usize) {
        let list: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("{}={}", node.number, node.at))
            .collect();
        let list = list.join(",");
        let url = self.store.url("redis", &format!("p2pdbg:{PASSWORD}@"));
        let node = &mut self.nodes[index];
        let mut command = Command::new(PROGRAM);
        command.env("P2PDBG_CLUSTER", url);
        let (number, at) = (node.number.to_string(), node.at.to_string());
        let words = ["--node", &number, "--nodes", &list, "--bind", &at];
        node.running = Some(Running::run(command, node.state.path(), &words));
    }

    /// Both, and each knows the other and the store.
    pub(crate) async fn started(program: &Path) -> Self {
        let mut cluster = Self::new(program);
        cluster.start(0);
        cluster.start(1);
        cluster.all_know_each_other().await;
        cluster
    }

    pub(crate) async fn all_know_each_other(&self) {
        for node in &self.nodes {
            node.says(|nodes| {
                let alive = nodes["nodes"].as_array().unwrap().iter();
                let alive = alive.filter(|node| node["lives"] == true).count();
                alive == self.nodes.len() && nodes["store"]["answers"] == true
            })
            .await;
        }
    }

    /// What the store's owner says to it.
    async fn owner(&self, words: &[&str]) -> Vec<String> {
        self.store.ask_as("owner", PASSWORD, words).await
    }

    /// Where the keys lie in the store, and what lies there.
    async fn stored(&self) -> (String, String) {
        let mut names = self.owner(&["KEYS", "p2pdbg:*:keys:*"]).await;
        assert_eq!(names.len(), 1, "{names:?}");
        let name = names.remove(0);
        let text = self.owner(&["GET", &name]).await.remove(0);
        (name, text)
    }
}

impl Node {
    /// Waits until `nodes` says so.
    async fn says(&self, what: impl Fn(&serde_json::Value) -> bool) {
        soon(async {
            while !what(&ask_json(self.state.path(), &["nodes", "--json"])) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    pub(crate) async fn hello(&self, credential: Credential) -> (Peer, FromRendezvous) {
        let url = self.running.as_ref().unwrap().url();
        let mut peer = Peer::connect(self.at, url.fingerprint.unwrap()).await;
        peer.hello(credential).await;
        let heard = peer.hear().await;
        (peer, heard)
    }

    /// A peer that is let in by this key.
    pub(crate) async fn peer(&self, key: &AccessKey) -> Peer {
        let (mut peer, heard) = self.hello(Credential::AccessKey(key.clone())).await;
        assert!(matches!(heard, FromRendezvous::Welcome { .. }), "{heard:?}");
        let heard = peer.hear().await;
        assert!(matches!(heard, FromRendezvous::Nodes { .. }), "{heard:?}");
        peer
    }

    /// Why nobody is let in by this key.
    async fn refuses(&self, key: &AccessKey) -> Refusal {
        let (_peer, heard) = self.hello(Credential::AccessKey(key.clone())).await;
        match heard {
            FromRendezvous::Refused { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn keys(&self, words: &[&str]) -> (String, String) {
        done(self.state.path(), &[&["keys"], words].concat())
    }

    fn kill(&mut self) {
        self.running = None;
    }

    /// Ends it as an operator does, so that all is written down.
    pub(crate) fn end(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        assert_eq!(running.end().0, Some(0));
    }

    pub(crate) fn reload(&self) {
        done(self.state.path(), &["reload"]);
    }

    /// As if this node had relayed so many bytes of this key, in the month that it wrote down last.
    pub(crate) fn has_relayed(&self, key: &str, bytes: u64) {
        let read = |file| fs::read_to_string(self.state.path().join(file)).unwrap();
        let keys: toml::Table = read("keys.toml").parse().unwrap();
        let keys = keys["key"].as_array().unwrap();
        let key = keys.iter().find(|one| one["name"].as_str() == Some(key));
        let id = key.unwrap()["id"].as_str().unwrap().to_owned();
        let usage: toml::Table = read("usage.toml").parse().unwrap();
        let month = usage["month"].as_integer().unwrap();
        let used = format!("month = {month}\n[[key]]\nid = \"{id}\"\nrelay_bytes = {bytes}\n");
        fs::write(self.state.path().join("usage.toml"), used).unwrap();
    }
}

#[tokio::test]
async fn key_that_is_made_or_revoked_at_one_node_is_at_the_other_when_the_command_is_done() {
    for program in programs() {
        let cluster = Cluster::started(&program).await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let (url, told) = one.keys(&["add", "team-a", "--sessions", "7"]);
        assert!(
            told.contains("these nodes have the keys so: 17, 18"),
            "{told}"
        );
        let (bystander_url, _) = other.keys(&["add", "team-b"]);
        let [key, bystander] = [&url, &bystander_url].map(|url| secret_in(url));
        let [mut here, mut there] = [one.peer(&key).await, other.peer(&key).await];
        let mut others = [one.peer(&bystander).await, other.peer(&bystander).await];
        let listed = ask_json(other.state.path(), &["keys", "list", "--json"]);
        let listed = listed["keys"].as_array().unwrap();
        let team = listed.iter().find(|key| key["name"] == "team-a").unwrap();
        assert_eq!(team["limits"]["sessions"], 7);

        let (_, told) = other.keys(&["revoke", "team-a"]);
        assert!(told.contains("17, 18"), "{told}");
        assert_eq!(here.refused().await, Refusal::AccessKey);
        assert_eq!(there.refused().await, Refusal::AccessKey);
        assert_eq!(one.refuses(&key).await, Refusal::AccessKey);
        assert_eq!(other.refuses(&key).await, Refusal::AccessKey);
        for peer in &mut others {
            peer.say(&ToRendezvous::Ping).await;
            assert_eq!(peer.hear().await, FromRendezvous::Pong);
        }
        let (url, _) = one.keys(&["rotate", "team-b"]);
        assert_eq!(other.refuses(&bystander).await, Refusal::AccessKey);
        other.peer(&secret_in(&url)).await;
    }
}

#[tokio::test]
async fn node_that_begins_while_the_store_is_away_takes_the_keys_that_it_knows_and_refuses_others_for_now()
 {
    for program in programs() {
        let mut cluster = Cluster::started(&program).await;
        let (url, _) = cluster.nodes[0].keys(&["add", "team-a"]);
        let (ended, _) = cluster.nodes[0].keys(&["add", "ended"]);
        cluster.nodes[0].keys(&["revoke", "ended"]);
        let [known, ended] = [&url, &ended].map(|url| secret_in(url));
        cluster.store.kill();
        cluster.nodes[1].kill();
        cluster.start(1);
        for node in &cluster.nodes {
            node.says(|nodes| nodes["store"]["answers"] == false).await;
        }
        let (url, told) = cluster.nodes[0].keys(&["add", "team-b"]);
        assert!(
            told.contains("the others get them once the store is back"),
            "{told}"
        );
        let new = secret_in(&url);
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        one.peer(&new).await;
        other.peer(&known).await;
        // Whether it is one, nobody can say there; that the other one is none is known.
        let refusal = other.refuses(&new).await;
        assert!(matches!(refusal, Refusal::KeysAway { .. }), "{refusal:?}");
        assert_eq!(other.refuses(&ended).await, Refusal::AccessKey);
        // It comes back with nothing in it, and is given all of it again.
        cluster.store.start_again();
        cluster.all_know_each_other().await;
        let [_, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        soon(async {
            loop {
                let (_peer, heard) = other.hello(Credential::AccessKey(new.clone())).await;
                match heard {
                    FromRendezvous::Welcome { .. } => break,
                    FromRendezvous::Refused {
                        refusal: Refusal::KeysAway { .. },
                        ..
                    } => tokio::time::sleep(Duration::from_millis(100)).await,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        assert_eq!(other.refuses(&ended).await, Refusal::AccessKey);
    }
}

#[tokio::test]
async fn stores_owner_who_puts_back_older_keys_or_writes_others_brings_no_key_back_and_makes_none()
{
    for program in programs() {
        let cluster = Cluster::started(&program).await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let (url, _) = one.keys(&["add", "team-a"]);
        let key = secret_in(&url);
        let (name, before) = cluster.stored().await;
        assert!(!before.contains("team-a"), "{before}");
        one.keys(&["revoke", "team-a"]);
        let (_, after) = cluster.stored().await;
        // One of 64 ends in x itself.
        let another = if after.ends_with('x') { 'y' } else { 'x' };
        let changed = format!("{}{another}", &after[..after.len() - 1]);
        for forged in [before.as_str(), "1:99:nothing:of-ours", &changed, "-"] {
            cluster.owner(&["SET", &name, forged]).await;
            soon(async {
                while cluster.stored().await.1 == forged {
                    assert_eq!(other.refuses(&key).await, Refusal::AccessKey);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
        }
        cluster.owner(&["DEL", &name]).await;
        for node in [one, other] {
            let (_, told) = done(node.state.path(), &["reload"]);
            assert!(told.contains("17, 18"), "{told}");
            assert_eq!(node.refuses(&key).await, Refusal::AccessKey);
        }
        // A node that has served in the meantime says what it has; nobody else can say it for it.
        let knows = cluster.owner(&["KEYS", "p2pdbg:*:knows:*"]).await;
        assert_eq!(knows.len(), 2);
    }
}

#[tokio::test]
async fn host_with_keys_of_its_own_shares_them_by_a_command_and_tells_of_names_that_were_taken() {
    for program in programs() {
        let mut cluster = Cluster::new(&program);
        // It has served alone, with keys of its own, before it was given a certificate of the authority.
        let lone = state_dir();
        let running = Running::start(lone.path(), &["--bind", "127.0.0.1:0"]);
        let (url, _) = done(lone.path(), &["keys", "add", "team-a"]);
        let own = secret_in(&url);
        drop(running);
        let kept = ["keys.toml", "access-key"].map(|name| lone.path().join(name));
        let bytes = kept.each_ref().map(|path| std::fs::read(path).unwrap());
        cluster.issue(lone.path());
        for (path, bytes) in kept.iter().zip(&bytes) {
            std::fs::write(path, bytes).unwrap();
        }
        cluster.nodes[1].state = lone;
        cluster.start(0);
        cluster.start(1);
        cluster.all_know_each_other().await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let (url, told) = one.keys(&["add", "team-a"]);
        assert!(told.contains("NOT YET: 18"), "{told}");
        let theirs = secret_in(&url);
        assert_eq!(other.refuses(&theirs).await, Refusal::AccessKey);
        let (_, told) = other.keys(&["share"]);
        assert!(
            told.contains("the key team-a of this node is called team-a-"),
            "{told}"
        );
        assert!(
            told.contains("the key default of this node is called default-"),
            "{told}"
        );
        assert!(told.contains("17, 18"), "{told}");
        for key in [&own, &theirs] {
            one.peer(key).await;
            other.peer(key).await;
        }
        other.keys(&["revoke", "team-a"]);
        assert_eq!(one.refuses(&theirs).await, Refusal::AccessKey);
        one.peer(&own).await;
    }
}

#[tokio::test]
async fn node_that_is_made_later_begins_with_no_key_until_the_store_has_told_it_which_hold() {
    for program in programs() {
        let mut cluster = Cluster::started(&program).await;
        // The authority's directory knows the key `default`, and not that it has ended.
        let url = cluster.nodes[0].running.as_ref().unwrap().url();
        let key = url.access_key.unwrap();
        cluster.nodes[0].keys(&["revoke", "default"]);
        cluster.nodes[1].kill();
        let fresh = state_dir();
        cluster.issue(fresh.path());
        cluster.nodes[1].state = fresh;
        cluster.store.kill();
        cluster.start(1);
        let refusal = cluster.nodes[1].refuses(&key).await;
        assert!(matches!(refusal, Refusal::KeysAway { .. }), "{refusal:?}");
        cluster.store.start_again();
        let node = &cluster.nodes[1];
        soon(async {
            while node.refuses(&key).await != Refusal::AccessKey {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

/// How many more peers with this key each node lets in, one after the other, until all refuse.
async fn let_in(nodes: &[&Node], key: &AccessKey, peers: &mut Vec<Peer>) -> usize {
    let before = peers.len();
    // More than it takes until the other node has given up what it had at hand: some turns of both.
    let mut quiet = std::time::Instant::now();
    while quiet.elapsed() < Duration::from_secs(10) {
        for node in nodes {
            let (peer, heard) = node.hello(Credential::AccessKey(key.clone())).await;
            match heard {
                FromRendezvous::Welcome { .. } => {
                    peers.push(peer);
                    quiet = std::time::Instant::now();
                }
                FromRendezvous::Refused {
                    refusal: Refusal::Full | Refusal::Limit { .. },
                    ..
                } => {}
                other => panic!("{other:?}"),
            }
        }
        // They would be given up for their silence.
        for peer in peers.iter_mut() {
            peer.say(&ToRendezvous::Ping).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    peers.len() - before
}

#[tokio::test]
async fn limit_of_a_key_holds_for_both_nodes_together_wherever_its_peers_are() {
    // Of whichever store there is: what is held is between the nodes, and takes a minute and a half.
    for program in programs().into_iter().take(1) {
        let mut cluster = Cluster::started(&program).await;
        let (url, _) = cluster.nodes[0].keys(&["add", "team-a", "--peers", "6"]);
        let key = secret_in(&url);
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let mut peers = Vec::new();
        // All of them at one node, though its equal part is three.
        assert_eq!(let_in(&[other], &key, &mut peers).await, 6);
        assert_eq!(let_in(&[one, other], &key, &mut peers).await, 0);
        // What they leave is for whoever comes, at either node.
        peers.truncate(2);
        assert_eq!(let_in(&[one], &key, &mut peers).await, 4);
        assert_eq!(let_in(&[one, other], &key, &mut peers).await, 0);
        // Without the store each goes on with what it had, which is no more together; who is there stays.
        cluster.store.kill();
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        other.says(|nodes| nodes["store"]["answers"] == false).await;
        assert_eq!(let_in(&[one, other], &key, &mut peers).await, 0);
        peers.truncate(1);
        assert!(let_in(&[one, other], &key, &mut peers).await <= 5);
        for peer in &mut peers {
            peer.say(&ToRendezvous::Ping).await;
        }
        // It comes back with nothing in it: nobody gets more by that.
        cluster.store.start_again();
        cluster.all_know_each_other().await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let more = let_in(&[one, other], &key, &mut peers).await;
        assert_eq!(peers.len(), 6, "{more} more");
    }
}

#[tokio::test]
async fn known_peers_that_are_all_that_their_key_may_have_meet_though_they_were_at_different_nodes()
{
    for program in programs().into_iter().take(1) {
        let cluster = Cluster::started(&program).await;
        let (url, _) = cluster.nodes[0].keys(&["add", "team-a", "--peers", "2"]);
        let key = secret_in(&url);
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let handle = Handle::random();
        let meets = |role| ToRendezvous::Meet {
            handle: handle.clone(),
            role,
            already: None,
        };
        let mut listener = other.peer(&key).await;
        listener.say(&meets(Role::Listener)).await;
        let mut connector = one.peer(&key).await;
        connector.say(&meets(Role::Connector)).await;
        loop {
            match connector.hear().await {
                FromRendezvous::GoTo { node } if node.number.get() == 18 => break,
                FromRendezvous::GoTo { node } => panic!("{node}"),
                _ => {}
            }
        }
        drop(connector);
        // As the client does it: it comes again twice, when it is told to.
        let mut delays = 0;
        let mut connector = loop {
            let (peer, heard) = other.hello(Credential::AccessKey(key.clone())).await;
            match heard {
                FromRendezvous::Welcome { .. } => break peer,
                FromRendezvous::Refused {
                    refusal: Refusal::Limit { retry_after_s },
                    ..
                } if delays < 2 => {
                    delays += 1;
                    listener.told().await;
                    tokio::time::sleep(Duration::from_secs(retry_after_s.into())).await;
                }
                refused => panic!("{refused:?}"),
            }
        };
        let nodes = connector.hear().await;
        assert!(matches!(nodes, FromRendezvous::Nodes { .. }), "{nodes:?}");
        connector.say(&meets(Role::Connector)).await;
        let met = connector.introduced().await;
        assert_eq!(listener.introduced().await.session, met.session);
    }
}
