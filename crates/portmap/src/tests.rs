//! The mapper against gateways that misbehave, each a small program on the router of a LAN of its own.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
        mpsc as threads,
    },
    time::Duration,
};

use p2pdbg_natlab::{Host, Lab, Nat, NatKind, Node};
use p2pdbg_net::changes::{Changes, Reason};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, InsidePort, PortMapper, Protocol,
    mapper::{Held, Task},
    probe,
};

/// The port that is to be mapped.
const PORT: u16 = 40_000;

/// An external address that would do.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

const PCP: usize = 2;

/// A LAN of one host, and its router.
struct Home {
    host: Host,
    router: Nat,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    _lab: Lab,
}

impl Home {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new_or_skip(name)?;
        let router = lab
            .internet()
            .unwrap()
            .nat("router", NatKind::PORT_RESTRICTED);
        let router = router.unwrap();
        Some(Self {
            host: router.host("host").unwrap(),
            router,
            said: Arc::default(),
            _lab: lab,
        })
    }

    /// Has `answer` answer what comes to the port of PCP and NAT-PMP.
    fn answer(&self, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        let socket = self.router.udp_socket(any(5351)).unwrap();
        let said = Arc::clone(&self.said);
        serve(socket, move |question| {
            said.lock().unwrap().push(question.to_vec());
            answer(question)
        });
    }

    /// Has the router be found by SSDP, and `answer` be its HTTP server.
    fn serve_http(&self, answer: impl Fn(&str, &mut TcpStream) + Send + 'static) {
        self.serve_http_beside(0, answer);
    }

    /// The same where so many devices are found after the first that never answer by HTTP.
    fn serve_http_beside(
        &self,
        silent: usize,
        answer: impl Fn(&str, &mut TcpStream) + Send + 'static,
    ) {
        let router = self.gateway();
        let listen = |_| self.router.tcp_listener(any(0)).unwrap();
        // The kernel takes connections to the silent ones, and nobody reads what comes on them.
        let devices: Vec<TcpListener> = (0..=silent).map(listen).collect();
        let listener = devices[0].try_clone().unwrap();
        let socket = self.router.udp_socket(any(1900)).unwrap();
        let found = move |device: &TcpListener| {
            let port = device.local_addr().unwrap().port();
            let location = format!("http://{router}:{port}/root.xml");
            format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n").into_bytes()
        };
        serve(socket, move |_| devices.iter().map(found).collect());
        let said = Arc::clone(&self.said);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let request = read_request(&mut connection);
                said.lock().unwrap().push(request.clone().into_bytes());
                answer(&request, &mut connection);
            }
        });
    }

    /// Asks for a mapping once.
    fn ask(&self) -> Option<Held> {
        self.ask_for(InsidePort::Udp(PORT))
    }

    fn ask_for(&self, port: InsidePort) -> Option<Held> {
        on(&self.host, async {
            let (report, _news) = mpsc::channel(8);
            let (_doubts, doubted) = mpsc::channel(1);
            let mut task = Task {
                port,
                wanted: None,
                changes: Changes::silent().subscribe(),
                doubted,
                closing: CancellationToken::new(),
                report,
                nonce: [9; 12],
            };
            task.obtain().await
        })
    }

    fn gateway(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.host.ip().octets();
        Ipv4Addr::new(a, b, c, 1)
    }

    /// What was said to the router that begins so.
    fn heard(&self, start: &[u8]) -> usize {
        let said = self.said.lock().unwrap();
        said.iter()
            .filter(|message| message.starts_with(start))
            .count()
    }

    fn heard_text(&self, text: &str) -> usize {
        let said = self.said.lock().unwrap();
        let texts = said.iter().map(|message| String::from_utf8_lossy(message));
        texts.filter(|message| message.contains(text)).count()
    }
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Does something that needs a runtime on a node.
fn on<T: Send>(node: &Node, work: impl Future<Output = T> + Send) -> T {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(work)
    };
    node.enter(work).unwrap()
}

