//! The CRC-32 of ITU-T V.42, which FINGERPRINT uses (RFC 8489 section 14.7).
//!
//! Sixteen lines instead of a dependency: messages are some hundred bytes long, so a byte-wise table is fast enough.

const TABLE: [u32; 256] = table();

/// The CRC-32 of `bytes`, as FINGERPRINT has it before its XOR.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(super::checksum(b"123456789"), 0xCBF4_3926);
    }
}
