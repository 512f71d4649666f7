//! What a file holds, such that files that differ in their line ends alone are told from others.

use p2pdbg_proto::sources::{LineEnds, Sha256 as Digest};
use sha2::{Digest as _, Sha256};

/// How text of two bytes a character begins, in which a byte like CR is half of another character.
const UTF_16: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];

/// A file's text, and how its lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The SHA-256 of the bytes, with LF in the place of each CRLF if it is text.
    pub text: Digest,
    /// How its lines end, which `text` leaves out.
    pub ends: LineEnds,
}

impl Content {
    /// Whether two files differ, but in their line ends alone.
    pub(crate) fn differs_in_ends(&self, other: &Self) -> bool {
        self.text == other.text && self.ends != other.ends
    }
}

/// Takes a file in piece by piece.
#[derive(Debug)]
pub(super) struct ContentHash {
    raw: Sha256,
    text: Sha256,
    /// The first two bytes, as far as they have come.
    beginning: Vec<u8>,
    /// Whether it is no text: it holds a NUL, wherever that is, or begins as UTF-16 does. Git looks at the first 8,000
    /// bytes alone, and so has new line ends for what follows a script in one file.
    is_binary: bool,
    after_cr: bool,
    crlf: usize,
    lf: usize,
}

impl ContentHash {
    pub(super) fn new() -> Self {
        Self {
            raw: Sha256::new(),
            text: Sha256::new(),
            beginning: Vec::new(),
            is_binary: false,
            after_cr: false,
            crlf: 0,
            lf: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.raw.update(bytes);
        let missing = 2_usize.saturating_sub(self.beginning.len());
        self.beginning.extend(bytes.iter().take(missing));
        self.is_binary |= bytes.contains(&0) || UTF_16.iter().any(|mark| self.beginning == mark);
        if self.is_binary {
            return;
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            if at > 0 {
                self.settle_cr();
            }
            self.text.update(&rest[..at]);
            match (rest[at], self.after_cr) {
                (b'\n', true) => {
                    self.after_cr = false;
                    self.crlf += 1;
                    self.text.update(b"\n");
                }
                (b'\n', false) => {
                    self.lf += 1;
                    self.text.update(b"\n");
                }
                _ => {
                    self.settle_cr();
                    self.after_cr = true;
                }
            }
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            self.settle_cr();
            self.text.update(rest);
        }
    }

    /// A CR that no LF follows is one like any other byte.
    fn settle_cr(&mut self) {
        if std::mem::take(&mut self.after_cr) {
            self.text.update(b"\r");
        }
    }

    pub(super) fn finish(mut self) -> Content {
        let raw: Digest = self.raw.finalize().into();
        if self.is_binary {
            return Content {
                text: raw,
                ends: LineEnds::None,
            };
        }
        if std::mem::take(&mut self.after_cr) {
            self.text.update(b"\r");
        }
        let ends = match (self.crlf, self.lf) {
            (0, 0) => LineEnds::None,
            (0, _) => LineEnds::Lf,
            (_, 0) => LineEnds::Crlf,
            _ => {
                let mut tag = [0; 16];
                tag.copy_from_slice(&raw[..16]);
                LineEnds::Mixed(tag)
            }
        };
        Content {
            text: self.text.finalize().into(),
            ends,
        }
    }
}

/// Writes text with other line ends, piece by piece. Each line of what is read ends like the others, unless all are to
/// end in LF.
#[derive(Debug)]
pub(super) struct Converter {
    to_crlf: bool,
    held_cr: bool,
}

impl Converter {
    /// From one kind of line ends to another; `None` if nothing is to be done, or each line would have to keep its own.
    pub(super) fn between(from: LineEnds, to: LineEnds) -> Option<Self> {
        let to_crlf = match (from, to) {
            (LineEnds::Lf, LineEnds::Crlf) => true,
            // A script of which a single line ends in CRLF may not run where the others do.
            (LineEnds::Crlf | LineEnds::Mixed(_), LineEnds::Lf) => false,
            _ => return None,
        };
        Some(Self {
            to_crlf,
            held_cr: false,
        })
    }

