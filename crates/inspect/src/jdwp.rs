//! JDWP: which virtual machine it is, when its program runs, what a step costs.
//!
//! Packets have their length, an id, flags, and a command (two numbers) or an error code; see "Java Debug Wire
//! Protocol", JDK documentation.

use std::time::Instant;

use super::{
    debugger_advice::{End, Knowledge},
    text::cut,
};

/// What each end says first.
const HANDSHAKE: usize = 14;

/// Length, id, flags and command.
const HEADER: usize = 11;

/// What is kept of the data of a packet, in bytes.
const KEPT: usize = 1 << 10;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Jdwp {
    from_ide: Packets,
    from_debuggee: Packets,
    /// The request for the version that was not answered yet.
    version_asked: Option<u32>,
}

#[derive(Debug, Default)]
struct Packets {
    /// Bytes of the handshake that have been passed.
    greeted: usize,
    header: Vec<u8>,
    data: Vec<u8>,
    left: usize,
}

struct Packet {
    id: u32,
    is_reply: bool,
    command: (u8, u8),
    data: Vec<u8>,
}

impl Packets {
    /// The next packet in `bytes`, whose front it takes off; an error if there can be none.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet>, ()> {
        let greeting = (HANDSHAKE - self.greeted).min(bytes.len());
        self.greeted += greeting;
        *bytes = &bytes[greeting..];
        loop {
            if self.header.len() < HEADER {
                let Some((first, rest)) = bytes.split_first() else {
                    return Ok(None);
                };
                self.header.push(*first);
                *bytes = rest;
                if self.header.len() == HEADER {
                    let length = usize::try_from(number(&self.header)).unwrap_or(usize::MAX);
                    self.left = length.checked_sub(HEADER).ok_or(())?;
                } else {
                    continue;
                }
            }
            let (data, rest) = bytes.split_at(self.left.min(bytes.len()));
            *bytes = rest;
            self.left -= data.len();
            let room = KEPT - self.data.len();
            self.data.extend_from_slice(&data[..data.len().min(room)]);
            if self.left > 0 {
                return Ok(None);
            }
            let header = std::mem::take(&mut self.header);
            return Ok(Some(Packet {
                id: number(&header[4..]),
                is_reply: header[8] & 0x80 != 0,
                command: (header[9], header[10]),
                data: std::mem::take(&mut self.data),
            }));
        }
    }
}

impl Jdwp {
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: End,
        mut bytes: &[u8],
        knowledge: &mut Knowledge,
    ) -> Option<()> {
        loop {
            let packets = match from {
                End::Ide => &mut self.from_ide,
                End::Debuggee => &mut self.from_debuggee,
            };
            let Some(packet) = packets.next(&mut bytes).ok()? else {
                return Some(());
            };
            match from {
                End::Ide => self.on_command(now, &packet, knowledge),
                End::Debuggee => {
                    knowledge.on_answer(now);
                    self.on_answer(&packet, knowledge);
                }
            }
        }
    }

    fn on_command(&mut self, now: Instant, packet: &Packet, knowledge: &mut Knowledge) {
        // EventRequest.Set of a single step.
        let is_step = packet.command == (15, 1) && packet.data.first() == Some(&1);
        knowledge.on_request(now, is_step && !packet.is_reply);
        match packet.command {
            _ if packet.is_reply => {}
            // VirtualMachine.Version.
            (1, 1) => self.version_asked = Some(packet.id),
            // VirtualMachine.Resume, ThreadReference.Resume.
            (1, 9) | (11, 3) => knowledge.on_running(),
            _ => {}
        }
    }

    fn on_answer(&mut self, packet: &Packet, knowledge: &mut Knowledge) {
        if packet.is_reply && self.version_asked == Some(packet.id) {
            self.version_asked = None;
            if packet.command == (0, 0) {
                on_version(&packet.data, knowledge);
            }
        } else if !packet.is_reply && packet.command == (64, 100) {
            on_events(&packet.data, knowledge);
        }
    }
}

/// A composite event: who is suspended, how many events, and the first event's kind.
fn on_events(data: &[u8], knowledge: &mut Knowledge) {
    let (Some(suspended), Some(kind)) = (data.first(), data.get(5)) else {
        return;
    };
    match (suspended, kind) {
        // The virtual machine has died.
        (_, 99) => knowledge.on_ended(),
        (1 | 2, _) => knowledge.on_stopped(None),
        _ => {}
    }
}

/// The answer to VirtualMachine.Version: description, two numbers, the machine's version and name.
fn on_version(data: &[u8], knowledge: &mut Knowledge) {
    let mut rest = data;
    let version = text(&mut rest).and_then(|_description| {
        rest = rest.get(8..)?;
        text(&mut rest)
    });
    let name = version.as_ref().and_then(|_| text(&mut rest));
    knowledge.learn(|debugger| {
        debugger.name = name.as_deref().map(cut);
        debugger.version = version.as_deref().map(cut);
        let version = version.as_deref().map(cut);
        debugger.runtime = version.map(|version| format!("Java {version}"));
    });
}

/// A string: its length and its bytes.
fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(bytes.get(..4)?)).ok()?;
    let text = bytes.get(4..)?.get(..length)?;
    *bytes = &bytes[4 + length..];
    Some(String::from_utf8_lossy(text).into_owned())
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |n, b| n << 8 | u32::from(*b))
}
