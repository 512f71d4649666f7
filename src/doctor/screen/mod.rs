//! The findings for people: one screen of 80 columns, each line true by itself.
//!
//! Everything is put together as plain text first and escaped then, so that nothing that a server, a gateway or a
//! variable said reaches the terminal as more than text. Colour comes last.

mod layout;
mod words;

use p2pdbg_nat::{Class, Mapping};

use self::{
    layout::{Layout, Tone},
    words::{access, allocation, direct_tcp, filtering, in_short, mapping, proxy_in_words},
};
use super::{
    findings::{Findings, Ipv6, Nat, Probe, Rendezvous},
    outlook::Outlook,
};
use crate::report::milliseconds;

/// What people see of the findings, line by line.
#[derive(Debug, Default)]
pub struct Screen {
    layout: Layout,
}

impl Screen {
    /// Puts the findings into words.
    pub fn of(findings: &Findings) -> Self {
        let mut screen = Self::default();
        screen.rendezvous(findings);
        screen.network(findings);
        screen.forecast(findings);
        screen.sentences("What would help", &findings.help);
        screen.debuggers(findings);
        for warning in &findings.warnings {
            screen.layout.gap();
            screen.layout.paragraph(Tone::Alarm, "WARNING: ", warning);
        }
        screen
    }

    /// The text, in colour if that is welcome.
    pub fn text(&self, colour: bool) -> String {
        self.layout.text(colour)
    }

    fn rendezvous(&mut self, findings: &Findings) {
        let Some(rendezvous) = &findings.rendezvous else {
            self.layout.heading("Rendezvous");
            match &findings.error {
                Some(error) => self.layout.row(Tone::Bad, "problem", &error.message),
                None => self.layout.row(
                    Tone::Plain,
                    "",
                    "none is configured, so it is not looked at",
                ),
            }
            return;
        };
        self.layout
            .heading(&format!("Rendezvous {}", rendezvous.authority));
        self.hosts(rendezvous);
        self.probe("UDP", "answers", &rendezvous.udp);
        self.probe("TCP", "answers, with TLS", &rendezvous.tcp);
        if let Some(web) = &rendezvous.web {
            self.probe("WebSocket", "answers", web);
        }
        for silent in &rendezvous.silent {
            let text = format!("no answer at {silent}");
            self.layout.row(Tone::Warning, "", &text);
        }
        if let Some(seen) = rendezvous.poor_view {
            let text = format!(
                "sees this host at {seen}, which is private: it is in this network, or sources are rewritten before it"
            );
            self.layout.row(Tone::Warning, "view", &text);
        }
        let (tone, access) = access(rendezvous);
        self.layout.row(tone, "access", access);
        if let Some(mtu) = findings.path_mtu {
            let text = match mtu.bytes {
                1500.. => "1500 bytes (the most that was tried)".to_owned(),
                bytes => format!("{bytes} bytes"),
            };
            self.layout.row(Tone::Plain, "path MTU", &text);
        }
        if let Some(proxy) = &findings.proxy {
            self.layout
                .row(Tone::Plain, "proxy", &proxy_in_words(proxy));
        }
        if let Some(error) = &findings.error {
            self.layout.row(Tone::Bad, "problem", &error.message);
            if let Some(hint) = &error.hint {
                self.layout.row(Tone::Plain, "", hint);
            }
        }
    }

    /// Where there are several hosts, whether each answers.
    fn hosts(&mut self, rendezvous: &Rendezvous) {
        for host in &rendezvous.hosts {
            let by_tcp = host.tcp.as_ref().map(|tcp| tcp.answers);
            let (tone, how) = match (host.udp.answers, by_tcp) {
                (true, _) => (Tone::Good, "answers over UDP"),
                (false, Some(true)) => (Tone::Warning, "answers over TCP, not over UDP"),
                (false, Some(false)) => (Tone::Warning, "answers neither over UDP nor over TCP"),
                (false, None) => (Tone::Warning, "does not answer over UDP"),
            };
            self.layout
                .row(tone, "host", &format!("{} {how}", host.authority));
        }
    }

    fn probe(&mut self, name: &str, answers: &str, probe: &Probe) {
        match (probe.answers, probe.rtt_ms, &probe.why) {
            (true, Some(rtt), _) => {
                let text = format!("{answers}, RTT {}", milliseconds(rtt));
                self.layout.row(Tone::Good, name, &text);
            }
            (true, None, _) => self.layout.row(Tone::Good, name, answers),
            (false, _, why) => {
                let why = why.as_deref().unwrap_or("no answer");
                self.layout.row(Tone::Bad, name, why);
            }
        }
    }

