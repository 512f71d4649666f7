//! A resolver that answers for one family of addresses and never for the other, as boxes do that know no AAAA.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::PathBuf,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use p2pdbg_natlab::{Host, Lab};

use super::{
    DELAY,
    harness::{RendezvousCommand, Setting, Transcript},
    place,
};

const NAME: &str = "rdv.lab.example";

/// What the system waits for is 10 s at least, so this is far from it for a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// The resolver of a host, on the host itself. It knows one name.
struct Resolver {
    socket: UdpSocket,
    serving: Option<JoinHandle<()>>,
    /// What `ip netns exec` puts in the place of files in /etc is in here.
    directory: PathBuf,
}

impl Resolver {
    const PLACE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

    /// One that answers questions for addresses of the family of `known` alone.
    fn start(host: &Host, known: IpAddr) -> Self {
        let directory = PathBuf::from("/etc/netns").join(host.namespace());
        fs::create_dir_all(&directory).unwrap();
        let nameserver = format!("nameserver {}\n", Self::PLACE.0);
        fs::write(directory.join("resolv.conf"), nameserver).unwrap();
        let socket = host.udp_socket(Self::PLACE).unwrap();
        let serving = {
            let socket = socket.try_clone().unwrap();
            std::thread::spawn(move || serve(&socket, known))
        };
        Self {
            socket,
            serving: Some(serving),
            directory,
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Nothing at all has it end.
        let _ = self.socket.send_to(&[], Self::PLACE);
        let _ = self.serving.take().map(JoinHandle::join);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn serve(socket: &UdpSocket, known: IpAddr) {
    let (kind, data) = match known {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (28, ip.octets().to_vec()),
    };
    let mut buffer = [0; 512];
    while let Ok((length @ 12.., from)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let end = query[12..].iter().position(|byte| *byte == 0);
        let Some(question) = end.and_then(|end| query.get(12..12 + end + 5)) else {
            continue;
        };
        if !question.ends_with(&[0, kind, 0, 1]) {
            continue;
        }
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend(question);
        // The name of the question, IN, a minute.
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        answer.extend(&data);
        let _ = socket.send_to(&answer, from);
    }
}

/// How long `listen` takes to have its code where the rendezvous' name has an address of one family.
fn listens_soon(lab: &str, family: impl Fn(&Host) -> IpAddr) {
    let Some(lab) = Lab::new_or_skip(lab) else {
        return;
    };
    let net = lab.dual_stack_internet().unwrap().with_delay(DELAY);
    let [rdv, ide] = ["rdv", "ide"].map(|name| net.host(name).unwrap());
    let _resolver = Resolver::start(&ide, family(&rdv));
    let (transcript, public) = (Transcript::new(), place(&rdv));
    let rendezvous = RendezvousCommand::new(&public, "[::]:3478", NAME, &transcript).start();
    let setting = Setting::at(place(&ide), place(&ide), public, rendezvous, transcript);
    let began = Instant::now();
    let listener = setting.listener().start();
    listener.code();
    let took = began.elapsed();
    println!("a code after {} ms", took.as_millis());
    assert!(took < SOON, "{took:?}");
}

#[test]
fn name_whose_aaaa_is_never_answered_keeps_nobody_waiting() {
    listens_soon("names-v4", |rdv| rdv.ip().into());
}

#[test]
fn name_whose_a_is_never_answered_keeps_nobody_waiting() {
    listens_soon("names-v6", |rdv| rdv.ip6().unwrap().into());
}
