//! A host: where the programs under test run.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Error, Link, Network, Node};

/// A host with one link, or more: to be on two networks at once, or to roam.
#[derive(Clone, Debug)]
pub struct Host {
    node: Node,
    links: Arc<Mutex<Links>>,
}

#[derive(Debug, Default)]
struct Links {
    present: Vec<Link>,
    /// How many there have been; numbers the interfaces.
    made: u32,
}

impl Host {
    pub(crate) fn new(name: &str, network: &Network) -> Result<Self, Error> {
        let ipv6 = network.plan().gateway().v6.is_some();
        let host = Self {
            node: Node::new(network.router().lab(), name, ipv6)?,
            links: Arc::default(),
        };
        host.attach(network)?;
        Ok(host)
    }

    /// The IPv4 address on the oldest link.
    ///
    /// # Panics
    /// After the last link was detached.
    pub fn ip(&self) -> Ipv4Addr {
        self.link().ip()
    }

    /// The IPv6 address on the oldest link, where the internet is dual-stack.
    ///
    /// # Panics
    /// After the last link was detached.
    pub fn ip6(&self) -> Option<Ipv6Addr> {
        self.link().ip6()
    }

    /// The oldest link.
    ///
    /// # Panics
    /// After the last link was detached.
    pub fn link(&self) -> Link {
        let links = self.lock();
        links.present.first().expect("the host has a link").clone()
    }

    /// Adds a link. Its default route is used where those of the older links are gone.
    pub fn attach(&self, network: &Network) -> Result<Link, Error> {
        let mut links = self.lock();
        let interface = format!("eth{}", links.made);
        let link = Link::new(&self.node, &interface, 100 + links.made, network)?;
        links.made += 1;
        links.present.push(link.clone());
        Ok(link)
    }

    /// Removes a link and its interface.
    pub fn detach(&self, link: &Link) -> Result<(), Error> {
        let mut links = self.lock();
        let position = links
            .present
            .iter()
            .position(|present| present.interface() == link.interface())
            .ok_or_else(|| Error::NoLink {
                node: self.name().to_owned(),
                link: link.interface().to_owned(),
            })?;
        links.present.remove(position).remove()
    }

    /// Moves to another network: the new link stands before the others are removed.
    pub fn roam(&self, network: &Network) -> Result<Link, Error> {
        let left = self.lock().present.clone();
        let link = self.attach(network)?;
        for old in &left {
            self.detach(old)?;
        }
        Ok(link)
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Host {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}
