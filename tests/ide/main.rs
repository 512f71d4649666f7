//! What p2pdbg knows of both ends, and what it makes of it for IDEs.

#[path = "../harness/mod.rs"]
mod harness;

mod configurations;
mod facts;
#[cfg(unix)]
mod nvim;
#[cfg(unix)]
mod project_files;
#[cfg(unix)]
mod push;
mod schema;
#[cfg(unix)]
mod sources;
#[cfg(unix)]
mod users_own;
mod vscode;
