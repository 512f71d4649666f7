//! The ports beside the main ones, on which STUN alone is answered: the alternative port of each address, and both
//! ports of a second address (`--alt-ip`).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::{
    bind,
    config::ServerConfig,
    datapath::socket::UdpPort,
    handover::Inheritance,
    public_host::guess,
    start_error::StartError,
    stun::topology::{SecondAddress, Side, Square, Vantages},
};

/// What was opened. In the numbering of [`Vantages`] the main ports come first, then these.
#[derive(Debug)]
pub(crate) struct Alternatives {
    pub(crate) ports: Vec<UdpPort>,
    /// How all places of STUN lie to each other.
    pub(crate) vantages: Vantages,
}

/// Opens them beside these main ports.
pub(crate) fn open(
    config: &ServerConfig,
    mains: &[UdpPort],
    inheritance: &mut Inheritance,
) -> Result<Alternatives, StartError> {
    let mut opened = Alternatives {
        ports: bind_alternatives(mains, config.alt_port, inheritance)?,
        vantages: Vantages::default(),
    };
    let mut seen = BTreeSet::new();
    for (index, main) in mains.iter().enumerate() {
        if !seen.insert(main.local().ip()) {
            continue;
        }
        for v4 in [true, false] {
            if serves(main, v4) {
                let square = square(config, mains, index, &opened.ports, v4);
                opened.vantages.0.push(square);
            }
        }
    }
    for (bound, told) in &config.alt_ips {
        let second = SecondAddress {
            bound: *bound,
            told: told.unwrap_or(*bound),
        };
        add_second(&mut opened, mains, second, inheritance)?;
    }
    Ok(opened)
}

fn serves(main: &UdpPort, v4: bool) -> bool {
    main.local().is_ipv4() == v4 || main.is_dual_stack()
}

/// One alternative port for each address that has a main one.
fn bind_alternatives(
    mains: &[UdpPort],
    port: u16,
    inheritance: &mut Inheritance,
) -> Result<Vec<UdpPort>, StartError> {
    let mut seen = BTreeSet::new();
    mains
        .iter()
        .filter(|main| seen.insert(main.local().ip()))
        .map(|main| {
            let mut address = main.local();
            address.set_port(port);
            bind::udp(address, !main.is_dual_stack(), inheritance)
        })
        .collect()
}

/// The first address of a main port, with its alternative port.
fn square(
    config: &ServerConfig,
    mains: &[UdpPort],
    index: usize,
    alternatives: &[UdpPort],
    v4: bool,
) -> Square {
    let main = &mains[index];
    let local = main.local();
    let wildcard = local.ip().is_unspecified();
    // What the operator says holds for the first port of a family.
    let is_first = mains.iter().position(|main| serves(main, v4)) == Some(index);
    let public = config.public.as_ref().filter(|_| is_first);
    let public_ip = public
        .and_then(|public| public.host.parse().ok())
        .filter(|ip: &IpAddr| ip.is_ipv4() == v4);
    let bound = match wildcard {
        false => local.ip(),
        true => public_ip.filter(|ip| is_ours(*ip)).unwrap_or_else(|| {
            let any: IpAddr = match v4 {
                true => Ipv4Addr::UNSPECIFIED.into(),
                false => Ipv6Addr::UNSPECIFIED.into(),
            };
            guess(SocketAddr::new(any, 0), false)
        }),
    };
    let alternative = alternatives
        .iter()
        .position(|alternative| alternative.local().ip() == local.ip());
    let alternative_port = alternative.map_or(0, |at| alternatives[at].local().port());
    let main_port = public
        .and_then(|public| public.port)
        .unwrap_or(local.port());
    Square {
        first: Side {
            bound,
            told: public_ip.unwrap_or(bound),
            sockets: [Some(index), alternative.map(|at| mains.len() + at)],
            ports: [main_port, alternative_port],
        },
        second: None,
        wildcard,
        dual_stack: main.is_dual_stack(),
    }
}

/// Adds a second address to the first square of its family.
fn add_second(
    opened: &mut Alternatives,
    mains: &[UdpPort],
    second: SecondAddress,
    inheritance: &mut Inheritance,
) -> Result<(), StartError> {
    let address = second.bound;
    let refuse = |why| StartError::SecondAddress { address, why };
    let Alternatives { ports, vantages } = opened;
    let of_family = |square: &&mut Square| square.first.bound.is_ipv4() == address.is_ipv4();
    let square = vantages.0.iter_mut().find(of_family).ok_or(refuse(
        "no port is opened in its address family; see --bind",
    ))?;
    if square.second.is_some() {
        return Err(refuse("there is another one of its family already"));
    }
    if square.first.bound == address {
        return Err(refuse(
            "it is the first one too; give an address other than that of the main port",
        ));
    }
    let sockets = if square.wildcard {
        if !is_ours(address) {
            return Err(refuse("this host does not have it"));
        }
        square.first.sockets
    } else {
        // The ports are to be the same at both addresses, whatever others see.
        let mut sockets = [None; 2];
        for (slot, socket) in sockets.iter_mut().zip(square.first.sockets) {
            let Some(index) = socket else { continue };
            let all = mains.iter().chain(ports.iter());
            let port = all.map(|port| port.local().port()).nth(index).unwrap_or(0);
            *slot = Some(mains.len() + ports.len());
            ports.push(bind::udp(
                SocketAddr::new(address, port),
                true,
                inheritance,
            )?);
        }
        sockets
    };
    square.second = Some(Side {
        bound: address,
        told: second.told,
        sockets,
        ports: square.first.ports,
    });
    Ok(())
}

/// Whether an interface of this host has the address.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}
