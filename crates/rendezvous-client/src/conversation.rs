//! A conversation with the rendezvous, once there is a connection: messages written and read, and whether it lives.
//!
//! QUIC watches over itself, but with the patience that a slow network needs. So where there is a reason to doubt, here
//! as over TCP, an answer is asked for and waited for.

use std::{
    io,
    time::{Duration, SystemTime},
};

use p2pdbg_base::{
    Silence,
    tcp_silence::{ASK, LATE},
};
use p2pdbg_frames::ReadError;
use p2pdbg_net::deadline::sleep_until;
use p2pdbg_proto::{
    frame,
    rendezvous::{Credential, FromRendezvous, ToRendezvous},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::{
    LinkError,
    connection::{ConnectionGuard, Reader, Writer},
    tcp_fallback::{Reached, TcpFallback},
};

/// How long the rendezvous may take for a message that is written to it.
const WRITE: Duration = Duration::from_secs(25);

/// How long an answer may take after this host's network has changed: TCP does not move to another address, and QUIC
/// may have nowhere to move to.
const DOUBT: Duration = Duration::from_secs(4);

/// The same when there is no route left to the address at which the rendezvous was reached. It may have another one.
const NO_ROUTE: Duration = Duration::from_secs(1);

/// The same while a session needs the rendezvous and there is another way to it: a round trip, and a repetition or two.
const GONE: Duration = Duration::from_millis(1500);

/// The same once TCP has got through beside QUIC, besides two round trips: in an outage that is just over QUIC answers
/// as well, if it is asked then.
const BOTH_PASS: Duration = Duration::from_millis(300);

/// What is to be done to know whether a connection lives.
#[derive(Debug)]
pub(super) enum Due {
    /// Over TCP: ask it, as QUIC does by itself.
    Ask,
    /// Over QUIC: an answer should have come by now.
    Unanswered,
    /// Over TCP: nothing was heard for too long.
    Silent,
    /// Over QUIC: TCP has got through.
    ReachedByTcp,
}

/// What it means that no answer comes over QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The connection is lost.
    Lost,
    /// TCP is tried beside it.
    TryTcp,
    /// TCP takes its place, having got through meanwhile.
    ByTcp,
}

/// A reason to doubt that a connection over QUIC lives.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    meaning: Meaning,
    /// How long an answer may take.
    patience: Duration,
    /// Until when QUIC has to be heard.
    until: Instant,
    /// What had been heard of it before.
    heard: u64,
}

/// What becomes of a doubt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Something was heard.
    Lives,
    Lost,
    /// This process was stopped and may not have read the answer: it is asked once more.
    Open,
}

impl Doubt {
    fn new(meaning: Meaning, patience: Duration, heard: u64, now: Instant) -> Self {
        Self {
            meaning,
            patience,
            until: now + patience,
            heard,
        }
    }

    /// The answer should have come by now; so much has been heard of the connection.
    fn outcome(&self, heard: Option<u64>, now: Instant) -> Outcome {
        match heard {
            Some(heard) if heard != self.heard => Outcome::Lives,
            _ if now.saturating_duration_since(self.until) >= LATE => Outcome::Open,
            _ => Outcome::Lost,
        }
    }
}

/// What is said to the rendezvous, and what is known of the connection by which it is.
pub(super) struct Conversation {
    /// Dropped before the writer, which would end what it says as if that were all.
    rest: ConnectionGuard,
    writer: Writer,
    /// Over TCP: when it was heard last.
    silence: Silence,
    /// Over QUIC.
    doubt: Option<Doubt>,
    beside: TcpFallback,
    rhythm: Interval,
}

