//! Several nodes that serve one URL, with a store and without: peers behind NATs, and what is killed, stopped, blocked
//! or set up wrongly.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{Event, PathKind, WaitingFor, WarningCode};
use p2pdbg_identity::{IDENTITY_FILE, Identity, tls};
use p2pdbg_natlab::{Flow, Host, Impairments, NatKind, TwoNats};
use p2pdbg_proto::url::RendezvousUrl;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{
        Cluster, Home, NodeAt, Peer, PeerCommand, Place, Process, Rendezvous, Setting, Transcript,
        eventually, skip,
        traffic::{accept, say},
    },
    session::{Session, two_nats_of},
};

/// Where the store answers.
const STORE_PORT: u16 = 6379;

/// Three nodes that serve, two peers behind NATs that have not begun, and perhaps a store.
pub(crate) struct Scene {
    pub(crate) setting: Setting,
    /// Besides the one of the setting.
    pub(crate) others: Vec<Rendezvous>,
    pub(crate) nodes: Vec<NodeAt>,
    /// Where they run.
    pub(crate) hosts: Vec<Host>,
    pub(crate) cluster: Cluster,
    pub(crate) store: Option<Store>,
    pub(crate) lab: TwoNats,
}

/// A Redis or Valkey that keeps nothing.
pub(crate) struct Store {
    process: Process,
    host: Host,
    transcript: Transcript,
}

impl Store {
    fn program() -> Option<&'static str> {
        let found = ["valkey-server", "redis-server"]
            .into_iter()
            .find(|program| {
                let asked = std::process::Command::new(program)
                    .arg("--version")
                    .output();
                asked.is_ok_and(|asked| asked.status.success())
            });
        if found.is_none() {
            skip("neither valkey-server nor redis-server is installed");
        }
        found
    }

    fn start(program: &str, host: &Host, transcript: &Transcript) -> Process {
        let mut command = place(host).command(program);
        let (ip, port) = (host.ip().to_string(), STORE_PORT.to_string());
        command
            .args(["--bind", &ip, "--port", &port, "--protected-mode", "no"])
            .args(["--save", "", "--appendonly", "no", "--dir", "/tmp"]);
        let process = Process::start("store", command, transcript);
        process.line("Ready to accept connections");
        process
    }

    /// Another process with nothing in it.
    fn start_anew(&mut self) {
        let program = Self::program().unwrap();
        self.process = Self::start(program, &self.host, &self.transcript);
    }
}

/// What is the matter while two that know each other would meet.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// The connector is there first.
    LateListener,
    /// The store is killed, and another has nothing in it.
    Forgets,
    /// It is half a second away, and packets are lost.
    Slow,
}

pub(crate) fn place(host: &Host) -> Place {
    Place::Node((**host).clone())
}

impl Scene {
    #[track_caller]
    fn new(name: &'static str, with_store: bool) -> Option<Self> {
        Self::with(name, with_store, |_| Vec::new())
    }

    /// The same with more arguments for each node, which may depend on hosts that are made for them.
    #[track_caller]
    pub(crate) fn with(
        name: &'static str,
        with_store: bool,
        further: impl FnOnce(&TwoNats) -> Vec<String>,
    ) -> Option<Self> {
        let program = match with_store {
            true => Some(Store::program()?),
            false => None,
        };
        let lab = two_nats_of(name, NatKind::PORT_RESTRICTED)?;
        let transcript = Transcript::new();
        let store = program.map(|program| {
            let host = lab.net.host("store").unwrap();
            Store {
                process: Store::start(program, &host, &transcript),
                host,
                transcript: transcript.clone(),
            }
        });
        let further_arguments = further(&lab);
        let further = ["rdv18", "rdv23"].map(|name| lab.net.host(name).unwrap());
        let [second, third] = further;
        let hosts = vec![lab.rdv.clone(), second, third];
        let nodes: Vec<NodeAt> = [17, 18, 23]
            .into_iter()
            .zip(&hosts)
            .map(|(number, host)| NodeAt {
                number,
                place: place(host),
                ip: host.ip().into(),
            })
            .collect();
        let arguments = store.as_ref().map(|store| {
            let url = format!("redis://{}:{STORE_PORT}", store.host.ip());
            ["--cluster".to_owned(), url]
        });
        let arguments = further_arguments
            .into_iter()
            .chain(arguments.into_iter().flatten());
        let cluster = Cluster::new(&nodes, arguments, &transcript);
        let mut running: Vec<Rendezvous> = nodes.iter().map(|node| cluster.start(node)).collect();
        let first = running.remove(0);
        let (ide, debuggee) = (place(&lab.ide), place(&lab.debuggee));
        let setting = Setting::at(ide, debuggee, place(&lab.rdv), first, transcript);
        Some(Self {
            setting,
            others: running,
            nodes,
            hosts,
            cluster,
            store,
            lab,
        })
    }

