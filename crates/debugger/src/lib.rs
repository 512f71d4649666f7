//! What p2pdbg knows of each debugger, in one table.
//!
//! [`Preset`] names a debugger's way of connecting on the command line; [`Preset::debugger`] is its row: port,
//! direction, what becomes of a connection while nobody listens, what it speaks, how it is started, by which files it
//! is found, how the IDEs are set up for it, and what people stumble over. Whoever decides anything by the kind of
//! debugger asks the row. A new debugger is a row of `presets`: the program's help and the IDEs' configurations come
//! from it, and what it must have besides (the README's row, a page of docs/ide, a type of VS Code's in the extension)
//! fails a test if it is forgotten.
//!
//! What it leaves out: recognising a debugger by what it says (`p2pdbg-inspect`), and doing anything at all.

pub mod ide;
mod preset_names;
mod presets;
mod row;

pub use preset_names::NotAPreset;
pub use presets::Preset;
pub use row::{Debugger, FirstWord, ListeningPort, Listens, Presence, Trap, WhileAbsent};