    fn network(&mut self, findings: &Findings) {
        self.layout.heading("This network, over IPv4");
        match (&findings.nat, findings.udp) {
            (Some(nat), _) => self.nat(nat, findings),
            (None, Some(true))
                if findings
                    .rendezvous
                    .as_ref()
                    .is_some_and(|r| r.poor_view.is_some()) =>
            {
                self.layout.row(
                    Tone::Plain,
                    "NAT",
                    "cannot be told, since no server sees the packets as they leave this network",
                )
            }
            (None, Some(false))
                if findings
                    .rendezvous
                    .as_ref()
                    .is_some_and(Rendezvous::answers_by_web_alone) =>
            {
                self.layout.row(
                    Tone::Bad,
                    "UDP",
                    "blocked: no server answers. Sessions go over the relay, by WebSocket.",
                )
            }
            (None, Some(false)) => self.layout.row(
                Tone::Bad,
                "UDP",
                "blocked: no server answers. Sessions go by TCP, over the relay or directly.",
            ),
            (None, None) if findings.rendezvous.is_some() => self.layout.row(
                Tone::Plain,
                "UDP",
                "cannot be told, since nobody answers over TCP either",
            ),
            (None, _) => self
                .layout
                .row(Tone::Plain, "", "there was nobody to ask over IPv4"),
        }
        if let Some(tcp) = &findings.direct_tcp {
            self.layout.row(Tone::Plain, "by TCP", direct_tcp(tcp));
        }
        self.gateway(findings);
        self.ipv6(&findings.ipv6);
    }

    fn ipv6(&mut self, ipv6: &Ipv6) {
        let text = match (ipv6.address, ipv6.answers) {
            (None, _) => "no global address".to_owned(),
            (Some(ip), Some(true)) => format!("{ip} reaches the rendezvous"),
            (Some(ip), Some(false)) => format!("{ip} does not reach the rendezvous"),
            (Some(ip), None) => format!("{ip}; not tried, since no server has an IPv6 address"),
        };
        self.layout.row(Tone::Plain, "IPv6", &text);
        if ipv6.nat64 {
            let text = "IPv4 through a NAT64: this network has IPv6 alone";
            self.layout.row(Tone::Plain, "", text);
        }
    }

    fn nat(&mut self, nat: &Nat, findings: &Findings) {
        let external: Vec<String> = nat.external.iter().map(ToString::to_string).collect();
        let seen = external.join(", ");
        let address = match (nat.inside, nat.mapping) {
            (Some(inside), Some(Mapping::Untranslated)) if nat.kind.is_none() => format!(
                "{inside}; the servers are in this host's own network, so nothing can be told of what lies between \
                 it and peers elsewhere"
            ),
            (Some(inside), Some(Mapping::Untranslated)) => format!("{inside}, no NAT"),
            (Some(inside), _) => format!("{inside}, seen from outside as {seen}"),
            (None, _) => format!("seen from outside as {seen}"),
        };
        self.layout.row(Tone::Plain, "address", &address);
        self.layout.row(Tone::Plain, "mapping", &mapping(nat));
        self.layout.row(Tone::Plain, "filtering", &filtering(nat));
        if let Some(ports) = nat.ports {
            self.layout.row(Tone::Plain, "ports", &allocation(ports));
        }
        match (findings.lifetime, nat.mapping) {
            (_, Some(Mapping::Untranslated)) => {}
            (Some(lifetime), _) => {
                let text = match lifetime.less_than_s {
                    Some(gone) => {
                        format!("an idle mapping lasts {} to {gone} s", lifetime.at_least_s)
                    }
                    None => format!("an idle mapping lasts more than {} s", lifetime.at_least_s),
                };
                self.layout.row(Tone::Plain, "lifetime", &text);
            }
            (None, _) => self.layout.row(
                Tone::Plain,
                "lifetime",
                "not measured: --deep does, in minutes",
            ),
        }
        match nat.hairpin {
            Some(true) => self.layout.row(
                Tone::Plain,
                "hairpin",
                "yes: two hosts here reach each other by their outside addresses",
            ),
            Some(false) => self.layout.row(
                Tone::Plain,
                "hairpin",
                "no: two hosts here meet on the local network alone",
            ),
            None => {}
        }
    }

    fn gateway(&mut self, findings: &Findings) {
        let gateway = &findings.gateway;
        if gateway.protocols.is_empty() {
            return;
        }
        let speaks: Vec<String> = gateway
            .protocols
            .iter()
            .filter(|protocol| protocol.speaks)
            .map(|protocol| match protocol.external {
                Some(external) => format!("{} (outside {external})", protocol.name),
                None => protocol.name.clone(),
            })
            .collect();
        let refused = gateway.protocols.iter().find_map(|protocol| {
            let why = protocol.refused.as_ref()?;
            Some(format!("{} is refused: {why}", protocol.name))
        });
        let text = match (speaks.is_empty(), refused) {
            (false, _) => format!("maps ports by {}", speaks.join(", ")),
            (true, Some(refused)) => refused,
            (true, None) => {
                let asked: Vec<&str> = gateway.protocols.iter().map(|p| p.name.as_str()).collect();
                format!("maps no ports: it speaks none of {}", asked.join(", "))
            }
        };
        self.layout.row(Tone::Plain, "gateway", &text);
    }