    /// A node, by its place among the three.
    fn node(&mut self, index: usize) -> &mut Rendezvous {
        match index.checked_sub(1) {
            None => &mut self.setting.rendezvous,
            Some(other) => &mut self.others[other],
        }
    }

    /// The URL with this node alone in it, so that a peer comes there first.
    fn url(&self, index: usize) -> RendezvousUrl {
        let url = self.setting.rendezvous.url();
        url.at(&url.hosts()[index])
    }

    fn listener_at(&self, index: usize) -> PeerCommand {
        let url = self.url(index).to_string();
        self.setting.listener().env("P2PDBG_RENDEZVOUS", url)
    }

    fn connector_at(&self, index: usize) -> PeerCommand {
        let url = self.url(index).without_key().to_string();
        self.setting.connector().env("P2PDBG_RENDEZVOUS", url)
    }

    /// Two that have paired by code and ended.
    #[track_caller]
    fn acquainted(&self) -> (Home, Home) {
        let mut listener = self.listener_at(0).args(["--name", "laptop"]).start();
        let code = listener.code().to_string();
        let mut connector = self
            .connector_at(0)
            .env("P2PDBG_CODE", code)
            .args(["--name", "web"])
            .start();
        listener.paired();
        connector.paired();
        connector.stop();
        listener.closed();
        listener.stop();
        (listener.home(), connector.home())
    }

    /// The listener of two that know each other, at this node.
    fn known_listener(&self, index: usize, home: &Home) -> Peer {
        forget_nodes(home);
        let listener = self.listener_at(index).home(home.clone());
        listener.args(["--peer", "web"]).start()
    }

    /// And the connector.
    fn known_connector(&self, index: usize, home: &Home) -> Peer {
        forget_nodes(home);
        let connector = self.connector_at(index).home(home.clone());
        connector.args(["--peer", "laptop"]).start()
    }

    /// Makes trouble with the store, once a listener waits at the second node.
    #[track_caller]
    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::None | Trouble::LateListener => {}
            Trouble::Forgets => {
                self.store.as_mut().unwrap().process.kill();
                self.store_answers(1, false);
                self.store.as_mut().unwrap().start_anew();
            }
            Trouble::Slow => {
                let slow = Impairments::delayed(Duration::from_millis(250)).with_loss(0.02);
                let store = self.store.as_ref().unwrap();
                store.host.link().impair(slow).unwrap();
            }
        }
    }

    /// Waits until a node says of the store that it answers, or not.
    #[track_caller]
    fn store_answers(&mut self, index: usize, answers: bool) {
        let node = self.node(index);
        eventually("the store's state", || {
            let nodes: Value = serde_json::from_str(&node.ask(&["nodes", "--json"])).unwrap();
            (nodes["store"]["answers"] == answers).then_some(())
        });
    }
}

/// Has a peer come to the node of its URL: one that it has heard of at an earlier start may be nearer by its own
/// measure, which a busy machine sets.
fn forget_nodes(home: &Home) {
    std::fs::remove_file(home.state().join("nodes")).unwrap();
}

/// Kills the node at which the session's listener is, one of the setting's and the others.
#[track_caller]
pub(crate) fn kill_home(session: &mut Session, nodes: &[NodeAt], others: &mut [Rendezvous]) {
    let home = home_of(&session.pair.listener);
    match nodes.iter().position(|node| node.number == home).unwrap() {
        0 => session.setting.rendezvous.process().kill(),
        other => others[other - 1].process().kill(),
    }
}

/// Which node has given the listener its code.
fn home_of(listener: &Peer) -> u8 {
    let code = listener.first_code().unwrap();
    code.nameplate.node().unwrap().get()
}

#[test]
fn relayed_session_goes_on_at_another_node_when_its_own_is_killed() {
    let Some(scene) = Scene::new("cl-kill", false) else {
        return;
    };
    let Scene {
        setting,
        mut others,
        nodes,
        lab,
        ..
    } = scene;
    let setting = setting.with_path("relay");
    let mut session = Session::begin("cl-kill", lab, setting, PathKind::Relay);
    let began = session.fault("node killed");
    kill_home(&mut session, &nodes, &mut others);
    session.resumes(
        "node of a relayed session killed for good",
        began,
        Instant::now(),
        "gap ≤ 5 s",
    );
    session.finish();
}

