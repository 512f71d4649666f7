//! What would help, and what somebody should see to: a sentence each, the most useful first.

use p2pdbg_nat::Class;

use super::{
    debuggers,
    findings::{ControlConnection, Findings, Nat, Rendezvous},
};

/// Bytes of an IP packet that a path must carry: QUIC's least UDP payload (RFC 9000 section 14.1) and the headers of
/// IPv4.
const LEAST_MTU: usize = 1_228;

/// Mappings that are kept for less than this need keepalives more often than usual, in seconds.
const SHORT_LIFETIME: u64 = 20;

/// Fills in `help` and `warnings`.
pub(super) fn advise(findings: &mut Findings) {
    findings.help = help(findings);
    findings.warnings = warnings(findings);
}

fn help(findings: &Findings) -> Vec<String> {
    let mut help = Vec::new();
    let Some(rendezvous) = &findings.rendezvous else {
        help.push(with_what_is_wrong(findings).unwrap_or_else(|| {
            "Name a rendezvous (--rendezvous URL, or P2PDBG_RENDEZVOUS): without one this cannot tell what the \
             network does."
                .to_owned()
        }));
        if findings.nat.is_none() {
            return help;
        }
        return with_nat(help, findings);
    };
    if rendezvous.answers_by_web_alone() {
        help.push(
            "Let UDP, or TCP as it is, pass to the rendezvous: nothing but the web gets out of this network, so every \
             session is relayed by WebSocket, the slowest way."
                .to_owned(),
        );
    } else if findings.udp == Some(false) && rendezvous.tcp.answers {
        help.push(
            "Allow outgoing UDP from this network, to any port: without it every session stays on the relay, over \
             TCP. If --stun HOST answers, it is the rendezvous whose UDP port is closed."
                .to_owned(),
        );
    } else if findings.udp == Some(true) && !rendezvous.udp.answers && rendezvous.tcp.answers {
        help.push(
            "Have the operator of the rendezvous open its UDP port in the firewall: UDP gets out of this network, and \
             the rendezvous answers over TCP alone."
                .to_owned(),
        );
    } else if !rendezvous.udp.answers && !rendezvous.answers_over_tcp() {
        help.push(with_what_is_wrong(findings).unwrap_or_else(|| {
            "Check that p2pdbg-rendezvous runs and that its UDP and TCP port is open in the firewalls on the way."
                .to_owned()
        }));
    }
    help.extend(with_its_view(rendezvous));
    if rendezvous.control == ControlConnection::WelcomeWithoutKey {
        help.push(
            "To run p2pdbg listen here, use the whole URL, with the access key before the @; connect needs none."
                .to_owned(),
        );
    }
    let mut help = with_nat(help, findings);
    if findings
        .nat
        .as_ref()
        .is_some_and(|nat| !nat.mapping_certain || !nat.filtering_certain)
    {
        help.push(
            "A second address of the rendezvous (p2pdbg-rendezvous --alt-ip, or --stun here) would tell what \
             the NAT depends on for certain."
                .to_owned(),
        );
    }
    help
}

/// What to do about what is wrong with the way to the rendezvous, in a sentence.
fn with_what_is_wrong(findings: &Findings) -> Option<String> {
    let mut hint = findings.error.as_ref()?.hint.clone()?;
    hint.get_mut(..1)?.make_ascii_uppercase();
    hint.push('.');
    Some(hint)
}

/// What the operator of the rendezvous could do, so that it sees its peers as they are.
fn with_its_view(rendezvous: &Rendezvous) -> Vec<String> {
    let mut help = Vec::new();
    if let Some(seen) = rendezvous.poor_view {
        help.push(format!(
            "The rendezvous sees this host at {seen}, a private address: it is in this host's own network, or something \
             in front of it rewrites sources (a container's proxy or bridge, a load balancer), for which its operator \
             should give it the host's network. Either way --stun HOST at one end finds direct paths."
        ));
    }
    if let Some(silent) = rendezvous.silent.first() {
        help.push(format!(
            "Have the operator of the rendezvous open UDP {silent} too: it does not answer, so that NATs are told \
             apart more slowly and hard ones are not recognised."
        ));
    }
    help
}

/// What would help against the NAT.
fn with_nat(mut help: Vec<String>, findings: &Findings) -> Vec<String> {
    let Some(kind) = findings.kind else {
        return help;
    };
    let maps = findings.gateway.protocols.iter().any(|p| p.speaks);
    let mapped_in_public = findings
        .gateway
        .protocols
        .iter()
        .any(|p| p.speaks && p.external.is_none_or(super::is_public));
    let hard = matches!(kind, Class::Sequential | Class::Block | Class::Random);
    if maps && mapped_in_public && kind > Class::FullCone && kind != Class::UdpBlocked {
        help.push(
            "The gateway maps ports when asked, so most peers will be reached through a mapped port whatever the \
             table says."
                .to_owned(),
        );
    } else if maps && !mapped_in_public {
        help.push(
            "The gateway maps ports, but is itself behind another NAT: only that one's operator could open a port."
                .to_owned(),
        );
    } else if hard {
        help.push(
            "Switch on UPnP, NAT-PMP or PCP in the router, or forward a UDP port to this host: then any peer with \
             UDP goes direct."
                .to_owned(),
        );
    }
    if hard && findings.ipv6.address.is_none() {
        help.push("IPv6 at both ends goes direct without any of this.".to_owned());
    }
    if kind == Class::Random {
        help.push(
            "Another network at one end (a mobile phone's tethering is rarely better, a home connection mostly is)."
                .to_owned(),
        );
    }
    let short = findings.lifetime.is_some_and(|lifetime| {
        lifetime
            .less_than_s
            .is_some_and(|gone| gone <= SHORT_LIFETIME)
    });
    if short {
        help.push(
            "The NAT forgets idle mappings sooner than most: a longer UDP timeout in the router would spare sessions \
             from being found anew."
                .to_owned(),
        );
    }
    help
}

fn warnings(findings: &Findings) -> Vec<String> {
    let mut warnings: Vec<String> = findings
        .debug_ports
        .iter()
        .filter_map(debuggers::warning)
        .collect();
    if let Some(mtu) = findings.path_mtu
        && mtu.bytes < LEAST_MTU
    {
        warnings.push(format!(
            "only packets of up to {} bytes reach the rendezvous, and a direct path needs {LEAST_MTU}: large packets \
             are dropped on the way",
            mtu.bytes
        ));
    }
    let several = |nat: &Nat| nat.external.len() > 1;
    if findings.nat.as_ref().is_some_and(several) {
        warnings.push(
            "the external address changes between mappings, which makes direct paths rarer"
                .to_owned(),
        );
    }
    warnings
}
