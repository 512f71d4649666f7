//! The variables of the environment that hold secrets: what is started here must not inherit them.

/// The URL of the rendezvous, which holds an access key.
pub const RENDEZVOUS: &str = "P2PDBG_RENDEZVOUS";

/// The code of a session, which lets whoever has it in.
pub const CODE: &str = "P2PDBG_CODE";

/// All of them.
pub const ALL: [&str; 2] = [RENDEZVOUS, CODE];
