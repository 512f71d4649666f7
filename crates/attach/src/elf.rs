//! Whether an executable file was made by Go: it has a section with Go's build information, stripped or not (the ELF
//! specification; Go's `debug/buildinfo`).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// The section that Go's linker adds.
const SECTION: &[u8] = b".go.buildinfo\0";

/// The most bytes of section headers, and of their names, that are read.
const MOST: u64 = 1 << 20;

/// Whether it is. A file that cannot be read, or is no 64-bit little-endian ELF, is not.
pub(crate) fn is_go(executable: &Path) -> bool {
    names_of_sections(executable)
        .is_some_and(|names| names.windows(SECTION.len()).any(|name| name == SECTION))
}

fn names_of_sections(executable: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(executable).ok()?;
    let mut header = [0; 64];
    file.read_exact(&mut header).ok()?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return None;
    }
    let at = word(&header, 0x28)?;
    let (size, names) = (half(&header, 0x3a)?, half(&header, 0x3e)?);
    let header = read(&mut file, at.checked_add(size.checked_mul(names)?)?, size)?;
    let (at, size) = (word(&header, 0x18)?, word(&header, 0x20)?);
    read(&mut file, at, size)
}

fn read(file: &mut File, at: u64, size: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(size.min(MOST)).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_of_rust_is_not_gos_and_has_sections() {
        let own = std::env::current_exe().unwrap();
        let names = names_of_sections(&own).unwrap();
        assert!(names.windows(6).any(|name| name == b".text\0"));
        assert!(!is_go(&own));
    }

    #[test]
    fn header_with_a_section_of_go_is_gos() {
        let mut bytes = vec![0; 64 + 64 + SECTION.len()];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x28] = 64; // The section headers begin there,
        bytes[0x3a] = 64; // are so long each, and the first is that of the names,
        bytes[64 + 0x18] = 128; // which are there.
        bytes[64 + 0x20] = u8::try_from(SECTION.len()).unwrap();
        bytes[128..].copy_from_slice(SECTION);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(is_go(file.path()));
        // Cut short, or with headers beyond the end.
        for length in 0..bytes.len() {
            std::fs::write(file.path(), &bytes[..length]).unwrap();
            assert!(!is_go(file.path()), "{length}");
        }
    }
}
