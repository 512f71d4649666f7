//! `--peer`, `--peers` and `--map` of `p2pdbg listen`: who may come, and on which ports they are reached.

use p2pdbg_base::{ErrorCode, Failure, PeerName};

use super::values::parse_name;

/// How many peers there may be at once. Each waits at a handle of the rendezvous and has sockets of its own.
const MOST: usize = 16;

/// Who may have a session with a `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersOptions {
    /// How many at once, from 1 to 16.
    pub most: usize,
    /// Known peers for whom it waits.
    pub known: Vec<PeerName>,
    /// Whether it makes codes for others.
    pub makes_codes: bool,
    /// The ports beside the IDE that some of them have.
    pub maps: Vec<PortMap>,
}

impl PeersOptions {
    /// One peer, as `connect` has.
    pub fn one() -> Self {
        Self {
            most: 1,
            known: Vec::new(),
            makes_codes: false,
            maps: Vec::new(),
        }
    }
}

/// The ports beside the IDE of one peer's forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMap {
    /// The peer, as it is called here.
    pub name: PeerName,
    /// A port for each forward that opens one here, in their order; the further ones get ports that are free.
    pub ports: Vec<u16>,
}

/// What the three mean together.
///
/// # Errors
/// Says what does not parse or cannot be, and what to write instead.
pub(super) fn resolve(
    known: &[String],
    peers: Option<&str>,
    maps: &[String],
) -> Result<PeersOptions, Failure> {
    let mut names: Vec<PeerName> = Vec::new();
    for text in known {
        let name = parse_name("--peer", text)?;
        if names.contains(&name) {
            return Err(usage(format!("--peer {name} is given twice")));
        }
        names.push(name);
    }
    let most = match peers {
        Some(text) => number(text)?,
        None => names.len().max(1),
    };
    if names.len() > most.min(MOST) {
        let message = format!("{} peers are named, and --peers is {most}", names.len());
        return Err(usage(message).hint(format!("leave --peers out, or give up to {MOST}")));
    }
    let makes_codes = names.len() < most;
    let maps = port_maps(maps)?;
    if most == 1 && !maps.is_empty() {
        return Err(usage("--map is for several peers")
            .hint("with one, name the port in the forward, as in debugpy:5700"));
    }
    if maps.len() > most {
        let message = format!("--map names {} peers, and there may be {most}", maps.len());
        return Err(usage(message).hint("let more in with a greater --peers N"));
    }
    if !makes_codes && let Some(map) = maps.iter().find(|map| !names.contains(&map.name)) {
        let message = format!("--map {}: it is none of the peers of --peer", map.name);
        return Err(usage(message).hint("name it with --peer too, or let it in with --peers N"));
    }
    Ok(PeersOptions {
        most,
        known: names,
        makes_codes,
        maps,
    })
}

fn number(text: &str) -> Result<usize, Failure> {
    let number = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    number.ok_or_else(|| {
        usage(format!(
            "--peers {text:?}: it is no number from 1 to {MOST}"
        ))
        .hint("for more, run another p2pdbg listen")
    })
}

fn port_maps(texts: &[String]) -> Result<Vec<PortMap>, Failure> {
    let mut maps: Vec<PortMap> = Vec::new();
    for text in texts {
        let map = port_map(text)?;
        if maps.iter().any(|other| other.name == map.name) {
            let message = format!("--map names {} twice", map.name);
            return Err(usage(message).hint("write --map NAME=PORT,PORT for several forwards"));
        }
        let taken = |port: &&u16| maps.iter().any(|other| other.ports.contains(port));
        if let Some(port) = map.ports.iter().find(taken) {
            let message = format!("--map gives port {port} to two peers");
            return Err(usage(message).hint("a port beside the IDE leads to one debuggee"));
        }
        maps.push(map);
    }
    Ok(maps)
}

fn port_map(text: &str) -> Result<PortMap, Failure> {
    let malformed = |why: &str| {
        usage(format!("--map {text:?}: {why}"))
            .hint("write --map NAME=PORT, as in --map web-1=5700")
    };
    let (name, ports) = text
        .split_once('=')
        .ok_or_else(|| malformed("it has no ="))?;
    let name = parse_name("--map", name.trim())?;
    let mut map = PortMap {
        name,
        ports: Vec::new(),
    };
    for port in ports.split(',') {
        let port = port.trim().parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| malformed("a port is a number from 1 to 65535"))?;
        if map.ports.contains(&port) {
            return Err(malformed("it has one port twice"));
        }
        map.ports.push(port);
    }
    Ok(map)
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        known: &[&str],
        peers: Option<&str>,
        maps: &[&str],
    ) -> Result<PeersOptions, String> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        resolve(&owned(known), peers, &owned(maps)).map_err(|failure| {
            assert_eq!(failure.code, ErrorCode::Usage);
            failure.message
        })
    }

    #[test]
    fn one_peer_by_code_is_the_default() {
        let one = PeersOptions {
            makes_codes: true,
            ..PeersOptions::one()
        };
        assert_eq!(resolved(&[], None, &[]), Ok(one));
        let known = resolved(&["web"], None, &[]).unwrap();
        assert_eq!((known.most, known.makes_codes), (1, false));
    }

    #[test]
    fn those_who_are_named_have_a_place_each_and_the_rest_is_for_codes() {
        let named = resolved(&["a", "b"], None, &["a=1,2", "b=3"]).unwrap();
        assert_eq!((named.most, named.makes_codes), (2, false));
        assert_eq!(named.maps[0].ports, [1, 2]);
        let mixed = resolved(&["a"], Some("3"), &["c=5700"]).unwrap();
        assert_eq!((mixed.most, mixed.makes_codes), (3, true));
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_begins() {
        for (known, peers, maps, says) in [
            (&[][..], Some("0"), &[][..], "from 1 to 16"),
            (&[], Some("1000"), &[], "from 1 to 16"),
            (&[], Some("-1"), &[], "from 1 to 16"),
            (&[], Some("two"), &[], "from 1 to 16"),
            (&["a", "a"], None, &[], "twice"),
            (&["a", "b"], Some("1"), &[], "2 peers are named"),
            (&[], None, &["a=1"], "several peers"),
            (&["a", "b"], None, &["c=1"], "none of the peers"),
            (&[], Some("2"), &["a=1", "a=2"], "twice"),
            (&[], Some("2"), &["a=1", "b=1"], "to two peers"),
            (&[], Some("2"), &["a=1,1"], "one port twice"),
            (&[], Some("2"), &["a=1", "b=2", "c=3"], "3 peers"),
            (&[], Some("2"), &["a"], "no ="),
            (&[], Some("2"), &["a="], "1 to 65535"),
            (&[], Some("2"), &["a=0"], "1 to 65535"),
            (&[], Some("2"), &["a=65536"], "1 to 65535"),
            (&[], Some("2"), &["=1"], "a name has"),
            (&[], Some("2"), &["a\u{1b}[2J=1"], "a name has"),
        ] {
            let message = resolved(known, peers, maps).unwrap_err();
            assert!(message.contains(says), "{message}");
            assert!(!message.contains('\u{1b}'), "{message:?}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("p{n}")).collect();
        assert!(resolve(&many, None, &[]).is_err());
    }
}