#[test]
fn code_leads_to_its_node_and_a_node_that_is_drained_hands_its_listener_over() {
    let Some(mut scene) = Scene::new("cl-code", false) else {
        return;
    };
    let port = scene.setting.port();
    let forward = format!("{port}:localhost:{port}");
    let target = scene.setting.debuggee.listen(port);
    let listener = scene.listener_at(1).args(["-L", &forward]).start();
    let code = listener.code();
    assert_eq!(code.nameplate.node().unwrap().get(), 18);
    scene.node(1).ask(&["drain"]);
    let code = listener.code();
    assert_ne!(code.nameplate.node().unwrap().get(), 18, "another one");
    let connector = scene
        .connector_at(0)
        .env("P2PDBG_CODE", code.to_string())
        .start();
    listener.paired();
    connector.paired();
    listener.path(PathKind::Direct);
    listener.forward(port);
    let opened = scene.setting.ide.connect(port);
    say(&opened, &accept(&target), "across two nodes");
}

#[test]
fn peer_that_reaches_one_node_only_says_which_other_it_cannot_reach() {
    let Some(scene) = Scene::new("cl-block", false) else {
        return;
    };
    let listener = scene.listener_at(2).start();
    let code = listener.code();
    let away: IpAddr = scene.nodes[2].ip;
    let blocked = Flow::between(scene.lab.nat_b.external_ip(), away);
    scene.lab.net.router().block(blocked).unwrap();
    let connector = scene
        .connector_at(0)
        .env("P2PDBG_CODE", code.to_string())
        .start();
    let text = eventually("a warning of the node", || {
        connector
            .events()
            .into_iter()
            .find_map(|event| match event {
                Event::Warning(warning) if warning.code == WarningCode::RendezvousLost => {
                    Some(warning.message).filter(|text| text.contains(&away.to_string()))
                }
                _ => None,
            })
    });
    assert!(text.contains("does not answer"), "{text}");
    scene.lab.net.router().unblock(blocked).unwrap();
    connector.paired();
    listener.paired();
}

#[test]
fn known_peers_at_different_nodes_meet_whoever_is_first_though_the_store_forgets_or_is_slow() {
    let Some(mut scene) = Scene::new("cl-known", true) else {
        return;
    };
    let (laptop, web) = scene.acquainted();
    for trouble in [
        Trouble::None,
        Trouble::LateListener,
        Trouble::Forgets,
        Trouble::Slow,
    ] {
        let (mut listener, mut connector) = match trouble {
            Trouble::LateListener => {
                let connector = scene.known_connector(2, &web);
                connector.waiting(WaitingFor::Peer);
                (scene.known_listener(1, &laptop), connector)
            }
            _ => {
                let listener = scene.known_listener(1, &laptop);
                listener.waiting(WaitingFor::Peer);
                scene.trouble(trouble);
                (listener, scene.known_connector(2, &web))
            }
        };
        assert_eq!(listener.paired(), ("web".to_owned(), true));
        assert_eq!(connector.paired(), ("laptop".to_owned(), true));
        connector.stop();
        listener.closed();
        listener.stop();
    }
}

#[test]
fn store_that_is_stopped_or_killed_keeps_apart_new_meetings_at_different_nodes_and_nothing_else() {
    let Some(mut scene) = Scene::new("cl-store", true) else {
        return;
    };
    let (laptop, web) = scene.acquainted();
    scene.store.as_ref().unwrap().process.signal(Signal::STOP);
    scene.store_answers(0, false);
    let status = scene.node(0).ask(&["nodes"]);
    assert!(status.contains("AWAY"), "{status}");
    // By code, through another node, and as known peers of one node.
    let mut coded = scene.listener_at(1).start();
    let code = coded.code().to_string();
    let mut guest = scene.connector_at(2).env("P2PDBG_CODE", code).start();
    guest.paired();
    coded.paired();
    guest.stop();
    coded.closed();
    coded.stop();
    let listener = scene.known_listener(1, &laptop);
    let mut connector = scene.known_connector(1, &web);
    listener.paired();
    connector.paired();
    connector.stop();
    listener.closed();
    let connector = scene.known_connector(2, &web);
    connector.waiting(WaitingFor::Peer);
    scene.store.as_mut().unwrap().process.kill();
    scene.store.as_mut().unwrap().start_anew();
    connector.paired();
}

