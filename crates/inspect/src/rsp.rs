//! The GDB remote serial protocol: which of the two front ends it is, when the program runs, what a step costs.

use std::time::Instant;

use super::debugger_advice::{End, Knowledge};

/// What is kept of a packet, in bytes: its command.
const KEPT: usize = 512;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Rsp {
    from_ide: Packet,
    from_debuggee: Packet,
}

/// A packet that is being read: `$DATA#CC`.
#[derive(Debug, Default)]
struct Packet {
    /// The beginning of what is between `$` and `#`.
    data: Option<Vec<u8>>,
}

impl Packet {
    /// The next packet in `bytes`, whose front it takes off.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Vec<u8>> {
        while let [first, rest @ ..] = *bytes {
            *bytes = rest;
            match (first, &mut self.data) {
                (b'$', _) => self.data = Some(Vec::new()),
                (b'#', data) => {
                    if let Some(data) = data.take() {
                        return Some(data);
                    }
                }
                (byte, Some(data)) if data.len() < KEPT => data.push(*byte),
                _ => {}
            }
        }
        None
    }
}

impl Rsp {
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: End,
        mut bytes: &[u8],
        knowledge: &mut Knowledge,
    ) -> Option<()> {
        loop {
            let packet = match from {
                End::Ide => self.from_ide.next(&mut bytes),
                End::Debuggee => self.from_debuggee.next(&mut bytes),
            };
            let Some(packet) = packet else {
                return Some(());
            };
            match from {
                End::Ide => on_command(now, &packet, knowledge),
                End::Debuggee => {
                    knowledge.on_answer(now);
                    on_reply(&packet, knowledge);
                }
            }
        }
    }
}

fn on_command(now: Instant, packet: &[u8], knowledge: &mut Knowledge) {
    let stepping = packet.starts_with(b"vCont;s")
        || packet.starts_with(b"vCont;r")
        || packet.first() == Some(&b's');
    let running = stepping
        || packet.starts_with(b"vCont;c")
        || matches!(packet.first(), Some(b'c' | b'C' | b'S'));
    // The front ends step over a line in several steps of the machine: those go on with the step that there is.
    let is_going_on = knowledge.round_trips.is_stepping(now);
    knowledge.on_request(now, stepping && !is_going_on);
    if running {
        knowledge.on_running();
    }
    let name = if packet.starts_with(b"QThreadSuffixSupported") {
        Some("lldb")
    } else if packet.starts_with(b"qSupported:") && contains(packet, b"multiprocess+") {
        Some("gdb")
    } else {
        None
    };
    if let Some(name) = name {
        knowledge.learn(|debugger| debugger.ide = Some(name.to_owned()));
    }
}

fn on_reply(packet: &[u8], knowledge: &mut Knowledge) {
    match packet.first() {
        Some(b'T' | b'S') if packet.len() >= 3 => {
            // thread:pPID.TID, in hexadecimal.
            let pid = find(packet, b"thread:p").and_then(|at| {
                let rest = &packet[at + 8..];
                let digits = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                let text = std::str::from_utf8(&rest[..digits]).ok()?;
                u32::from_str_radix(text, 16).ok()
            });
            knowledge.learn(|debugger| debugger.pid = pid.or(debugger.pid));
            knowledge.on_stopped(None);
        }
        Some(b'W' | b'X') if packet.len() >= 3 && packet[1].is_ascii_hexdigit() => {
            knowledge.on_ended();
        }
        _ => {}
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
