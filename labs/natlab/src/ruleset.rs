//! The nftables rules that make the kernel a NAT of a given kind.
//!
//! Filtering by address and port is connection tracking itself. Whatever else arrives from outside
//! is dropped in the input chain, *before* the kernel confirms a connection for it. Otherwise a
//! peer's packet that arrives too early would take up the very tuple that the inside host's own
//! packet needs a moment later, the kernel would choose another port for that one, and punching
//! would work or fail by who came first.
//!
//! Endpoint-independent mapping: the kernel preserves ports, but alone it shares one external port
//! between inside hosts as long as their destinations differ. So the box keeps its own mappings,
//! learnt from the packets that leave: `out` leads from an inside endpoint to its external one,
//! `in` leads back, and a port that `in` holds is not given to another host. Wider filtering uses
//! `in` for packets that belong to no connection: of everybody, or of the addresses in `permit`.

use std::{fmt::Write, net::Ipv4Addr};

use p2pdbg_nat::{Allocation, Filtering, Mapping, NatKind};

use crate::Error;

/// The box's interface to the network above.
pub(crate) const WAN: &str = "wan";

/// Says whether the kernel can be a NAT of this kind, or why not.
pub(crate) fn check(kind: NatKind) -> Result<(), Error> {
    let why = match (kind.mapping, kind.filtering, kind.allocation) {
        (Mapping::Untranslated, Filtering::AddressDependent, _) => {
            "a firewall's filtering is by address and port, or none"
        }
        (Mapping::Untranslated, ..) => return Ok(()),
        (Mapping::AddressDependent, ..) => {
            "it has no mapping that depends on the destination's address alone"
        }
        (_, _, Allocation::Sequential { .. }) => "it does not count ports up",
        (_, _, Allocation::Block { .. }) => "it does not deal out blocks of ports",
        (Mapping::AddressAndPortDependent, _, Allocation::Preserving) => {
            "it keeps one port for a socket when it preserves ports"
        }
        (Mapping::AddressAndPortDependent, ..) if kind.hairpin => {
            "the lab's rules hairpin with endpoint-independent mapping only"
        }
        _ => return Ok(()),
    };
    Err(Error::Unsupported { kind, why })
}

/// The whole ruleset of a box with this external address; loading it replaces the one before, maps
/// included.
pub(crate) fn of(kind: NatKind, external: Ipv4Addr) -> String {
    let mut rules = String::new();
    for table in ["inet filter", "ip nat"] {
        let _ = writeln!(rules, "add table {table}\ndelete table {table}");
    }
    rules.push_str(&filter(kind));
    if kind.translates() {
        rules.push_str(&nat(kind, external));
    }
    rules
}

/// What passes the box, and what reaches it.
fn filter(kind: NatKind) -> String {
    let udp = if kind.blocks_udp {
        "meta l4proto udp drop"
    } else {
        ""
    };
    let stateful = kind.translates() || kind.filtering != Filtering::EndpointIndependent;
    if !stateful {
        return format!(
            "table inet filter {{
                chain forward {{
                    type filter hook forward priority filter;
                    {udp}
                }}
            }}\n"
        );
    }
    format!(
        "table inet filter {{
            chain forward {{
                type filter hook forward priority filter; policy drop;
                {udp}
                ct state invalid drop
                ct state established,related accept
                iifname lan accept
                ct status dnat accept
            }}
            chain input {{
                type filter hook input priority filter; policy drop;
                iifname {{ lo, lan }} accept
                ct state established,related accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            }}
        }}\n"
    )
}

/// What is translated to what.
fn nat(kind: NatKind, external: Ipv4Addr) -> String {
    let independent = kind.mapping == Mapping::EndpointIndependent;
    let random = format!("snat to {external}:1024-65535 fully-random");

    let known = if independent {
        "snat ip to ip saddr . udp sport map @out"
    } else {
        ""
    };
    let new = match kind.allocation {
        Allocation::Preserving => format!("udp sport @in {random}"),
        _ => format!("meta l4proto {{ tcp, udp }} {random}"),
    };
    let inbound = match kind.filtering {
        Filtering::EndpointIndependent => "dnat ip to udp dport map @in",
        Filtering::AddressDependent => "udp dport . ip saddr @permit dnat ip to udp dport map @in",
        Filtering::AddressAndPortDependent => "",
    };
    let inbound = match inbound {
        "" => String::new(),
        rule => format!("iifname {WAN} ip daddr {external} {rule}"),
    };
    let (hairpin_in, hairpin_out) = if kind.hairpin {
        (
            format!("iifname lan ip daddr {external} ct mark set 1 dnat ip to udp dport map @in"),
            "ct mark 1 oifname lan jump translate",
        )
    } else {
        (String::new(), "")
    };
    // Of a packet that leaves, `ip saddr` and `udp sport` are already external. The inside endpoint
    // is the one that the connection began with, or the one that it was led to; where that is the
    // external address too, the packet is the box's own.
    let timeout = format!("timeout {}ms", kind.timeout.as_millis().max(1));
    let leaving = format!("meta l4proto udp ip saddr {external}");
    let mut learn = String::new();
    for end in ["original", "reply"] {
        let inside = format!("ct {end} ip saddr . ct {end} proto-src");
        let _ = writeln!(
            learn,
            "{leaving} ct direction {end} ct {end} ip saddr != {external} \
                update @in {{ udp sport {timeout} : {inside} }} \
                update @out {{ {inside} {timeout} : ip saddr . udp sport }} \
                update @permit {{ udp sport . ip daddr {timeout} }}"
        );
    }
    // Of a packet that has arrived, the destination is already the inside endpoint.
    for end in ["original", "reply"] {
        let outside = format!("ct {end} ip daddr . ct {end} proto-dst");
        let _ = writeln!(
            learn,
            "meta l4proto udp iifname {WAN} oifname lan ct direction {end} \
                update @in {{ ct {end} proto-dst {timeout} : ip daddr . udp dport }} \
                update @out {{ ip daddr . udp dport {timeout} : {outside} }}"
        );
    }
    let learn = if independent || kind.filtering != Filtering::AddressAndPortDependent {
        learn
    } else {
        String::new()
    };
    format!(
        "table ip nat {{
            map in {{
                type inet_service : ipv4_addr . inet_service
                flags dynamic,timeout; size 65536
            }}
            map out {{
                type ipv4_addr . inet_service : ipv4_addr . inet_service
                flags dynamic,timeout; size 65536
            }}
            set permit {{
                type inet_service . ipv4_addr
                flags dynamic,timeout; size 65536
            }}
            chain translate {{
                {known}
                {new}
                snat to {external}
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                {inbound}
                {hairpin_in}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                oifname {WAN} jump translate
                {hairpin_out}
            }}
            chain learn {{
                type filter hook postrouting priority srcnat + 10;
                {learn}
            }}
        }}\n"
    )
}