fn serve(socket: UdpSocket, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for datagram in answer(&buffer[..length]) {
                let _ = socket.send_to(&datagram, from);
            }
        }
    });
}

/// A request, with as much of its body as belongs to it.
fn read_request(connection: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let length = connection.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        let wanted = text
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .and_then(|length| length.parse::<usize>().ok());
        if length == 0 || body.is_some_and(|body| body >= wanted.unwrap_or(0)) {
            return text;
        }
    }
}

fn reply(connection: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let _ = write!(
        connection,
        "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// A PCP or NAT-PMP server that does what was asked, with this external address and lifetime.
fn obliging(question: &[u8], ip: Ipv4Addr, lifetime: u32) -> Vec<u8> {
    let mut answer = question.to_vec();
    match (usize::from(question[0]), question[1]) {
        (PCP, op) => {
            answer[1] |= 0x80;
            answer[3] = 0;
            answer[4..8].copy_from_slice(&lifetime.to_be_bytes());
            if op == 1 {
                answer[44..60].copy_from_slice(&ip.to_ipv6_mapped().octets());
            }
        }
        (_, 0) => {
            answer = vec![0, 128, 0, 0, 0, 0, 0, 1];
            answer.extend(ip.octets());
        }
        (_, _) => {
            answer = vec![0, 129, 0, 0, 0, 0, 0, 1];
            answer.extend(&question[4..6]);
            answer.extend(&question[6..8]);
            answer.extend(lifetime.to_be_bytes());
        }
    }
    answer
}

fn speaks(question: &[u8], version: usize) -> bool {
    usize::from(question[0]) == version
}

#[test]
fn an_obliging_gateway_maps_by_the_preferred_protocol() {
    let Some(home) = Home::new("gw-good") else {
        return;
    };
    home.answer(|question| vec![obliging(question, PUBLIC, 3600)]);
    let held = home.ask().unwrap();
    assert_eq!(held.client.protocol(), Protocol::Pcp);
    assert_eq!(
        held.mapping.external,
        std::net::SocketAddrV4::new(PUBLIC, PORT)
    );
    let report = on(&home.host, probe());
    assert_eq!(report.gateway, Some(home.gateway()));
    let answers = report.protocols.map(|p| p.answer);
    let speaks = |external| Answer::Speaks { external };
    assert_eq!(
        answers,
        [speaks(None), speaks(Some(PUBLIC)), Answer::Silent]
    );
}

#[test]
fn nothing_that_garbage_says_is_a_mapping() {
    let Some(home) = Home::new("gw-garbage") else {
        return;
    };
    home.answer(|question| {
        let mut flood: Vec<Vec<u8>> = (0..50).map(|n| vec![n; usize::from(n) * 20]).collect();
        flood.push(question.to_vec());
        flood.push(obliging(question, PUBLIC, 3600)[..7].to_vec());
        flood.push(Vec::new());
        flood
    });
    home.serve_http(|_, connection| {
        let _ = connection.write_all(&[0xff; 5000]);
    });
    assert!(home.ask().is_none());
}

#[test]
fn an_answer_with_the_nonce_of_another_is_nobodys() {
    let Some(home) = Home::new("gw-nonce") else {
        return;
    };
    home.answer(|question| {
        let mut answer = obliging(question, PUBLIC, 3600);
        if answer.len() > 24 {
            answer[24] ^= 1;
        }
        vec![answer; usize::from(speaks(question, PCP))]
    });
    assert!(home.ask().is_none());
}

#[test]
fn a_mapping_at_an_address_behind_another_nat_is_given_back() {
    let Some(home) = Home::new("gw-double") else {
        return;
    };
    let carrier = Ipv4Addr::new(100, 64, 7, 7);
    home.answer(move |question| vec![obliging(question, carrier, 3600)]);
    assert!(home.ask().is_none());
    // Lifetime 0, in both protocols.
    assert!(home.heard(&[2, 1, 0, 0, 0, 0, 0, 0]) > 0);
    let removals = home.said.lock().unwrap();
    assert!(removals.iter().any(|m| m.len() == 12 && m[8..] == [0; 4]));
}

#[test]
fn a_mapping_without_time_or_without_address_is_none() {
    let Some(home) = Home::new("gw-zero") else {
        return;
    };
    home.answer(|question| match speaks(question, PCP) {
        true => vec![obliging(question, PUBLIC, 0)],
        false => vec![obliging(question, Ipv4Addr::UNSPECIFIED, 3600)],
    });
    assert!(home.ask().is_none());
}

#[test]
fn where_one_protocol_refuses_another_is_taken() {
    let Some(home) = Home::new("gw-refuse") else {
        return;
    };
    home.answer(|question| {
        let mut answer = obliging(question, PUBLIC, 3600);
        if speaks(question, PCP) && question[1] == 1 {
            answer[3] = 8;
        }
        vec![answer]
    });
    let held = home.ask().unwrap();
    assert_eq!(held.client.protocol(), Protocol::NatPmp);
}

const DESCRIPTION: &str = "<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1\
    </serviceType><controlURL>/ctl</controlURL></service></root>";

/// What a UPnP gateway says, given who owns the mapping of a port.
fn upnp(request: &str, connection: &mut TcpStream, owner: impl Fn(&str) -> Option<String>) {
    let between = |start: &str, end: &str| {
        let (_, after) = request.split_once(start)?;
        after.split_once(end).map(|(text, _)| text.to_owned())
    };
    let external = between("<NewExternalPort>", "<").unwrap_or_default();
    if request.starts_with("GET /root.xml") {
        reply(connection, 200, DESCRIPTION);
    } else if request.contains("#GetExternalIPAddress") {
        let address = format!("<NewExternalIPAddress>{PUBLIC}</NewExternalIPAddress>");
        reply(connection, 200, &address);
    } else if request.contains("#GetSpecificPortMappingEntry") {
        match owner(&external) {
            Some(client) => reply(
                connection,
                200,
                &format!(
                    "<NewPortMappingDescription>p2pdbg</NewPortMappingDescription>\
                     <NewInternalPort>{PORT}</NewInternalPort>\
                     <NewInternalClient>{client}</NewInternalClient>"
                ),
            ),
            None => reply(connection, 500, "<errorCode>714</errorCode>"),
        }
    } else {
        reply(connection, 200, "<ok/>");
    }
}

/// As a UPnP gateway has it that has mapped `PORT` to this host.
fn ours(home: &Home) -> impl Fn(&str, &mut TcpStream) + Send + 'static {
    let us = home.host.ip().to_string();
    move |request, connection| upnp(request, connection, |_| Some(us.clone()))
}

#[test]
fn gateway_that_takes_a_lease_for_an_invalid_argument_maps_for_ever_and_is_not_asked_for_a_lease_again()
 {
    for (name, code) in [("gw-402", 402), ("gw-725", 725)] {
        let Some(home) = Home::new(name) else {
            return;
        };
        let ours = ours(&home);
        home.serve_http(move |request, connection| {
            let leased = request.contains("#AddPortMapping")
                && !request.contains("<NewLeaseDuration>0</NewLeaseDuration>");
            match leased {
                true => reply(connection, 500, &format!("<errorCode>{code}</errorCode>")),
                false => ours(request, connection),
            }
        });
        let mut held = home.ask().unwrap();
        let external = held.mapping.external;
        assert_eq!(external, std::net::SocketAddrV4::new(PUBLIC, PORT));
        let port = InsidePort::Udp(PORT);
        let renewed = on(&home.host, held.client.map(port, Some(external)));
        assert_eq!(renewed.unwrap().external, external);
        let leases = home.heard_text("<NewLeaseDuration>3600</NewLeaseDuration>");
        let for_ever = home.heard_text("<NewLeaseDuration>0</NewLeaseDuration>");
        assert_eq!((leases, for_ever), (1, 2));
    }
}

/// The description of a gateway with these services, each of a kind and with a path to control it.
fn described(services: &[(&str, &str)]) -> String {
    let service = |(kind, path): &(&str, &str)| {
        format!(
            "<service><serviceType>urn:schemas-upnp-org:service:{kind}:1</serviceType>\
             <controlURL>{path}</controlURL></service>"
        )
    };
    let services: String = services.iter().map(service).collect();
    format!("<root>{services}</root>")
}

/// Has the router serve these services, where all but `/live` say that this is their external address.
fn serve_beside_idle(home: &Home, services: &[(&str, &str)], idle: Ipv4Addr) {
    let (description, ours) = (described(services), ours(home));
    home.serve_http(move |request, connection| {
        if request.starts_with("GET /root.xml") {
            reply(connection, 200, &description);
        } else if request.starts_with("POST /live ") {
            ours(request, connection);
        } else {
            let address = format!("<NewExternalIPAddress>{idle}</NewExternalIPAddress>");
            reply(connection, 200, &address);
        }
    });
}

#[test]
fn gateway_whose_first_connection_is_not_in_use_maps_at_the_one_that_is() {
    let (ip, ppp) = ("WANIPConnection", "WANPPPConnection");
    for (name, services) in [
        ("gw-idle-ip", [(ip, "/idle"), (ppp, "/live")]),
        ("gw-ppp-first", [(ppp, "/live"), (ip, "/idle")]),
        ("gw-two-wans", [(ip, "/idle"), (ip, "/live")]),
        ("gw-elsewhere", [(ip, "http://192.0.2.7/x"), (ip, "/live")]),
    ] {
        let Some(home) = Home::new(name) else {
            return;
        };
        serve_beside_idle(&home, &services, Ipv4Addr::UNSPECIFIED);
        let held = home.ask().expect(name);
        assert_eq!(*held.mapping.external.ip(), PUBLIC, "{name}");
        assert_eq!(home.heard_text("#AddPortMapping"), 1, "{name}");
    }
}

#[test]
fn gateway_without_a_public_address_is_told_with_the_one_that_it_has() {
    let Some(home) = Home::new("gw-inside") else {
        return;
    };
    let carrier = Ipv4Addr::new(100, 64, 7, 7);
    let services = [("WANIPConnection", "/one"), ("WANPPPConnection", "/two")];
    serve_beside_idle(&home, &services, carrier);
    let [.., upnp] = on(&home.host, probe()).protocols;
    let external = Some(carrier);
    assert_eq!(upnp.answer, Answer::Speaks { external });
}

#[test]
fn gateway_that_was_found_is_told_though_devices_or_connections_after_it_never_answer() {
    let carrier = Ipv4Addr::new(100, 64, 7, 7);
    let answers = format!("<NewExternalIPAddress>{carrier}</NewExternalIPAddress>");
    let ip = "WANIPConnection";
    let hanging = [(ip, "/inside"), (ip, "/2"), (ip, "/3"), (ip, "/4")];
    for (name, devices, services) in [
        ("gw-devices", 3, &hanging[..1]),
        ("gw-services", 0, &hanging[..]),
    ] {
        let Some(home) = Home::new(name) else {
            return;
        };
        let (description, address) = (described(services), answers.clone());
        home.serve_http_beside(devices, move |request, connection| {
            if request.starts_with("GET /root.xml") {
                reply(connection, 200, &description);
            } else if request.starts_with("POST /inside ") {
                reply(connection, 200, &address);
            } else {
                // Nor is another accepted.
                loop {
                    std::thread::park();
                }
            }
        });
        let [.., upnp] = on(&home.host, probe()).protocols;
        let external = Some(carrier);
        assert_eq!(upnp.answer, Answer::Speaks { external }, "{name}");
    }
}

#[test]
fn a_port_that_is_mapped_to_somebody_else_is_left_alone() {
    let Some(home) = Home::new("gw-other") else {
        return;
    };
    let us = home.host.ip().to_string();
    let added: Arc<Mutex<bool>> = Arc::default();
    home.serve_http(move |request, connection| {
        let mut added = added.lock().unwrap();
        *added |= request.contains("#AddPortMapping");
        let ours = added.then(|| us.clone());
        upnp(request, connection, |port| match port == PORT.to_string() {
            true => Some("192.168.77.77".to_owned()),
            false => ours.clone(),
        });
    });
    let held = home.ask().unwrap();
    assert_ne!(held.mapping.external.port(), PORT);
    assert_eq!(home.heard_text("#AddPortMapping"), 1);
    assert_eq!(home.heard_text("#DeletePortMapping"), 0);
}

/// What a UPnP gateway says of the mapping that the user has made to port 443 of this host for a web server.
fn entry_of_the_users(us: Ipv4Addr) -> String {
    format!(
        "<NewInternalPort>443</NewInternalPort><NewInternalClient>{us}</NewInternalClient>\
         <NewPortMappingDescription>my web server</NewPortMappingDescription>"
    )
}

#[test]
fn mapping_that_the_user_has_made_to_the_very_port_is_left_as_it_is() {
    let Some(home) = Home::new("gw-users") else {
        return;
    };
    let users = entry_of_the_users(home.host.ip());
    home.serve_http(move |request, connection| {
        let of_users = request.contains("<NewExternalPort>443<");
        match of_users && request.contains("#GetSpecificPortMappingEntry") {
            true => reply(connection, 200, &users),
            false => upnp(request, connection, |_| None),
        }
    });
    let mut held = home.ask_for(InsidePort::Tcp(443)).unwrap();
    assert_ne!(held.mapping.external.port(), 443);
    let renewed = held
        .client
        .map(InsidePort::Tcp(443), Some(held.mapping.external));
    let renewed = on(&home.host, renewed).unwrap();
    assert_eq!(renewed.external, held.mapping.external);
    on(&home.host, held.client.unmap(InsidePort::Tcp(443))).unwrap();
    let said = home.said.lock().unwrap();
    let said = said.iter().map(|message| String::from_utf8_lossy(message));
    let changes: Vec<_> = said
        .filter(|said| said.contains("#AddPort") || said.contains("#DeletePort"))
        .collect();
    assert_eq!(changes.len(), 3);
    assert!(
        !changes
            .iter()
            .any(|said| said.contains("<NewExternalPort>443<"))
    );
}

#[test]
fn gateway_that_tells_no_description_has_its_mapping_renewed_at_the_same_port() {
    let Some(home) = Home::new("gw-nameless") else {
        return;
    };
    let us = home.host.ip();
    let added: Arc<Mutex<bool>> = Arc::default();
    home.serve_http(move |request, connection| {
        let mut added = added.lock().unwrap();
        *added |= request.contains("#AddPortMapping");
        match *added && request.contains("#GetSpecificPortMappingEntry") {
            true => reply(
                connection,
                200,
                &format!(
                    "<NewInternalPort>{PORT}</NewInternalPort>\
                     <NewInternalClient>{us}</NewInternalClient>"
                ),
            ),
            false => upnp(request, connection, |_| None),
        }
    });
    let mut held = home.ask().unwrap();
    let external = held.mapping.external;
    assert_eq!(external.port(), PORT);
    let renewed = held.client.map(InsidePort::Udp(PORT), Some(external));
    assert_eq!(on(&home.host, renewed).unwrap().external, external);
}

#[test]
fn port_of_a_well_known_service_is_not_asked_for_where_the_gateway_cannot_tell_whose_it_is() {
    let Some(home) = Home::new("gw-web") else {
        return;
    };
    home.answer(|question| vec![obliging(question, PUBLIC, 3600)]);
    assert!(home.ask_for(InsidePort::Tcp(443)).is_none());
    assert!(home.said.lock().unwrap().is_empty());
    assert!(home.ask().is_some());
}

#[test]
fn a_gateway_that_says_yes_and_serves_another_is_not_believed() {
    let Some(home) = Home::new("gw-liar") else {
        return;
    };
    let asked: Arc<Mutex<usize>> = Arc::default();
    home.serve_http(move |request, connection| {
        upnp(request, connection, |_| {
            // Free before it is asked for, another's afterwards.
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            asked.is_multiple_of(2).then(|| "192.168.77.77".to_owned())
        });
    });
    assert!(home.ask().is_none());
    assert_eq!(home.heard_text("#DeletePortMapping"), 0);
}

#[test]
fn a_description_without_end_is_not_read_to_its_end() {
    let Some(home) = Home::new("gw-huge") else {
        return;
    };
    let (ended, end) = std::sync::mpsc::channel();
    home.serve_http(move |_, connection| {
        let mut sent = 0;
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n<root>");
        while sent < 64 << 20 && connection.write_all(&[b'<'; 4096]).is_ok() {
            sent += 4096;
        }
        let _ = ended.send(sent);
    });
    assert!(home.ask().is_none());
    let sent = end.recv().unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[test]
fn a_gateway_that_accepts_and_says_nothing_is_given_up() {
    let Some(home) = Home::new("gw-slow") else {
        return;
    };
    home.serve_http(|_, _| std::thread::sleep(Duration::from_secs(60)));
    assert!(home.ask().is_none());
}

/// An HTTP server of the router's that goes on until it is told to stop, at a port of its own.
struct Stoppable {
    port: u16,
    stop: threads::Sender<()>,
    stopped: threads::Receiver<()>,
}

impl Stoppable {
    fn start(home: &Home, answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = home.router.tcp_listener(any(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, told) = threads::channel();
        let (ended, stopped) = threads::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if told.try_recv().is_ok() {
                    break;
                }
                let mut connection = connection.unwrap();
                let request = read_request(&mut connection);
                answer(&request, &mut connection);
            }
            drop(listener);
            let _ = ended.send(());
        });
        Self {
            port,
            stop,
            stopped,
        }
    }

    /// Nothing listens at its port any more.
    fn stop(self, home: &Home) {
        self.stop.send(()).unwrap();
        let address = SocketAddr::from((home.gateway(), self.port));
        let woken = home.host.enter(move || TcpStream::connect(address));
        woken.unwrap().unwrap();
        self.stopped.recv().unwrap();
    }
}

