//! Measures p2pdbg beside what people use today, and writes docs/BENCHMARKS.md; `scripts/bench` runs it.
//!
//! Every row sets up its own network namespaces, starts the programs there and measures them in turns, so that whatever
//! else the machine does meets all of them alike. Only ratios within one run mean anything. It needs root.

#[cfg(target_os = "linux")]
mod contenders;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod document;
#[cfg(target_os = "linux")]
mod number;
mod plot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod results;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod site;
#[cfg(target_os = "linux")]
mod stats;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(target_os = "linux")]
mod tools;
#[cfg(target_os = "linux")]
mod traffic;
#[cfg(target_os = "linux")]
mod vitals;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("network namespaces are Linux only");
}
