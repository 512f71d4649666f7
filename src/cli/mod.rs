//! The command line: from strings to finished types.

mod options;

pub use options::{
    Absent, Command, ConnectOptions, ListenOptions, Meeting, PathPolicy, SessionOptions,
};
