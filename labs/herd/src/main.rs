//! Gathers peers at a rendezvous, ends it, starts it again, and says how they came back.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use std::path::PathBuf;

    use clap::{Parser, ValueEnum};
    use rustix::process::Signal;

    #[derive(Clone, Copy, ValueEnum)]
    enum End {
        /// SIGKILL, as in a crash.
        Kill,
        /// SIGTERM, as in a restart.
        Term,
    }

    /// Gathers peers at a rendezvous, ends it, starts it again, and says how they came back.
    #[derive(Parser)]
    struct Cli {
        /// How many peers there are
        #[arg(long, default_value_t = 2_000)]
        peers: usize,
        /// How the rendezvous ends
        #[arg(long, value_enum)]
        end: End,
        /// The rendezvous [default: p2pdbg-rendezvous beside this program]
        #[arg(long)]
        program: Option<PathBuf>,
    }

    let cli = Cli::parse();
    let beside = std::env::current_exe()?.with_file_name("p2pdbg-rendezvous");
    let program = cli.program.unwrap_or(beside);
    let signal = match cli.end {
        End::Kill => Signal::KILL,
        End::Term => Signal::TERM,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(async {
        // A task of the runtime's threads, as everything beside it.
        tokio::spawn(async move { p2pdbg_herd::run(&program, cli.peers, signal).await }).await?
    })?;
    println!("{report}");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the rendezvous is watched through /proc, which is Linux only");
}
