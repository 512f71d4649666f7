//! The places of a listener: how many peers may have a session at once, and which ports beside the IDE are whose.
//!
//! The ports of all places are open from the start to the end, whichever sessions there are meanwhile: an IDE that
//! comes early is held, and a port does not change hands between two sessions. The first place has the ports that were
//! asked for; each further one the next ports that are free, or those that `--map` gives to the peer of that name. A
//! peer that returns gets the place that it had.

use std::{collections::HashSet, io, sync::Arc};

use p2pdbg_base::{ErrorCode, Failure, HoldPolicy, PeerName};
use p2pdbg_forward::{Direction, Forward, OpenPort, port_failure};
use p2pdbg_proto::tunnel::WhileAbsent;
use p2pdbg_session::while_absent;

use crate::{
    cli::{PeersOptions, PortMap},
    recent_sessions::RecentSession,
};

#[derive(Debug)]
pub(super) struct Place {
    /// The forwards, with the ports that are open for them.
    pub(super) forwards: Vec<Forward>,
    pub(super) ports: Vec<Option<Arc<OpenPort>>>,
    /// What `p2pdbg ide` reads; of a listener alone.
    pub(super) recent: Option<RecentSession>,
    /// Who has it, or had it last.
    owner: Option<PeerName>,
    /// Whether nobody but its owner gets it, who was named on the command line.
    kept: bool,
    taken: bool,
    /// At which departure it became free; the one that left first makes room first.
    left: u64,
}

impl Place {
    /// Who has it, had it last, or is awaited in it.
    pub(super) fn owner(&self) -> Option<&PeerName> {
        self.owner.as_ref()
    }
}

#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    absent: Option<HoldPolicy>,
    asked: Vec<Forward>,
    /// The peers for whom a place is kept, even if others wait.
    awaited: Vec<PeerName>,
    maps: Vec<PortMap>,
    table: Vec<Place>,
    departures: u64,
}

/// Which ports a place has.
enum Ports<'a> {
    /// Those that were asked for.
    Asked,
    /// The next that are free.
    Next,
    /// These, and for the forwards that they do not reach to the next that are free.
    Mapped(&'a PortMap),
}

impl Places {
    /// Opens the ports beside the IDE, before anything else can go wrong because of them.
    ///
    /// # Errors
    /// When a port that was asked for cannot be opened, or `--map` does not fit the forwards.
    pub(super) fn open(
        asked: Vec<Forward>,
        absent: Option<HoldPolicy>,
        peers: &PeersOptions,
    ) -> Result<Self, Failure> {
        let mut places = Self {
            most: peers.most,
            absent,
            asked,
            awaited: peers.known.clone(),
            maps: peers.maps.clone(),
            table: Vec::new(),
            departures: 0,
        };
        if places.most == 1 && places.maps.is_empty() {
            places.add(Ports::Asked, None)?;
            return Ok(places);
        }
        let mapped = |name: &PeerName| peers.maps.iter().find(|map| map.name == *name);
        let others = peers.maps.iter().filter(|m| !peers.known.contains(&m.name));
        let strangers = peers
            .most
            .saturating_sub(peers.known.len() + others.clone().count());
        for name in &peers.known {
            let ports = mapped(name).map_or(places.unmapped(), Ports::Mapped);
            places.add(ports, Some(name.clone()))?;
        }
        for _ in 0..strangers {
            places.add(places.unmapped(), None)?;
        }
        for map in others {
            places.add(Ports::Mapped(map), Some(map.name.clone()))?;
        }
        Ok(places)
    }

    /// A place for a peer of that name, which has none now: its own if it has had one or was named, else one that
    /// nobody has had or, at last, the one that is free for the longest time. `None` if as many are taken as may be.
    ///
    /// # Errors
    /// When a further place is needed and its ports cannot be opened.
    pub(super) fn take(&mut self, name: &PeerName) -> Result<Option<usize>, Failure> {
        if !self.has_room_for(name) {
            return Ok(None);
        }
        let free = || {
            let places = self.table.iter().enumerate();
            places.filter(|(_, place)| !place.taken)
        };
        let own = free().find(|(_, place)| place.owner.as_ref() == Some(name));
        let new = || free().find(|(_, place)| place.owner.is_none());
        let left = || {
            let places = free().filter(|(_, place)| !place.kept);
            places.min_by_key(|(_, place)| place.left)
        };
        let found = own.or_else(new).or_else(left).map(|(index, _)| index);
        let index = match found {
            Some(index) => index,
            // More have come than were not named: the ports of the others wait for them.
            None => {
                self.add(self.unmapped(), None)?;
                self.table.len() - 1
            }
        };
        let place = &mut self.table[index];
        place.owner = Some(name.clone());
        place.taken = true;
        Ok(Some(index))
    }

    /// A peer has left its place.
    pub(super) fn release(&mut self, index: usize) {
        self.departures += 1;
        if let Some(place) = self.table.get_mut(index) {
            place.taken = false;
            place.left = self.departures;
        }
    }

    /// Whether a peer of that name could have a place now.
    pub(super) fn has_room_for(&self, name: &PeerName) -> bool {
        match self.awaited.contains(name) {
            true => self.taken().count() < self.most,
            false => self.room() > 0,
        }
    }

    /// How many peers that were not named may come now.
    pub(super) fn room(&self) -> usize {
        let is_here =
            |name: &&PeerName| self.taken().any(|place| place.owner.as_ref() == Some(name));
        let kept = self.awaited.iter().filter(|name| !is_here(name)).count();
        self.most.saturating_sub(self.taken().count() + kept)
    }