    pub(super) fn convert(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if std::mem::take(&mut self.held_cr) && byte != b'\n' {
                out.push(b'\r');
            }
            match byte {
                b'\n' if self.to_crlf => out.extend(b"\r\n"),
                b'\r' if !self.to_crlf => self.held_cr = true,
                byte => out.push(byte),
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.held_cr {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8], piece: usize) -> Content {
        let mut hash = ContentHash::new();
        bytes.chunks(piece).for_each(|bytes| hash.update(bytes));
        hash.finish()
    }

    #[test]
    fn files_that_differ_in_line_ends_alone_are_told_apart_however_they_come() {
        let ends = [
            (&b"a\nb\n"[..], LineEnds::Lf),
            (b"a\r\nb\r\n", LineEnds::Crlf),
        ];
        for piece in 1..6 {
            let [lf, crlf] = ends.map(|(bytes, ends)| {
                let content = content(bytes, piece);
                assert_eq!(content.ends, ends, "{piece}");
                content
            });
            let mixed = content(b"a\r\nb\n", piece);
            let other = content(b"a\nb\r\n", piece);
            assert!(matches!(mixed.ends, LineEnds::Mixed(_)));
            for (one, two) in [(lf, crlf), (lf, mixed), (mixed, other)] {
                assert!(one.differs_in_ends(&two), "{piece}");
            }
            let alone = content(b"a\rb\r", piece);
            assert_eq!(alone.ends, LineEnds::None);
            assert_ne!(alone.text, lf.text);
            let late = [b"a\n".repeat(5000), vec![0]].concat();
            let late_crlf = [b"a\r\n".repeat(5000), vec![0]].concat();
            for (one, two) in [
                (&b"\0\r\n"[..], &b"\0\n"[..]),
                (&late[..], &late_crlf[..]),
                (b"\xfe\xff\x0d\x0a", b"\xfe\xff\x0a"),
                (b"\xff\xfe\x0d\x0a", b"\xff\xfe\x0a"),
            ] {
                let (one, two) = (content(one, piece), content(two, piece));
                assert_ne!(one.text, two.text, "{piece}");
                assert_eq!((one.ends, two.ends), (LineEnds::None, LineEnds::None));
            }
            assert_eq!(content(b"a\r\r\nb", piece).ends, LineEnds::Crlf);
        }
        assert_eq!(content(b"x", 1).text, <Digest>::from(Sha256::digest(b"x")));
    }

    #[test]
    fn line_ends_are_converted_there_and_back() {
        let convert = |bytes: &[u8], from, to, piece: usize| {
            let mut converter = Converter::between(from, to).unwrap();
            let mut out = Vec::new();
            bytes
                .chunks(piece)
                .for_each(|bytes| converter.convert(bytes, &mut out));
            converter.finish(&mut out);
            out
        };
        for piece in 1..5 {
            let crlf = convert(b"a\nb\rc\n\n", LineEnds::Lf, LineEnds::Crlf, piece);
            assert_eq!(crlf, b"a\r\nb\rc\r\n\r\n");
            assert_eq!(
                convert(&crlf, LineEnds::Crlf, LineEnds::Lf, piece),
                b"a\nb\rc\n\n"
            );
            assert_eq!(
                convert(b"a\r\nb\r", LineEnds::Crlf, LineEnds::Lf, piece),
                b"a\nb\r"
            );
        }
        let mixed = LineEnds::Mixed([0; 16]);
        assert!(Converter::between(LineEnds::Lf, mixed).is_none());
        assert!(Converter::between(mixed, LineEnds::Crlf).is_none());
        assert_eq!(
            convert(b"a\r\nb\nc\r\n", mixed, LineEnds::Lf, 2),
            b"a\nb\nc\n"
        );
    }
}
