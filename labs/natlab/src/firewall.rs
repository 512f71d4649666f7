//! Packets that a test wants dropped while it runs.

use std::{fmt::Write, net::IpAddr};

/// Which packets to drop: all those that match every condition that is set, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    protocol: Option<&'static str>,
    between: Option<(IpAddr, IpAddr)>,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    port: Option<u16>,
    one_way: bool,
    marked: bool,
    /// With which bits the payload begins, and how many.
    begins: Option<(u8, u8)>,
    /// Kilobytes a second that pass.
    rate: Option<u32>,
    /// Bytes of the payload of UDP that pass.
    length: Option<u16>,
}

impl Flow {
    const ANY: Self = Self {
        protocol: None,
        between: None,
        from: None,
        to: None,
        port: None,
        one_way: false,
        marked: false,
        begins: None,
        rate: None,
        length: None,
    };

    /// All datagrams of UDP.
    pub const fn udp() -> Self {
        Self {
            protocol: Some("udp"),
            ..Self::ANY
        }
    }

    /// All of TCP.
    pub const fn tcp() -> Self {
        Self {
            protocol: Some("tcp"),
            ..Self::ANY
        }
    }

    /// Everything between two addresses of one family.
    pub fn between(a: impl Into<IpAddr>, b: impl Into<IpAddr>) -> Self {
        Self {
            between: Some((a.into(), b.into())),
            ..Self::ANY
        }
    }

    /// Everything from one address to another of its family, and nothing of what comes back.
    pub fn one_way(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Self {
        Self {
            one_way: true,
            ..Self::between(from, to)
        }
    }

    /// The same flow, but only what comes from this address.
    #[must_use]
    pub fn from(self, address: impl Into<IpAddr>) -> Self {
        Self {
            from: Some(address.into()),
            ..self
        }
    }

    /// The same flow, but only what goes to this address.
    #[must_use]
    pub fn to(self, address: impl Into<IpAddr>) -> Self {
        Self {
            to: Some(address.into()),
            ..self
        }
    }

    /// The same flow, but only those packets that are marked as capable of ECN, as QUIC's are and STUN's are not.
    #[must_use]
    pub const fn marked(self) -> Self {
        Self {
            marked: true,
            ..self
        }
    }

    /// Of UDP, what begins as QUIC's long header does (RFC 9000 section 17.2): the packets of its handshakes, by which
    /// boxes tell QUIC from other UDP.
    pub const fn quic_handshakes() -> Self {
        Self {
            begins: Some((0b11, 2)),
            ..Self::udp()
        }
    }

    /// Of UDP, what begins with a byte of 128 or more: handshakes of QUIC, disguised or not, and nothing of STUN.
    pub const fn high_udp() -> Self {
        Self {
            begins: Some((1, 1)),
            ..Self::udp()
        }
    }

    /// The same flow, but only what comes faster than this in kilobytes a second, in both directions together: a
    /// policer, which has no queue.
    #[must_use]
    pub const fn faster_than(self, rate: u32) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    /// Of UDP, what has a payload of more bytes than this.
    pub const fn longer_than(length: u16) -> Self {
        Self {
            length: Some(length),
            ..Self::udp()
        }
    }

    /// The same flow, of UDP alone.
    #[must_use]
    pub const fn over_udp(self) -> Self {
        Self {
            protocol: Some("udp"),
            ..self
        }
    }

    /// The same flow, of TCP alone.
    #[must_use]
    pub const fn over_tcp(self) -> Self {
        Self {
            protocol: Some("tcp"),
            ..self
        }
    }

    /// The same flow, with this port as source or destination.
    #[must_use]
    pub const fn at_port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    fn write_rules(&self, rules: &mut String) {
        let protocol = match (self.protocol, self.port) {
            (Some(protocol), _) => format!("meta l4proto {protocol} "),
            (None, Some(_)) => "meta l4proto { tcp, udp } ".to_owned(),
            (None, None) => String::new(),
        };
        let addresses = match self.between {
            Some((a, b)) => {
                let family = if a.is_ipv4() { "ip" } else { "ip6" };
                vec![
                    format!("{family} saddr {a} {family} daddr {b} "),
                    format!("{family} saddr {b} {family} daddr {a} "),
                ]
                .into_iter()
                .take(if self.one_way { 1 } else { 2 })
                .collect()
            }
            None => vec![String::new()],
        };
        let end = |side: &str, address: Option<IpAddr>| match address {
            Some(address) if address.is_ipv4() => format!("ip {side} {address} "),
            Some(address) => format!("ip6 {side} {address} "),
            None => String::new(),
        };
        let ends = end("saddr", self.from) + &end("daddr", self.to);
        let ports = match self.port {
            Some(port) => vec![format!("th sport {port} "), format!("th dport {port} ")],
            None => vec![String::new()],
        };
        let marks = match self.marked {
            true => vec!["ip ecn != not-ect ", "ip6 ecn != not-ect "],
            false => vec![""],
        };
        let payload = match self.begins {
            // Behind UDP's own eight bytes.
            Some((bits, count)) => format!("@th,64,{count} {bits} "),
            None => String::new(),
        };
        let length = match self.length {
            // The header's own eight bytes count.
            Some(length) => format!("udp length > {} ", u32::from(length) + 8),
            None => String::new(),
        };
        let rate = match self.rate {
            Some(rate) => format!("limit rate over {rate} kbytes/second burst 16 kbytes "),
            None => String::new(),
        };
        for (address, mark) in addresses
            .iter()
            .flat_map(|a| marks.iter().map(move |m| (a, m)))
        {
            for port in &ports {
                for chain in ["incoming", "outgoing"] {
                    let _ = writeln!(
                        rules,
                        "add rule inet blocked {chain} {address}{ends}{mark}{protocol}{port}{payload}{length}{rate}counter drop"
                    );
                }
            }
        }
    }
}

/// The whole table for these flows; it replaces the one before.
pub(crate) fn ruleset(flows: &[Flow]) -> String {
    let mut rules = "add table inet blocked\ndelete table inet blocked\n".to_owned();
    if flows.is_empty() {
        return rules;
    }
    rules.push_str("add table inet blocked\n");
    for (chain, hook) in [("incoming", "prerouting"), ("outgoing", "output")] {
        let _ = writeln!(
            rules,
            "add chain inet blocked {chain} {{ type filter hook {hook} priority raw; }}"
        );
    }
    for flow in flows {
        flow.write_rules(&mut rules);
    }
    rules
}