    fn forecast(&mut self, findings: &Findings) {
        if findings.forecast.is_empty() {
            return;
        }
        let here = findings.kind.map_or("", Class::of_this_host);
        self.layout.heading(&format!("Forecast: {here}"));
        self.layout.line(Tone::Plain, "  with a peer behind …");
        for forecast in &findings.forecast {
            let tone = match forecast.outlook {
                Outlook::Direct { .. } => Tone::Good,
                Outlook::Sometimes { .. } => Tone::Warning,
                Outlook::Relayed => Tone::Plain,
            };
            let line = format!(
                "  {:<41}{}",
                forecast.peer.in_words(),
                in_short(forecast.outlook)
            );
            self.layout.line(tone, &line);
        }
        if findings.ipv6.answers == Some(true) {
            self.layout.line(
                Tone::Good,
                "  IPv6, whatever the NATs                  direct",
            );
        }
    }

    fn sentences(&mut self, heading: &str, sentences: &[String]) {
        if sentences.is_empty() {
            return;
        }
        self.layout.heading(heading);
        for sentence in sentences {
            self.layout.paragraph(Tone::Plain, "  ", sentence);
        }
    }

    fn debuggers(&mut self, findings: &Findings) {
        self.layout.heading("Debuggers on this host");
        if findings.debug_ports.is_empty() {
            let none = "nothing listens on the usual ports; name one for its known traps, as in p2pdbg doctor gdbserver";
            self.layout.paragraph(Tone::Plain, "  ", none);
            return;
        }
        for port in &findings.debug_ports {
            let name = format!("{} ({})", port.port, port.debuggers.join(", "));
            let text = match &port.listening {
                None => format!("{name}: it cannot be seen who listens here"),
                Some(all) if all.is_empty() => {
                    let whose = match port.listener {
                        Some("ide") => ", as it should be unless the IDE runs here",
                        Some(_) => ", as it should be unless the program runs here",
                        None => "",
                    };
                    format!("{name}: nothing listens{whose}")
                }
                Some(all) => {
                    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                    format!("{name}: something listens on {}", all.join(", "))
                }
            };
            let tone = if port.open_to_network {
                Tone::Warning
            } else {
                Tone::Plain
            };
            self.layout.paragraph(tone, "  ", &text);
            for trap in &port.traps {
                self.layout
                    .paragraph(Tone::Plain, "    ", &format!("{}:", trap.symptom));
                self.layout
                    .broken(Tone::Plain, "      -> ", "         ", trap.fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::{ErrorCode, Failure};
    use p2pdbg_nat::{Filtering, Ports};

    use super::{layout::WIDTH, *};
    use crate::doctor::{
        debuggers,
        findings::{
            ControlConnection, DirectTcp, Forecast, Gateway, GatewayProtocol, PathMtu, Proxy,
        },
        outlook,
    };

    /// A host behind the usual router, as `change` makes it.
    fn screen(change: impl FnOnce(&mut Findings)) -> String {
        let nat = Nat {
            inside: "192.168.1.23".parse().ok(),
            external: vec!["198.51.100.20".parse().unwrap()],
            mapped: "198.51.100.20:40000".parse().ok(),
            mapping: Some(Mapping::EndpointIndependent),
            mapping_certain: true,
            filtering: Some(Filtering::AddressAndPortDependent),
            filtering_certain: true,
            ports: Some(Ports::Preserved),
            hairpin: Some(false),
            kind: Some(Class::PortRestricted),
        };
        let answers = Probe {
            answers: true,
            rtt_ms: Some(40.2),
            why: None,
        };
        let forecast = Class::ALL.into_iter().map(|peer| Forecast {
            peer,
            outlook: outlook::outlook(Class::PortRestricted, peer),
        });
        let mut findings = Findings {
            version: "0.0.0",
            ok: true,
            error: None,
            rendezvous: Some(Rendezvous {
                authority: "rdv.example:3478".into(),
                hosts: Vec::new(),
                addresses: Vec::new(),
                udp: answers.clone(),
                tcp: answers,
                web: None,
                control: ControlConnection::Welcome,
                stun_addresses: 2,
                silent: Vec::new(),
                poor_view: None,
            }),
            udp: Some(true),
            nat: Some(nat),
            direct_tcp: None,
            lifetime: None,
            ipv6: Ipv6 {
                address: None,
                answers: None,
                untranslated: None,
                nat64: false,
            },
            path_mtu: Some(PathMtu { bytes: 1492 }),
            gateway: Gateway {
                address: None,
                protocols: Vec::new(),
            },
            proxy: None,
            kind: Some(Class::PortRestricted),
            forecast: forecast.collect(),
            help: Vec::new(),
            debug_ports: Vec::new(),
            warnings: Vec::new(),
        };
        change(&mut findings);
        Screen::of(&findings).text(false)
    }

    #[test]
    fn one_screen_of_eighty_columns_says_it_in_the_words_of_the_field_and_in_plain_ones() {
        let text = screen(|_| {});
        for expected in [
            "Rendezvous rdv.example:3478",
            "  UDP        answers, RTT 40 ms",
            "  path MTU   1492 bytes",
            "  mapping    endpoint-independent: one outside port for all destinations",
            "  filtering  address and port-dependent: lets in only answers",
            "  ports      preserved: the same outside as inside",
            "  a symmetric NAT with random ports        direct in 1.4 s (birthday-search)",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected}: {text}"
            );
        }
        assert!(text.lines().count() <= 32, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn network_that_lets_the_web_through_alone_is_said_to_be_one() {
        let silent = |why: &str| Probe {
            answers: false,
            rtt_ms: None,
            why: Some(why.into()),
        };
        let text = screen(|findings| {
            (findings.nat, findings.udp) = (None, Some(false));
            let rendezvous = findings.rendezvous.as_mut().unwrap();
            rendezvous.udp = silent("no answer");
            rendezvous.tcp = silent("something else answers");
            rendezvous.web = Some(Probe {
                answers: true,
                ..silent("")
            });
        });
        for expected in [
            "  TCP        something else answers",
            "  WebSocket  answers",
            "  UDP        blocked: no server answers. Sessions go over the relay, by",
            "             WebSocket.",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected}: {text}"
            );
        }
    }

    #[test]
    fn ipv4_that_is_reached_through_a_nat64_is_said_to_be() {
        let line = "             IPv4 through a NAT64: this network has IPv6 alone";
        let says = |text: &str| text.lines().any(|said| said == line);
        assert!(says(&screen(|findings| findings.ipv6.nat64 = true)));
        assert!(!says(&screen(|_| {})));
    }

    #[test]
    fn whether_direct_paths_by_tcp_may_be_had_is_said() {
        for (mapping, expected) in [
            (Some(Mapping::EndpointIndependent), "without UDP may work"),
            (
                Some(Mapping::AddressAndPortDependent),
                "another outside port for each",
            ),
            (Some(Mapping::Untranslated), "peers connect to this host"),
            (None, "one server"),
        ] {
            let text = screen(|findings| {
                (findings.nat, findings.udp) = (None, Some(false));
                let mapped = "198.51.100.20:40000".parse().unwrap();
                findings.direct_tcp = Some(DirectTcp { mapped, mapping });
            });
            assert!(text.contains("Sessions go by TCP"), "{text}");
            let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(expected), "{expected}: {text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_that_others_say_reaches_the_terminal_as_more_than_text() {
        let evil = "\u{1b}[2J\r\nroot#\u{202e}";
        let text = screen(|findings| {
            findings.error = Some(Failure::new(ErrorCode::Internal, evil).hint(evil));
            if let Some(rendezvous) = &mut findings.rendezvous {
                rendezvous.authority = evil.into();
                rendezvous.tcp = Probe {
                    answers: false,
                    rtt_ms: None,
                    why: Some(evil.into()),
                };
            }
            findings.gateway.protocols.push(GatewayProtocol {
                name: evil.into(),
                speaks: false,
                external: None,
                refused: Some(evil.into()),
            });
            findings.proxy = Some(Proxy {
                address: Some(evil.into()),
                why: None,
            });
            findings.help.push(evil.into());
            findings.warnings.push(evil.into());
        });
        let shown = text.chars().filter(|c| *c != '\n');
        assert!(
            shown.clone().all(|c| !c.is_control() && c != '\u{202e}'),
            "{text}"
        );
        assert!(text.lines().all(|line| line != "root#"), "{text}");
    }

    #[test]
    fn the_traps_of_a_debugger_are_told_with_the_fix() {
        let asked: Vec<_> = ["gdbserver", "pydevd"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let text = screen(|findings| findings.debug_ports = debuggers::look(&asked));
        for fix in [
            "remotetimeout 60",
            "set sysroot",
            "stdout_to_server",
            "single fixed port",
        ] {
            assert!(text.contains(fix), "{fix}: {text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }
}
