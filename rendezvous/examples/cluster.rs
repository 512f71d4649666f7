//! What the nodes of a cluster and their store bear: 100,000 peers, in virtual time, at three registries over a Redis
//! or Valkey that it starts; they come, meet across nodes, lose a node and meet again.
//!
//! ```text
//! cargo run --release -p p2pdbg-rendezvous --example cluster -- [PAIRS [STORE-PROGRAM]]
//! ```

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// Ends the store with this program.
struct Store(Child);

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, port: u16) -> Result<Store, Box<dyn std::error::Error>> {
    let mut child = Command::new(program)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir", "/tmp"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let store = Store(child);
    let mut lines = BufReader::new(stdout).lines();
    if !lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept"))) {
        return Err(format!("{program} does not start").into());
    }
    std::thread::spawn(move || lines.for_each(drop));
    Ok(store)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pairs = arguments.next().map_or(Ok(50_000), |pairs| pairs.parse())?;
    let program = arguments.next().unwrap_or("redis-server".to_owned());
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        free.local_addr()?.port()
    };
    let store = start(&program, port)?;
    let url = format!("redis://127.0.0.1:{port}");
    let scale = p2pdbg_rendezvous::scale::run(&url, pairs).await?;
    println!("{scale}");
    let used = processor_time(store.0.id()).unwrap_or_default();
    println!(
        "the store: {used:.1} s of processor, {} MiB",
        peak(store.0.id()).unwrap_or_default()
    );
    println!(
        "the nodes: {} MiB",
        peak(std::process::id()).unwrap_or_default()
    );
    Ok(())
}

/// Seconds of processor time, at the usual 100 ticks a second.
fn processor_time(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// The most memory that it has had, in MiB.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            / 1_024,
    )
}
