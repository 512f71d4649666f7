//! What a key may relay, at two nodes together that share its limits by a real store, with real datagrams.
#![cfg(unix)]

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Refusal, SessionId, ToRendezvous},
    secret::random_bytes,
    url::AccessKey,
};

use crate::{
    operator::ask_json,
    shared_keys::{Cluster, Node, secret_in},
    store_program::programs,
    support::{Peer, Wire, soon},
};

const GIB: u64 = 1 << 30;

/// The longest wait for one more join of an address, in seconds.
const JOINS_AGAIN_S: u32 = 3;

/// What one batch of a flood has, in datagrams of 1,000 bytes.
const BATCH: usize = 40_000;

/// After how long a datagram of which nothing came may have been dropped.
const AGAIN: Duration = Duration::from_millis(200);

/// Two members of a session at one node, and what they send by.
struct Pair {
    relay: SocketAddr,
    session: SessionId,
    members: [Peer; 2],
    wires: [Wire; 2],
}

impl Pair {
    /// A session on the account of this key, once the node has so much of what the key may have.
    async fn at(node: &Node, key: &AccessKey) -> Self {
        soon(async {
            loop {
                match Box::pin(Self::try_at(node, key)).await {
                    Ok(pair) => break pair,
                    Err(Refusal::Limit { .. }) => tokio::time::sleep(Duration::from_secs(1)).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
        .await
    }

    /// A session on the account of this key, if the node lets it be.
    async fn try_at(node: &Node, key: &AccessKey) -> Result<Self, Refusal> {
        let mut listener = node.peer(key).await;
        let nameplate = listener.listen(None).await.nameplate;
        let (mut connector, _) = node.hello(Credential::None).await;
        assert!(matches!(
            connector.hear().await,
            FromRendezvous::Nodes { .. }
        ));
        let theirs = loop {
            connector.say(&ToRendezvous::Join { nameplate }).await;
            match connector.hear().await {
                FromRendezvous::Introduced(theirs) => break theirs,
                // That so many join from one address is refused for less than any limit of a key.
                FromRendezvous::Refused {
                    refusal: Refusal::Limit { retry_after_s },
                    ..
                } if retry_after_s <= JOINS_AGAIN_S => {
                    tokio::time::sleep(Duration::from_secs(retry_after_s.into())).await;
                }
                FromRendezvous::Refused { refusal, .. } => return Err(refusal),
                other => panic!("{other:?}"),
            }
        };
        let ours = listener.introduced().await;
        let session = ours.session;
        for member in [&mut listener, &mut connector] {
            member.say(&ToRendezvous::Confirmed { session }).await;
        }
        let wires = [Wire::new(), Wire::new()];
        for (wire, leg) in wires.iter().zip([&ours.leg, &theirs.leg]) {
            wire.bind_leg(node.at, leg).await;
        }
        Ok(Self {
            relay: node.at,
            session,
            members: [listener, connector],
            wires,
        })
    }

    /// Sends a batch, and says how many bytes have got through since it was asked last.
    async fn flood(&self) -> u64 {
        self.flood_by(1).await
    }

    /// Sends so many batches, one right behind the other, and says the same.
    async fn flood_by(&self, batches: usize) -> u64 {
        let [one, other] = &self.wires;
        for _ in 0..batches {
            one.send_batch(self.relay, &[0xc0; BATCH], 1_000).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        1_000 * other.drain().len() as u64
    }

    /// Sends a batch, all of which gets through.
    async fn passes(&self) {
        let [one, other] = &self.wires;
        one.send_batch(self.relay, &[0xc0; BATCH], 1_000).await;
        let mut left = BATCH / 1_000;
        while left > 0 {
            left -= usize::from(other.receive_from(self.relay).await.len() == 1_000);
        }
    }

    /// Waits until a datagram gets through, behind all that came before it.
    async fn relays(&self) {
        let [one, other] = &self.wires;
        let mark = [&[0xc0][..], &random_bytes::<8>()].concat();
        soon(async {
            loop {
                one.send(self.relay, &mark).await;
                let comes = async { while other.receive_from(self.relay).await != mark {} };
                // The kernel drops what comes to a socket that a flood has filled.
                if tokio::time::timeout(AGAIN, comes).await.is_ok() {
                    break;
                }
            }
        })
        .await;
    }

    async fn leave(mut self) {
        let session = self.session;
        let [listener, connector] = &mut self.members;
        listener.say(&ToRendezvous::Leave { session }).await;
        while !matches!(connector.hear().await, FromRendezvous::PeerLeft { .. }) {}
    }
}

fn policed(node: &Node) -> u64 {
    let status = ask_json(node.state.path(), &["status", "--json"]);
    status["counters"]["policed"].as_u64().unwrap()
}

/// Floods by all of these at once, for so long; the bytes that got through.
async fn flood_for(pairs: &[&Pair], time: Duration) -> u64 {
    let began = Instant::now();
    let mut passed = 0;
    while began.elapsed() < time {
        for pair in pairs {
            passed += pair.flood().await;
        }
    }
    passed
}

#[tokio::test]
async fn bandwidth_of_a_key_holds_for_what_both_nodes_relay_of_it() {
    for program in programs().into_iter().take(1) {
        let cluster = Cluster::started(&program).await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let (url, _) = one.keys(&["add", "team-a", "--relay-mbit", "16"]);
        let key = secret_in(&url);
        let (rate, equal) = (2_000_000.0, 1_000_000.0);
        let [here, there] = [Pair::at(one, &key).await, Pair::at(other, &key).await];
        // What one node does not use, the other may.
        let window = Duration::from_secs(2);
        soon(async {
            loop {
                let began = Instant::now();
                let passed = flood_for(&[&here], window).await as f64;
                let a_second = passed / began.elapsed().as_secs_f64();
                if a_second > 1.3 * equal {
                    println!("one node alone relays {a_second:.0} bytes a second of {rate}");
                    break;
                }
            }
        })
        .await;
        // Both together get no more than there is, from the first moment on: each has a bucket of a tenth of a second,
        // and what the kernel holds at the ends had been let through before.
        let began = Instant::now();
        let passed = flood_for(&[&here, &there], Duration::from_secs(10)).await as f64;
        let elapsed = began.elapsed().as_secs_f64();
        println!(
            "both relay {:.0} bytes a second of {rate}",
            passed / elapsed
        );
        let buckets = 2.0 * 0.1 * rate;
        let on_the_way = 2.0 * 256.0 * 1_024.0;
        assert!(
            passed <= rate * elapsed + buckets + on_the_way,
            "{passed} in {elapsed} s"
        );
        assert!(policed(one) > 0 && policed(other) > 0);
    }
}

#[tokio::test]
async fn month_of_a_key_ends_at_one_node_by_what_another_has_relayed_and_slows_nothing_that_runs() {
    for program in programs().into_iter().take(1) {
        let mut cluster = Cluster::started(&program).await;
        let (url, _) = cluster.nodes[0].keys(&["add", "team-a", "--relay-gib-month", "1"]);
        let key = secret_in(&url);
        // What it has left is less than what the other node will relay.
        let left = 4 * 1_024 * 1_024;
        cluster.nodes[0].end();
        cluster.nodes[0].has_relayed("team-a", GIB - left);
        cluster.start(0);
        cluster.all_know_each_other().await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let there = Pair::at(other, &key).await;
        let before = Pair::at(one, &key).await;
        // Until a node that has begun has heard what the others relay, its part of the month is a guess, and this one
        // is slow: what it has relayed by itself is more than half of the month.
        soon(async {
            loop {
                let held = policed(one);
                before.flood_by(4).await;
                before.relays().await;
                if policed(one) == held {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        })
        .await;
        soon(Box::pin(async {
            let mut passed = 0;
            while passed < 2 * left {
                passed += there.flood().await;
            }
        }))
        .await;
        // A session that begins now is slow, though this node itself has relayed less than the month has.
        soon(Box::pin(async {
            loop {
                let late = Pair::at(one, &key).await;
                for _ in 0..5 {
                    late.flood().await;
                }
                if policed(one) > 0 {
                    break;
                }
                late.leave().await;
            }
        }))
        .await;
        let status = ask_json(one.state.path(), &["status", "--json"]);
        let keys = status["keys"].as_array().unwrap();
        let of_key = keys.iter().find(|key| key["name"] == "team-a").unwrap();
        println!("what the status says of the key: {of_key}");
        // Those that run go on as fast as before, at both nodes. What was held of the late one has been by then.
        before.relays().await;
        there.relays().await;
        let held = [policed(one), policed(other)];
        for pair in [&before, &there] {
            for _ in 0..20 {
                pair.passes().await;
            }
        }
        assert_eq!([policed(one), policed(other)], held);
    }
}

#[tokio::test]
async fn limit_that_shrinks_ends_no_session_that_runs_and_none_begins_until_there_is_room() {
    for program in programs().into_iter().take(1) {
        let cluster = Cluster::started(&program).await;
        let [one, other] = &cluster.nodes[..] else {
            panic!("two nodes");
        };
        let (url, _) = one.keys(&["add", "team-a", "--sessions", "8"]);
        let key = secret_in(&url);
        let mut pairs = Vec::new();
        for node in [one, one, one, other] {
            pairs.push(Pair::at(node, &key).await);
        }
        let file = one.state.path().join("keys.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("sessions = 8"), "{text}");
        fs::write(&file, text.replace("sessions = 8", "sessions = 2")).unwrap();
        one.reload();
        // Of both nodes no more.
        for node in [one, other] {
            soon(async {
                while let Ok(pair) = Pair::try_at(node, &key).await {
                    pair.leave().await;
                }
            })
            .await;
        }
        for pair in &pairs {
            pair.relays().await;
        }
        // When all but one have gone there is room for one, at the node that has none.
        let last = pairs.swap_remove(0);
        for pair in pairs {
            pair.leave().await;
        }
        let again = Pair::at(other, &key).await;
        again.relays().await;
        last.relays().await;
        assert!(Pair::try_at(other, &key).await.is_err());
    }
}