#[test]
fn gateway_that_is_asked_at_another_port_after_a_restart_has_the_mapping_made_again() {
    let Some(home) = Home::new("gw-restart") else {
        return;
    };
    let router = home.gateway();
    let before = Stoppable::start(&home, ours(&home));
    let at = Arc::new(AtomicU16::new(before.port));
    let socket = home.router.udp_socket(any(1900)).unwrap();
    let found_at = Arc::clone(&at);
    serve(socket, move |_| {
        let port = found_at.load(Ordering::Relaxed);
        let location = format!("http://{router}:{port}/root.xml");
        vec![format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n").into_bytes()]
    });
    on(&home.host, async {
        let changes = Changes::silent();
        let mut mapper = PortMapper::start(InsidePort::Udp(PORT), None, &changes);
        assert_eq!(mapper.external().await, Some((PUBLIC, PORT).into()));
        before.stop(&home);
        let (added, mut is_added) = mpsc::unbounded_channel();
        let ours = ours(&home);
        let after = Stoppable::start(&home, move |request, connection| {
            ours(request, connection);
            if request.contains("#AddPortMapping") {
                let _ = added.send(());
            }
        });
        at.store(after.port, Ordering::Relaxed);
        changes.announce(Reason::Network);
        let again = tokio::time::timeout(Duration::from_secs(60), is_added.recv()).await;
        assert_eq!(again, Ok(Some(())));
    });
}
