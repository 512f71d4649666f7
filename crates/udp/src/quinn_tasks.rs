//! quinn's own tasks, and what happens when one of them panics.
//!
//! A task of quinn's drives each endpoint. If it panics it holds a lock, and whatever comes by afterwards, destructors
//! first, panics for that: the process ends in the midst of an unwinding, with pages of words that tell nobody
//! anything. There is nothing to be saved at that point. So it ends at once instead, with one line and a status of its
//! own, by which a service manager starts it again.
//!
//! One cause is known: quinn-proto 0.11 indexes its table of connections with one that has drained, "invalid key", when
//! a connection that was reset is told of another socket before its own task has run. Sockets are therefore replaced
//! under quinn's feet, and [`Endpoint::rebind`](quinn::Endpoint::rebind) is not used.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    io::{self, Write},
    net::UdpSocket,
    panic::PanicHookInfo,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// The status with which a process ends whose QUIC has broken: `EX_SOFTWARE` of sysexits.h.
pub const BROKEN: i32 = 70;

thread_local! {
    /// Whether this thread runs one of quinn's tasks right now. Nothing but the panic hook asks.
    static DRIVES: Cell<bool> = const { Cell::new(false) };
}

/// Tokio for quinn, as [`TokioRuntime`], which knows which tasks are quinn's. For every endpoint.
#[derive(Debug)]
pub struct WatchedRuntime;

impl Runtime for WatchedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(QuinnTask(future));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A task of one of quinn's endpoints or connections.
struct QuinnTask(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for QuinnTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        DRIVES.set(true);
        let polled = self.0.as_mut().poll(cx);
        DRIVES.set(false);
        polled
    }
}

/// From now on a panic in one of quinn's tasks ends the process with a line that begins with `program`, and with the
/// status [`BROKEN`]. Other panics are told as before. To be called once, by the program itself.
pub fn end_with_them(program: &'static str) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !DRIVES.get() {
            return before(panic);
        }
        // A second panic, since nobody reads there any more, would end it by another status.
        let said = format!("{program}: {}\n", Broken(panic));
        let _ = io::stderr().write_all(said.as_bytes());
        std::process::exit(BROKEN);
    }));
}

/// What the person reads who finds the process gone.
struct Broken<'a>(&'a PanicHookInfo<'a>);

impl fmt::Display for Broken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.0.payload_as_str().unwrap_or("no reason given");
        f.write_str("a fault in the QUIC library ends this process, which can be started again: ")?;
        write!(f, "{}", why.escape_debug())?;
        match self.0.location() {
            Some(at) => write!(f, " (line {} of {})", at.line(), at.file()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::IoSliceMut,
        net::SocketAddr,
        process::{Command, Output},
    };

    use quinn::{
        Endpoint, EndpointConfig, UdpPoller,
        udp::{RecvMeta, Transmit},
    };

    use super::*;

    /// By which a test knows that it runs in the process that is to end.
    const WITHIN: &str = "P2PDBG_TEST_ENDS";

    /// Breaks whoever receives from it.
    #[derive(Debug)]
    struct Breaking;

    impl AsyncUdpSocket for Breaking {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unreachable!("nothing is sent")
        }

        fn try_send(&self, _transmit: &Transmit<'_>) -> io::Result<()> {
            Ok(())
        }

        fn poll_recv(
            &self,
            _cx: &mut Context<'_>,
            _bufs: &mut [IoSliceMut<'_>],
            _meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            panic!("invalid key\n")
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }

    /// What becomes of a process that runs this test alone.
    fn run(test: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("quinn_tasks::tests::{test}"),
                "--nocapture",
            ])
            .env(WITHIN, "1")
            .output()
            .unwrap()
    }

    #[tokio::test]
    async fn driver_of_an_endpoint_that_panics_ends_the_process_with_one_line_and_a_status() {
        if std::env::var_os(WITHIN).is_none() {
            let output = run(
                "driver_of_an_endpoint_that_panics_ends_the_process_with_one_line_and_a_status",
            );
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(BROKEN), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(
                said.starts_with("program: a fault in the QUIC library"),
                "{said}"
            );
            assert!(said.contains(r"invalid key\n"), "{said}");
            return;
        }
        end_with_them("program");
        let runtime = Arc::new(WatchedRuntime);
        let config = EndpointConfig::default();
        let socket = Arc::new(Breaking);
        let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, runtime).unwrap();
        endpoint.wait_idle().await;
        std::future::pending().await
    }

    #[tokio::test]
    async fn panic_in_a_task_of_the_program_ends_that_task_alone() {
        if std::env::var_os(WITHIN).is_none() {
            let output = run("panic_in_a_task_of_the_program_ends_that_task_alone");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{said}");
            assert!(said.contains("only a task"), "{said}");
            return;
        }
        end_with_them("program");
        assert!(tokio::spawn(async { panic!("only a task") }).await.is_err());
    }
}
