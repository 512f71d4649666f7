//! The names of the tables, lines and columns that targets are held against.

pub(crate) const PING_200: &str = "200 B there and back, µs";
pub(crate) const PING_2K: &str = "2 KB there and back, µs";
pub(crate) const BULK: &str = "Gbit/s";
/// Of all programs that carry, at both ends and between.
pub(crate) const PING_COST: &str = "processor time for a message there and back, µs";
pub(crate) const BULK_COST: &str = "processor time for a MiB, ms";
pub(crate) const UNDER_BULK: &str =
    "200 B there and back while another connection carries bulk, µs";
pub(crate) const UNDER_BULK_SHAPED: &str =
    "the same on a link of 100 Mbit/s with an RTT of 20 ms, µs";
pub(crate) const STEP: &str = "one step, ms";
/// The line of a debuggee that `p2pdbg connect -- COMMAND` starts.
pub(crate) const AS_COMMAND: &str = "debugpy --listen, started by p2pdbg connect, direct";
pub(crate) const STARTED: &str = "ms since the start of p2pdbg connect";
/// What the links of the lab take, beside [`SECOND`].
pub(crate) const ROUND_TRIP: &str = "raw TCP: a message on a connection that stands, as far";
pub(crate) const SECOND: &str = "a second connection: ms until its first answer";
pub(crate) const TO_DEBUGGEE: &str = "first byte at the debuggee";
pub(crate) const AND_BACK: &str = "answered beside the IDE";
pub(crate) const DIRECT_PATH: &str = "direct path";
pub(crate) const FAR: &str = "peer RTT 40 ms, rendezvous as far";
pub(crate) const HALF: &str = "peer RTT 40 ms, rendezvous half as far";
pub(crate) const LONG_FAT: &str = "Mbit/s";
pub(crate) const LOSSY: &str = "RTT 40 ms, 1 % loss";
pub(crate) const RELAY_COST: &str = "for each second of the relay's processor time";
/// What the relay alone does with queues that filled while it stood still.
pub(crate) const RELAY_RATE: &str = "in a second, with all cores";
pub(crate) const RELAY_SLEEPS: &str = "for each packet";
pub(crate) const LATENCY: &str = "1,200 B there and back, µs, p50";
pub(crate) const IDLE_PEERS: &str = "an idle peer";
pub(crate) const CROWD: &str = "an idle rendezvous";
