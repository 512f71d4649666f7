//! What the hub tells the datapath.

use std::{sync::Arc, time::Instant};

use p2pdbg_proto::{relay::LegGrant, rendezvous::SessionId};

use crate::{relay_allowance::LegMeter, ticket_codec::Ticket};

/// What the hub tells the datapath.
#[derive(Debug)]
pub(crate) enum Command {
    /// Open a session's legs, the listener's first, each with what measures it.
    Open(SessionId, [LegGrant; 2], [Arc<LegMeter>; 2]),
    /// Open those of the session of another node that this ticket is for, until then.
    OpenGuest(Box<Ticket>, [Arc<LegMeter>; 2], Instant),
    /// Let in no session of another node from now on, or let them in again. Those that there are go on.
    Drain(bool),
    /// Close them, now or in a while.
    Close {
        session: SessionId,
        /// In a while: datagrams may still pass, and the next session of the two takes the legs over.
        linger: bool,
    },
}