    /// How many peers there may be at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn get(&self, index: usize) -> Option<&Place> {
        self.table.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Place> {
        self.table.get_mut(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.table.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.table.iter_mut()
    }

    /// The names for which `--map` has ports and that nobody has had so far.
    pub(super) fn unused_maps(&self) -> impl Iterator<Item = &PeerName> {
        let unused = |place: &&Place| place.kept && !place.taken && place.left == 0;
        let names = self.table.iter().filter(unused);
        names
            .filter_map(|place| place.owner.as_ref())
            .filter(|name| !self.awaited.contains(name))
    }

    fn taken(&self) -> impl Iterator<Item = &Place> {
        self.table.iter().filter(|place| place.taken)
    }

    /// The ports of the next place to which none are mapped.
    fn unmapped(&self) -> Ports<'static> {
        let is_mapped = |place: &Place| {
            let owner = place.owner.as_ref().filter(|_| place.kept);
            owner.is_some_and(|owner| self.maps.iter().any(|map| map.name == *owner))
        };
        match self.table.iter().all(is_mapped) {
            true => Ports::Asked,
            false => Ports::Next,
        }
    }

    /// Opens what a forward has here, unless it is open only while its target listens: then it is opened when it does.
    /// `mapped` is the port that the map has for it.
    fn open_for(
        &self,
        forward: &mut Forward,
        ports: &Ports<'_>,
        mapped: Option<u16>,
    ) -> Result<Option<OpenPort>, Failure> {
        let refuse = while_absent(forward, self.absent) == WhileAbsent::Refuse;
        if forward.socket.is_some() {
            self.name_socket(forward);
            let open = || OpenPort::of(forward).map_err(|error| port_failure(forward, &error));
            return (!refuse).then(open).transpose();
        }
        let asked = match ports {
            Ports::Asked => Some(forward.bind.port),
            Ports::Mapped(_) | Ports::Next => mapped,
        };
        let Some(asked) = asked else {
            let port = self.open_next(forward)?;
            if let Some(port) = port.as_ref().filter(|_| !refuse) {
                forward.bind.port = port.port();
            }
            return Ok(port.filter(|_| !refuse));
        };
        forward.bind.port = asked;
        if refuse {
            return Ok(None);
        }
        let port = OpenPort::open(forward.bind).map_err(|error| {
            let failure = port_failure(forward, &error);
            match ports {
                Ports::Mapped(map) => failure.hint(format!(
                    "end it, or give {} another port by --map",
                    map.name
                )),
                Ports::Asked | Ports::Next => failure,
            }
        })?;
        forward.bind.port = port.port();
        Ok(Some(port))
    }

    fn add(&mut self, ports: Ports<'_>, owner: Option<PeerName>) -> Result<(), Failure> {
        let mut forwards = self.asked.clone();
        let mut open = Vec::new();
        let mut mapped = match &ports {
            Ports::Mapped(map) => map.ports.iter(),
            Ports::Asked | Ports::Next => [].iter(),
        };
        for forward in &mut forwards {
            let port = match forward.direction {
                Direction::ToIde => None,
                Direction::ToDebuggee => {
                    let asked = match forward.socket {
                        Some(_) => None,
                        None => mapped.next().copied(),
                    };
                    self.open_for(forward, &ports, asked)?
                }
            };
            open.push(port.map(Arc::new));
        }
        if let (Ports::Mapped(map), Some(_)) = (&ports, mapped.next()) {
            let opened = forwards
                .iter()
                .filter(|f| f.direction == Direction::ToDebuggee);
            let message = format!(
                "--map gives {} {} ports, and {} forwards open one here",
                map.name,
                map.ports.len(),
                opened.count()
            );
            return Err(Failure::new(ErrorCode::Usage, message)
                .hint("name a port for each forward that opens one beside the IDE, or for fewer"));
        }
        self.table.push(Place {
            forwards,
            ports: open,
            recent: None,
            kept: owner.is_some(),
            owner,
            taken: false,
            left: 0,
        });
        Ok(())
    }

    /// Gives the socket of a further place a name of its own: `gdb.sock-2` beside `gdb.sock`.
    fn name_socket(&self, forward: &mut Forward) {
        let place = self.table.len() + 1;
        if let Some(path) = forward.socket.as_mut().filter(|_| place > 1) {
            path.as_mut_os_string().push(format!("-{place}"));
        }
    }

    /// Opens the next port above the one that was asked for that is free here and nobody's. It stays noted in the
    /// forward if it is not kept open.
    fn open_next(&self, forward: &mut Forward) -> Result<Option<OpenPort>, Failure> {
        let spoken_for: HashSet<u16> = self.spoken_for().collect();
        let asked = forward.bind.port;
        let opened = match asked {
            0 => OpenPort::open(forward.bind),
            _ => OpenPort::open_above(forward.bind, |port| !spoken_for.contains(&port)),
        };
        match opened {
            Ok(port) => {
                forward.bind.port = port.port();
                Ok(Some(port))
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let message = format!("no port above {asked} is free for a further peer");
                Err(Failure::new(ErrorCode::PortInUse, message)
                    .hint("forward another port, or give each peer its own by --map NAME=PORT"))
            }
            Err(error) => Err(port_failure(forward, &error)),
        }
    }

    /// The ports that have or will have an owner.
    fn spoken_for(&self) -> impl Iterator<Item = u16> {
        let forwards = self.table.iter().flat_map(|place| &place.forwards);
        let forwards = forwards.chain(&self.asked);
        let opened = forwards.filter(|forward| forward.direction == Direction::ToDebuggee);
        let mapped = self.maps.iter().flat_map(|map| map.ports.iter().copied());
        let opened = opened.map(|forward| forward.bind.port);
        opened.chain(mapped).filter(|port| *port != 0)
    }
}

#[cfg(test)]
mod tests;
