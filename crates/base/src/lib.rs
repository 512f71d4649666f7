//! Small types that every part of p2pdbg uses, and that know nothing of any of them.
//!
//! - [`Failure`]: how a run of the program ends badly; [`Untrusted`]: text of strangers, made safe to show.
//! - [`host_port`]: addresses as people write them; [`Opened`]: where a forward is open; [`PeerName`]: what a host
//!   calls itself.
//! - [`Backoff`]: how long to wait before something is tried again; [`Probation`]: for how long it must then go well;
//!   [`Silence`]: when a connection on which nothing is heard is given up; [`Room`]: how much may wait in a queue.
//! - [`duration`]: lengths of time as people write them; [`PathPolicy`], [`HoldPolicy`]: what a user may choose of a
//!   session.
//! - [`in_two_lines`]: what is wrong with a command line; [`version`]: which build a program is; [`descriptors`]: how
//!   many this process may have; [`secret_variables`]: what a child must not inherit; [`say!`]:
//!   what a person is told; [`takes_escapes`], [`shows_colours`]: what a terminal is to be sent.
//!
//! What it leaves out: sockets, clocks, files.

mod backoff;
pub mod descriptors;
pub mod duration;
mod exit_status;
mod failure;
pub mod host_port;
mod opened;
mod path_policy;
mod peer_name;
mod probation;
mod queue_room;
mod refused_words;
pub mod secret_variables;
pub mod tcp_silence;
mod terminal;
pub mod untrusted;
pub mod version;

pub use backoff::Backoff;
pub use descriptors::Descriptors;
pub use failure::{ErrorCode, Failure, Outcome};
pub use host_port::{Bind, BindScope, Host, HostPort, NotAHostPort};
pub use opened::Opened;
pub use path_policy::{HoldPolicy, PathPolicy};
pub use peer_name::PeerName;
pub use probation::Probation;
pub use queue_room::Room;
pub use refused_words::{in_two_lines, value_of};
pub use tcp_silence::Silence;
pub use terminal::{shows_colours, takes_escapes};
pub use untrusted::Untrusted;
