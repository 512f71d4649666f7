//! Whether the source files are the same at both ends, and copying those of the IDE's end to the debuggee.
//!
//! Where they differ, breakpoints land on the wrong line. The IDE's end scans a directory (`Tree`): names and what the
//! files hold, within `Limits`, links never followed. In a conversation (`talk`), which is a stream of the session, it
//! tells its names, and the debuggee's end looks for just these (`compare`): first which directory below its root holds
//! what which directory below the other root does (`directory_pair`), since one may be a part of the other. Both say
//! what differs (`Differences`). Nothing is copied unless `p2pdbg push` asks for it, and only into the directory that
//! `connect --accept-push` named (`Inbox`), where the file is that is meant.
//!
//! Left out: what is missing at one end, which moves no breakpoint; and deleting, which nobody asks for.

mod compare;
mod compared_roots;
mod content;
pub mod conversation;
mod directory;
mod directory_pair;
mod extended_attributes;
mod file_metadata;
mod inbox;
mod look_times;
mod name;
mod partial_files;
mod service;
mod tree;
mod walk;

pub use self::{
    compare::Differences,
    compared_roots::SourcesOptions,
    content::Content,
    directory_pair::{Names, Prefixes},
    extended_attributes::copy_extended_attributes,
    inbox::{Begun, Inbox, Incoming, Seen},
    name::{NotAName, SourceName},
    service::{Sources, Told},
    tree::{Installed, Limits, Scan, Tree},
};
