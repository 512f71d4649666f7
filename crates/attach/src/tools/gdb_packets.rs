//! What gdb and a gdbserver say to each other, as far as it tells what gdb has left in the program ("Remote Serial
//! Protocol" in gdb's manual).

use std::collections::BTreeSet;

/// How much of a packet is kept: one about a breakpoint is shorter, but for the conditions at its end.
const KEPT: usize = 128;

/// The most breakpoints that are remembered: a person's are fewer by far.
const MANY: usize = 4096;

/// What is known of a conversation between gdb and its gdbserver about one program.
pub(super) struct Conversation {
    pid: u32,
    gdb: Packets,
    gdbserver: Packets,
    /// `TYPE,ADDRESS,KIND` of each that is in the program.
    breakpoints: BTreeSet<String>,
    /// gdbserver hears gdb while the program runs.
    is_non_stop: bool,
    runs: bool,
    /// gdb speaks of another process: of one that the program has forked.
    is_elsewhere: bool,
}

impl Conversation {
    pub(super) fn of(pid: u32) -> Self {
        Self {
            pid,
            gdb: Packets::default(),
            gdbserver: Packets::default(),
            breakpoints: BTreeSet::new(),
            is_non_stop: false,
            runs: false,
            is_elsewhere: false,
        }
    }

    /// Whether gdbserver hears nothing until the program stops.
    pub(super) fn awaits_a_stop(&self) -> bool {
        self.runs && !self.is_non_stop
    }

    /// Whether gdb has begun a packet and not ended it.
    pub(super) fn is_within_packet(&self) -> bool {
        self.gdb.is_within_packet()
    }

    pub(super) fn on_said(&mut self, said: &[u8]) {
        for byte in said {
            if let Some(packet) = self.gdb.on_byte(*byte) {
                self.on_packet(&String::from_utf8_lossy(&packet));
            }
        }
    }

    pub(super) fn on_answered(&mut self, answered: &[u8]) {
        for byte in answered {
            let packet = self.gdbserver.on_byte(*byte);
            // What the program has printed comes while it runs; all else comes once it has stopped.
            if packet.is_some_and(|packet| packet.first() != Some(&b'O')) {
                self.runs = false;
            }
        }
    }

    fn on_packet(&mut self, packet: &str) {
        if let Some(of) = packet.strip_prefix('Z') {
            let name = name(of).filter(|_| !self.is_elsewhere && self.breakpoints.len() < MANY);
            self.breakpoints.extend(name);
        } else if let Some(of) = packet.strip_prefix('z') {
            let name = name(of).filter(|_| !self.is_elsewhere);
            name.map(|name| self.breakpoints.remove(&name));
        } else if let Some(thread) = packet.strip_prefix("Hg") {
            self.is_elsewhere = process(thread).is_some_and(|pid| pid != self.pid && pid != 0);
        } else if let Some(is_on) = packet.strip_prefix("QNonStop:") {
            self.is_non_stop = is_on == "1";
        } else if let Some(of) = packet.strip_prefix('D') {
            let pid = of.strip_prefix(';').and_then(hexadecimal);
            if pid.is_none_or(|pid| pid == self.pid) {
                self.breakpoints.clear();
            }
            self.is_elsewhere = false;
        } else if packet.starts_with("vCont;") || packet.starts_with(['c', 'C', 's', 'S']) {
            self.runs = true;
            // From its next stop on gdbserver speaks of what has stopped, unasked.
            self.is_elsewhere = false;
        }
    }

    /// What takes the breakpoints out and detaches: each packet with the confirmation of the answer before, which
    /// means nothing where none are asked for.
    pub(super) fn end(&self) -> String {
        let taken_out = self.breakpoints.iter().map(|name| format!("z{name}"));
        let mut packets = vec![format!("Hgp{:x}.0", self.pid)];
        packets.extend(taken_out);
        packets.push(format!("D;{:x}", self.pid));
        let packets = packets.into_iter().map(|packet| {
            let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
            format!("+${packet}#{sum:02x}")
        });
        packets.collect::<String>() + "+"
    }
}

/// `TYPE,ADDRESS,KIND`; behind a semicolon stand conditions.
fn name(of: &str) -> Option<String> {
    let name = of.split(';').next().unwrap_or_default();
    let is_one = |byte: u8| byte.is_ascii_hexdigit() || byte == b',';
    (name.len() < KEPT / 2 && name.bytes().all(is_one)).then(|| name.to_owned())
}

/// The process of a thread that is named with it: `pPID.TID`.
fn process(thread: &str) -> Option<u32> {
    let (pid, _) = thread.strip_prefix('p')?.split_once('.')?;
    hexadecimal(pid)
}

