//! Where something runs: on this host, or on a node of a lab.

use std::{
    ffi::OsStr,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// A host of a [`Setting`](super::Setting).
#[derive(Clone, Debug)]
pub enum Place {
    /// This host itself.
    Here,
    /// A node of a lab.
    #[cfg(target_os = "linux")]
    Node(p2pdbg_natlab::Node),
}

impl Place {
    /// A command that runs there, and on Linux not longer than the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let on = |program: &OsStr| match self {
            Self::Here => Command::new(program),
            #[cfg(target_os = "linux")]
            Self::Node(node) => node.command(program),
        };
        if !dies_with_us() {
            return on(program.as_ref());
        }
        let mut command = on("setpriv".as_ref());
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Does something that opens sockets there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Here => work(),
            #[cfg(target_os = "linux")]
            Self::Node(node) => node.enter(work).unwrap(),
        }
    }

    /// Listens at a port of its loopback.
    pub fn listen(&self, port: u16) -> TcpListener {
        self.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .unwrap_or_else(|error| panic!("cannot listen at port {port}: {error}"))
    }

    /// Connects to a port of its loopback.
    pub fn connect(&self, port: u16) -> TcpStream {
        self.try_connect(port)
            .unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    /// Connects to a port of its loopback, or not.
    pub fn try_connect(&self, port: u16) -> io::Result<TcpStream> {
        self.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
    }

    /// A UDP socket at any port of an address.
    pub fn udp(&self, ip: impl Into<IpAddr>) -> UdpSocket {
        let any = SocketAddr::new(ip.into(), 0);
        self.enter(|| UdpSocket::bind(any)).unwrap()
    }
}

/// Whether there is a program that has another killed when a test is: by ^C, say, before it can clean up.
fn dies_with_us() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let asked = || Command::new("setpriv").arg("--version").output().is_ok();
    *ANSWER.get_or_init(|| cfg!(target_os = "linux") && asked())
}

/// Port numbers that nobody else uses while this value lives.
///
/// They are below those that the operating system gives to sockets that ask for any. Tests in other processes keep
/// off them because each is marked by a UDP socket; nothing under test uses UDP there.
#[derive(Debug, Default)]
pub struct Ports {
    marks: Mutex<Vec<UdpSocket>>,
}

impl Ports {
    /// One more.
    pub fn next(&self) -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        const FIRST: u16 = 20_000;
        const COUNT: u16 = 12_000;
        let start = u16::try_from(std::process::id() % 600).unwrap() * 20;
        for _ in 0..COUNT {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
            let port = FIRST + offset % COUNT;
            let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let is_free = |ip: IpAddr| {
                let bound = TcpListener::bind((ip, port));
                !matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse)
            };
            if is_free(Ipv4Addr::UNSPECIFIED.into())
                && is_free(std::net::Ipv6Addr::LOCALHOST.into())
            {
                self.marks.lock().unwrap().push(mark);
                return port;
            }
        }
        panic!("no port is free");
    }

    /// The first of so many in a row.
    pub fn next_row(&self, length: u16) -> u16 {
        let mut first = self.next();
        let mut last = first;
        while last - first + 1 < length {
            let next = self.next();
            if next != last.wrapping_add(1) {
                first = next;
            }
            last = next;
        }
        first
    }
}
