//! Any answers of a gateway, by PCP, NAT-PMP, SSDP and HTTP: nothing panics, and what is found in them stays within
//! them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pdbg_portmap::fuzzing;

fuzz_target!(|answer: &[u8]| {
    fuzzing::datagram(answer);
    fuzzing::http(answer);
});
