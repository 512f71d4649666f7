//! What p2pdbg knows of each debugger, in one table.
//!
//! [`Preset`] names a debugger's way of connecting on the command line; [`Preset::debugger`] is its row: port,
//! direction, what becomes of a connection while nobody listens, what it speaks, how it is started, by which files it
//! is found, and what people stumble over. Whoever decides anything by the kind of debugger asks the row. A new
//! debugger is a variant of [`Preset`] and a row of [`table`]; the IDEs' configurations (`ide` of the program), the
//! README's row and the page of docs/ide follow, and what is forgotten does not compile or fails a test.
//!
//! What it leaves out: recognising a debugger by what it says (`p2pdbg-inspect`), and doing anything at all.

mod preset;
pub mod table;

pub use preset::{NotAPreset, Preset};
pub use table::{Debugger, FirstWord, ListeningPort, Listens, Presence, Trap, WhileAbsent};