#[test]
fn node_whose_number_another_host_has_does_not_start_and_one_that_is_started_again_does_at_once() {
    let Some(mut scene) = Scene::new("cl-two", true) else {
        return;
    };
    scene.store_answers(1, true);
    // With another address, as somebody would who copied the options.
    let host = scene.lab.net.host("rdv-copy").unwrap();
    let copy = NodeAt {
        place: place(&host),
        ..scene.nodes[1].clone()
    };
    let home = scene.cluster.certify(&copy);
    let why = scene.cluster.refused(&copy, home, &host.ip().to_string());
    assert!(why.contains("another host serves as node 18"), "{why}");
    scene.node(1).process().kill();
    scene.node(1).start_again();
    scene.store_answers(1, true);
}

#[test]
fn peer_whose_only_seed_is_dead_comes_back_by_the_nodes_that_it_has_learnt() {
    let Some(mut scene) = Scene::new("cl-learnt", false) else {
        return;
    };
    let mut listener = scene.listener_at(1).start();
    assert_eq!(listener.code().nameplate.node().unwrap().get(), 18);
    let home = listener.home();
    listener.stop();
    scene.node(1).process().kill();
    let again = scene.listener_at(1).home(home).start();
    let code = again.code();
    assert_ne!(code.nameplate.node().unwrap().get(), 18);
    // Whoever has learnt nothing is as lost as its seed.
    let mut stranger = scene.listener_at(1).start();
    stranger.fails(ErrorCode::RendezvousUnreachable);
    let connector = scene
        .connector_at(0)
        .env("P2PDBG_CODE", code.to_string())
        .start();
    connector.paired();
    again.paired();
}

#[test]
fn node_with_a_certificate_of_another_authority_is_passed_over_and_one_that_has_expired_does_not_start()
 {
    let Some(mut scene) = Scene::new("cl-certs", false) else {
        return;
    };
    let node = scene.nodes[1].clone();
    scene.node(1).process().kill();
    let foreign = scene.cluster.foreign().start(&node);
    assert_ne!(foreign.url().fingerprint, scene.url(0).fingerprint);
    // The foreign node is the only one that this URL names, besides one that is what it should be.
    let url = scene.setting.rendezvous.url();
    let mut two = url.at(&url.hosts()[1]);
    two.further = vec![url.hosts()[2].clone()];
    for _ in 0..2 {
        let listener = scene
            .setting
            .listener()
            .env("P2PDBG_RENDEZVOUS", two.to_string())
            .start();
        assert_eq!(listener.code().nameplate.node().unwrap().get(), 23);
    }
    drop(foreign);
    let expired = scene.cluster.certify_for(&node, "1s");
    let pem = std::fs::read(expired.state().join(IDENTITY_FILE)).unwrap();
    let identity = Identity::from_pem(&pem).unwrap();
    let authority = scene.url(0).fingerprint.unwrap();
    eventually("the certificate's end", || {
        tls::is_certified(&identity, authority, &node.ip.to_string()).err()
    });
    let why = scene.cluster.refused(&node, expired, &node.ip.to_string());
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn rolling_upgrade_of_all_nodes_loses_no_byte_while_pairs_meet() {
    let Some(scene) = Scene::new("cl-roll", true) else {
        return;
    };
    let Scene {
        setting,
        mut others,
        nodes,
        lab,
        cluster,
        store,
        hosts,
    } = scene;
    let setting = setting.with_path("relay");
    let mut session = Session::begin("cl-roll", lab, setting, PathKind::Relay);
    for index in 0..nodes.len() {
        let began = session.fault("one node upgraded");
        let rendezvous = match index.checked_sub(1) {
            None => &mut session.setting.rendezvous,
            Some(other) => &mut others[other],
        };
        let process = rendezvous.process();
        process.signal(Signal::USR2);
        let served_again = |lines: &[String]| (lines.len() == 2).then(Instant::now);
        let mended = process.find("URL of the successor", served_again);
        // A pair meets at the node that was upgraded just now.
        let url = session.setting.rendezvous.url();
        let url = url.at(&url.hosts()[index]);
        let mut listener = session
            .setting
            .listener()
            .env("P2PDBG_RENDEZVOUS", url.to_string())
            .start();
        let code = listener.code().to_string();
        let mut connector = session
            .setting
            .connector()
            .env("P2PDBG_RENDEZVOUS", url.without_key().to_string())
            .env("P2PDBG_CODE", code)
            .start();
        connector.paired();
        listener.paired();
        connector.stop();
        listener.closed();
        listener.stop();
        session.resumes("one node upgraded", began, mended, "gap ≤ 0.2 s");
    }
    assert_eq!(session.lost(), 0);
    session.finish();
    drop((cluster, store, hosts));
}