impl Conversation {
    /// A conversation on a connection that has just come up, and has this beside it.
    pub(super) fn new(writer: Writer, rest: ConnectionGuard, beside: TcpFallback) -> Self {
        let mut rhythm = interval_at(Instant::now() + ASK, ASK);
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            writer,
            rest,
            silence: Silence::new(now(), DOUBT),
            doubt: None,
            beside,
            rhythm,
        }
    }

    /// Writes a message, and waits until it is handed to the transport.
    pub(super) async fn say(&mut self, message: &ToRendezvous) -> Result<(), LinkError> {
        write(&mut self.writer, message).await
    }

    /// Something was read at that time.
    pub(super) fn on_heard(&mut self, at: Instant) {
        self.silence.on_heard(at.into_std());
    }

    /// This host's network has changed.
    pub(super) async fn on_network_changed(&mut self) -> Result<(), LinkError> {
        self.rest.on_network_changed();
        self.silence.on_new_doubt(now());
        let patience = match self.rest.has_route() {
            true => DOUBT,
            false => NO_ROUTE,
        };
        self.beside.forget();
        self.doubt_quic(Meaning::Lost, patience);
        // By an answer it is known to be there still, and by what asks it learns where this host is now.
        self.rhythm.reset();
        self.ask().await
    }

    /// The owner needs the rendezvous now. If there is another way to it, one that is gone is not worth the patience of
    /// QUIC; and TCP that is silent is soonest mended by another connection.
    pub(super) async fn on_needed(&mut self) -> Result<(), LinkError> {
        self.silence.on_doubt(now());
        let meaning = match self.beside {
            TcpFallback::Hosts => Meaning::Lost,
            TcpFallback::Tcp(_) => Meaning::TryTcp,
            TcpFallback::Nothing => return self.ask().await,
        };
        if self.doubt.is_some() {
            return Ok(());
        }
        self.doubt_quic(meaning, GONE);
        self.ask().await
    }

    /// TCP has got through beside QUIC, which is asked once more.
    async fn on_reached_by_tcp(&mut self) -> Result<(), LinkError> {
        self.doubt_quic(Meaning::ByTcp, BOTH_PASS + 2 * self.rest.rtt());
        self.ask().await
    }

    /// The connection over TCP that takes the place of this one.
    pub(super) fn take_by_tcp(&mut self) -> Option<Reached> {
        self.beside.take()
    }

    /// Waits until something is to be done to know whether the connection lives.
    pub(super) async fn due(&mut self) -> Due {
        let over_tcp = self.rest.must_be_asked();
        tokio::select! {
            () = sleep_until(self.doubt.map(|doubt| doubt.until)) => Due::Unanswered,
            _ = self.rhythm.tick(), if over_tcp => Due::Ask,
            () = sleep_until(Some(self.silence.given_up())), if over_tcp => Due::Silent,
            () = self.beside.reach() => Due::ReachedByTcp,
        }
    }

    /// Does it. Not to be cancelled: it may write.
    ///
    /// # Errors
    /// When the connection does not live.
    pub(super) async fn see_to(&mut self, due: Due) -> Result<(), LinkError> {
        match due {
            Due::Ask => self.ask().await,
            Due::Unanswered => {
                let Some(doubt) = self.doubt.take() else {
                    return Ok(());
                };
                match doubt.outcome(self.rest.heard(), Instant::now()) {
                    Outcome::Lives => {
                        self.beside.forget();
                        Ok(())
                    }
                    Outcome::Open => {
                        self.doubt_quic(doubt.meaning, doubt.patience);
                        self.ask().await
                    }
                    Outcome::Lost => self.on_unanswered(doubt.meaning),
                }
            }
            Due::ReachedByTcp => self.on_reached_by_tcp().await,
            Due::Silent if self.silence.is_lost(now()) => {
                Err(LinkError::Lost("the rendezvous has gone silent".into()))
            }
            Due::Silent => self.ask().await,
        }
    }

    fn on_unanswered(&mut self, meaning: Meaning) -> Result<(), LinkError> {
        match meaning {
            Meaning::TryTcp if self.beside.begin() => Ok(()),
            Meaning::ByTcp => Err(LinkError::ByTcp),
            Meaning::TryTcp | Meaning::Lost => {
                Err(LinkError::Lost("it is not heard any more".into()))
            }
        }
    }

    /// Ends it so that everything that was written is read.
    pub(super) async fn close(self, read_to_end: impl Future<Output = ()>) {
        self.rest.close(self.writer, read_to_end).await;
    }

    /// It is over, for this reason.
    pub(super) fn abandon(&self, error: &LinkError) {
        if let LinkError::Moved { .. } = error {
            self.rest.move_on();
        }
    }

    async fn ask(&mut self) -> Result<(), LinkError> {
        self.say(&ToRendezvous::Ping).await
    }

    /// Waits so long for a datagram, where QUIC carries it.
    fn doubt_quic(&mut self, meaning: Meaning, patience: Duration) {
        let heard = self.rest.heard();
        self.doubt = heard.map(|heard| Doubt::new(meaning, patience, heard, Instant::now()));
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// What who has shown the access key says of its clock, so that the rendezvous can doubt its own.
pub(super) fn clock(hello: &ToRendezvous) -> Option<ToRendezvous> {
    let ToRendezvous::Hello {
        credential: Credential::AccessKey(_),
        ..
    } = hello
    else {
        return None;
    };
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let unix_s = since.as_secs();
    Some(ToRendezvous::Clock { unix_s })
}

/// Writes a message.
async fn write(writer: &mut Writer, message: &ToRendezvous) -> Result<(), LinkError> {
    match timeout(WRITE, p2pdbg_frames::write(writer, message)).await {
        Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidInput => {
            Err(LinkError::Local(e.to_string()))
        }
        Ok(written) => written.map_err(|e| LinkError::broken(&e)),
        Err(_) => Err(LinkError::Lost("the rendezvous takes nothing".into())),
    }
}

/// Reads a message.
pub(super) async fn read(reader: &mut Reader) -> Result<FromRendezvous, LinkError> {
    let body = match p2pdbg_frames::read_body(reader, frame::MAX_BODY).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(LinkError::broken(&io::ErrorKind::UnexpectedEof.into())),
        Err(ReadError::Stream(e)) => return Err(LinkError::broken(&e)),
        Err(ReadError::Malformed(e)) => return Err(LinkError::lost(&e)),
    };
    frame::decode_extensible(&body).map_err(|e| LinkError::lost(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_that_is_missed_long_after_its_time_may_not_have_been_read() {
        let doubt = Doubt::new(Meaning::Lost, DOUBT, 7, Instant::now());
        assert_eq!(doubt.outcome(Some(7), doubt.until), Outcome::Lost);
        let late = doubt.until + LATE;
        assert_eq!(doubt.outcome(Some(7), late), Outcome::Open);
        for now in [doubt.until, late] {
            assert_eq!(doubt.outcome(Some(8), now), Outcome::Lives);
        }
    }
}
