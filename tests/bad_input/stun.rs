//! STUN servers that lie, named with `--stun`: the session goes direct all the same, and nobody else is bothered much.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use p2pdbg_events::PathKind;
use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};

use crate::harness::{
    Setting,
    traffic::{accept, say},
};

/// Two ports of a server that answers every question with lies, none of which is like the last.
struct Liar {
    ports: [SocketAddr; 2],
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Liar {
    fn start(victim: SocketAddr) -> Self {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            socket
        };
        let (sockets, elsewhere) = ([open(), open()], open());
        let ports = [0, 1].map(|n: usize| sockets[n].local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&asked), Arc::clone(&over));
        let task = std::thread::spawn(move || {
            let mut stale = Vec::new();
            while !end.load(Ordering::Relaxed) {
                for socket in &sockets {
                    let mut buffer = [0; 2048];
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                        continue;
                    };
                    let Ok(question) = Message::decode(&buffer[..length]) else {
                        continue;
                    };
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    let id = question.transaction();
                    for mapped in lies(victim, n) {
                        let lie = answer(id, mapped);
                        socket.send_to(&lie, from).unwrap();
                        elsewhere.send_to(&lie, from).unwrap();
                        stale.push(lie);
                    }
                    socket
                        .send_to(&answer(TransactionId([0; 12]), victim), from)
                        .unwrap();
                    for garbage in [&buffer[..length], &[0; 20], &[1; 1400], b"\x01"] {
                        socket.send_to(garbage, from).unwrap();
                    }
                    for old in stale.iter().rev().take(20) {
                        socket.send_to(old, from).unwrap();
                    }
                }
            }
        });
        Self {
            ports,
            asked,
            over,
            task: Some(task),
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.task.take().map(JoinHandle::join);
    }
}

/// The first is what nobody can see through; the others are what no server can mean.
fn lies(victim: SocketAddr, n: usize) -> Vec<SocketAddr> {
    let disagrees = SocketAddr::from(([127, 0, 0, 1], 20_000 + (n % 1_000) as u16 * 7));
    let mut lies: Vec<SocketAddr> = [
        "0.0.0.0:0",
        "0.0.0.0:9",
        "224.0.0.1:9",
        "255.255.255.255:9",
        "127.0.0.1:0",
        "[ff02::1]:9",
        "[::]:9",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    lies.push(if n.is_multiple_of(2) {
        victim
    } else {
        disagrees
    });
    lies
}

fn answer(id: TransactionId, mapped: SocketAddr) -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut answer = Encoder::new(&mut buffer, Class::Success, id).unwrap();
    answer.push(Attribute::XorMappedAddress(mapped)).unwrap();
    answer.finish_with_fingerprint().unwrap().to_vec()
}

#[test]
fn a_stun_server_that_lies_delays_nothing_and_sends_hardly_anything_at_its_victim() {
    let setting = Setting::loopback();
    let victim = UdpSocket::bind("127.0.0.9:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let liar = Liar::start(victim.local_addr().unwrap());
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let stun = liar
        .ports
        .iter()
        .flat_map(|port| ["--stun".to_owned(), port.to_string()]);
    let stun: Vec<String> = stun.collect();
    let forward = ["-L".to_owned(), format!("{port}:localhost:{target}")];
    let listener = setting.listener().args(stun.clone()).args(forward).start();
    let connector = setting.connector_with(&listener.code()).args(stun).start();
    listener.path(PathKind::Direct);
    connector.path(PathKind::Direct);
    listener.forward(port);
    let ide = setting.ide.connect(port);
    say(&ide, &accept(&debuggee), "all the same");
    assert!(liar.asked.load(Ordering::Relaxed) >= 2, "it was asked");
    let mut buffer = [0; 2048];
    let hit = std::iter::from_fn(|| victim.recv_from(&mut buffer).ok()).count();
    assert!(hit <= 2 * 16, "{hit} datagrams at the victim");
}
