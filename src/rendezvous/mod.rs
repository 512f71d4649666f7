//! The client of the rendezvous: a control connection that is kept up, and what can be wrong with it.

mod dial;
mod error;
mod link;

pub use error::LinkError;
pub use link::{Link, LinkEvent};
