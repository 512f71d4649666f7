//! The end of a local program: its last bytes are delivered before the session ends.

/// Whether somebody waits for the streams to deliver what is left.
#[derive(Debug, Default)]
pub(super) struct LastBytes {
    wanted: bool,
    /// Ports that have not handed over the connections that wait in the kernel: a program may have connected, written
    /// and ended before anybody came to accept.
    unswept: usize,
}

impl LastBytes {
    /// Begins to wait, for so many ports and for the streams.
    pub(super) fn begin(&mut self, ports: usize) {
        self.wanted = true;
        self.unswept = ports;
    }

    /// One port has no more connections.
    pub(super) fn on_swept(&mut self) {
        self.unswept = self.unswept.saturating_sub(1);
    }

    /// Whether the owner waits for the last bytes to be delivered.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether that has come to its end now, because all is `delivered` or it takes too long.
    pub(super) fn poll_done(&mut self, delivered: bool, expired: bool) -> bool {
        let done = self.wanted && (expired || (self.unswept == 0 && delivered));
        if done {
            self.wanted = false;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_ends_once_ports_are_swept_and_streams_delivered() {
        let mut drain = LastBytes::default();
        assert!(!drain.poll_done(true, false), "nobody waits");
        drain.begin(2);
        drain.on_swept();
        assert!(!drain.poll_done(true, false), "one port is not swept");
        drain.on_swept();
        assert!(!drain.poll_done(false, false), "bytes are left");
        assert!(drain.poll_done(true, false));
        assert!(!drain.poll_done(true, false), "it is told once");
    }

    #[test]
    fn drain_that_takes_too_long_ends_with_bytes_left() {
        let mut drain = LastBytes::default();
        drain.begin(1);
        assert!(drain.poll_done(false, true));
        assert!(!drain.is_wanted());
    }
}