fn hexadecimal(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

/// Cuts what one end says into packets, `$PACKET#SUM`, as gdbserver does. What would not be itself in a packet (`$`,
/// `#`, `}`) is escaped there.
#[derive(Default)]
enum Packets {
    #[default]
    Between,
    Within(Vec<u8>),
    /// So many digits of the sum are to come.
    Sum(u8),
}

impl Packets {
    fn is_within_packet(&self) -> bool {
        !matches!(self, Self::Between)
    }

    /// The beginning of a packet that ends here.
    fn on_byte(&mut self, byte: u8) -> Option<Vec<u8>> {
        match (&mut *self, byte) {
            (Self::Between, b'$') => *self = Self::Within(Vec::new()),
            (Self::Within(packet), b'#') => {
                let packet = std::mem::take(packet);
                *self = Self::Sum(2);
                return Some(packet);
            }
            (Self::Within(packet), _) if packet.len() < KEPT => packet.push(byte),
            (Self::Sum(2), _) => *self = Self::Sum(1),
            (Self::Sum(_), _) => *self = Self::Between,
            (Self::Between | Self::Within(_), _) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(said: &[&[u8]]) -> Conversation {
        let mut conversation = Conversation::of(255);
        said.iter().for_each(|said| conversation.on_said(said));
        conversation
    }

    /// The packets at the end of a conversation, without what surrounds them.
    fn end(conversation: &Conversation) -> Vec<String> {
        let end = conversation.end();
        let packets = end.split("+$").skip(1);
        let packets = packets.map(|packet| packet.split('#').next().unwrap().to_owned());
        packets.collect()
    }

    #[test]
    fn breakpoints_that_are_in_the_program_are_taken_out_at_the_end() {
        let said = b"+$Z0,401136,1;X3,0102#1f+$Z1,7f00,1#00$Z2,7fe8,4#00$z1,7f00,1#00+";
        let conversation = after(&[said]);
        assert_eq!(
            conversation.end(),
            "+$Hgpff.0#49+$z0,401136,1#62+$z2,7fe8,4#72+$D;ff#4b+"
        );
    }

    #[test]
    fn packet_is_whole_however_it_is_split() {
        let said = b"+$Z0,401136,1#1f\x03+$vCont;c:pff.-1#00";
        for at in 0..said.len() {
            let (first, second) = said.split_at(at);
            let conversation = after(&[first, second]);
            assert_eq!(end(&conversation), ["Hgpff.0", "z0,401136,1", "D;ff"]);
            assert!(conversation.awaits_a_stop());
            assert!(!conversation.is_within_packet());
        }
        let all: Vec<&[u8]> = said.chunks(1).collect();
        assert!(after(&all).awaits_a_stop());
        for unfinished in [1, 2, 3] {
            let said = &said[..said.len() - unfinished];
            assert!(after(&[said]).is_within_packet());
        }
    }

    #[test]
    fn what_is_written_into_memory_is_no_packet() {
        // `$`, `#` and `}` are escaped: `}` and the byte with its sixth bit turned.
        let written = b"$X7f00,a:}\x04Z0,7f00,1}\x03+\x03vCont;c}]#00";
        let conversation = after(&[written]);
        assert_eq!(end(&conversation), ["Hgpff.0", "D;ff"]);
        assert!(!conversation.awaits_a_stop());
    }

    #[test]
    fn garbage_is_bounded_and_leads_to_no_packet_of_its_own() {
        let mut conversation = Conversation::of(255);
        conversation.on_said(&[b"$Z0,", vec![b'1'; 1 << 20].as_slice(), b"#00"].concat());
        conversation.on_said(b"$Z0,\xff\xfe,1#00$#00$Z#00$Z0,$k,1#00$Hg#00$D;zz;1#00");
        conversation.on_said(b"$Z0,10,1\x1b[2J#00#00##$Z0,20,1#00");
        assert!(matches!(&conversation.gdb, Packets::Between));
        for name in end(&conversation) {
            assert!(name.len() < KEPT, "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'$')
            );
        }
        for address in 0..2 * MANY {
            conversation.on_said(format!("$Z0,{address:x},1#00").as_bytes());
        }
        assert_eq!(conversation.breakpoints.len(), MANY);
        conversation.on_said(&[b"$", vec![0xff; 1 << 20].as_slice()].concat());
        assert!(matches!(&conversation.gdb, Packets::Within(packet) if packet.len() == KEPT));
    }

    #[test]
    fn program_runs_until_gdbserver_says_that_it_has_stopped() {
        for resumed in ["vCont;c:pff.-1", "vCont;s:pff.ff;c:pff.-1", "c", "C05", "s"] {
            let mut conversation = after(&[format!("${resumed}#00").as_bytes()]);
            conversation.on_answered(b"+");
            // Printed by the program.
            conversation.on_answered(b"$O414243#00");
            assert!(conversation.awaits_a_stop(), "{resumed}");
            conversation.on_answered(b"$T0506:00f0* ;thr");
            assert!(conversation.awaits_a_stop(), "{resumed}");
            conversation.on_answered(b"ead:pff.ff;#00");
            assert!(!conversation.awaits_a_stop(), "{resumed}");
        }
        assert!(!after(&[b"$vCont?#49"]).awaits_a_stop());
        assert!(!after(&[b"$QNonStop:1#8d$vCont;c:pff.-1#00"]).awaits_a_stop());
    }

    #[test]
    fn breakpoints_of_a_process_that_the_program_forked_are_its_own() {
        let forked = b"$Z0,10,1#00$Hgp100.100#00$z0,10,1#00$Z0,20,1#00$D;100#00";
        let conversation = after(&[forked]);
        assert_eq!(end(&conversation), ["Hgpff.0", "z0,10,1", "D;ff"]);
        let back = after(&[forked, b"$Hgpff.ff#00$z0,10,1#00$Hg0#00$Z0,30,1#00"]);
        assert_eq!(end(&back), ["Hgpff.0", "z0,30,1", "D;ff"]);
        let detached = after(&[forked, b"$D;ff#4b"]);
        assert_eq!(end(&detached), ["Hgpff.0", "D;ff"]);
    }
}
