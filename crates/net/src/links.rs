//! What the interfaces of this host are: whether each is up, and whether it leads to other hosts or to what runs on
//! this very one.

#[cfg(target_os = "linux")]
use std::collections::HashMap;

/// How many interfaces one may lie upon another, as a VLAN does on a bridge, and that on a device.
#[cfg(target_os = "linux")]
const LAYERS: u32 = 4;

/// Stands for the driver of the loopback, which is not named.
#[cfg(target_os = "linux")]
const LOOPBACK: &str = "loopback";

/// One interface. Where nothing is told of one, it is up and leads outside.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct Link {
    is_down: bool,
    /// The driver's name; devices have none, and the loopback has this module's.
    kind: String,
    is_point_to_point: bool,
    /// The bridge, or the bond, that it is a part of.
    master: Option<u32>,
    /// Whether it is a port of a bridge.
    is_port: bool,
    /// What it lies on, on this host.
    lower: Option<u32>,
}

/// The interfaces by their indices.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(crate) struct Links(HashMap<u32, Link>);

/// The interfaces, of which no system but Linux tells: all of them are up and lead outside.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct Links;

#[cfg(not(target_os = "linux"))]
impl Links {
    pub(crate) fn of_this_host() -> Self {
        Self
    }

    pub(crate) fn is_up(&self, _: u32) -> bool {
        true
    }

    pub(crate) fn leads_outside(&self, _: u32) -> bool {
        true
    }
}

#[cfg(target_os = "linux")]
impl Links {
    /// As they are now. None if the kernel does not tell: then all of them are up and lead outside.
    pub(crate) fn of_this_host() -> Self {
        linux::read().map_or_else(
            |error| {
                tracing::debug!(%error, "the kernel does not tell of the interfaces");
                Self::default()
            },
            Self,
        )
    }

    /// Whether it is up, with a carrier or not.
    pub(crate) fn is_up(&self, index: u32) -> bool {
        self.0.get(&index).is_none_or(|link| !link.is_down)
    }

    /// Whether it is a port of a bridge: its addresses are the bridge's.
    pub(crate) fn is_port(&self, index: u32) -> bool {
        self.0.get(&index).is_some_and(|link| link.is_port)
    }

    /// Whether it leads to other hosts, by a device or a tunnel. What does not are the loopback, bridges without such a
    /// port, dummies and ends of pairs, which hosts of containers make and remove all day.
    pub(crate) fn leads_outside(&self, index: u32) -> bool {
        self.leads_out(index, LAYERS)
    }

    fn leads_out(&self, index: u32, layers: u32) -> bool {
        let (Some(link), Some(layers)) = (self.0.get(&index), layers.checked_sub(1)) else {
            return true;
        };
        match link.kind.as_str() {
            _ if link.is_point_to_point => true,
            LOOPBACK | "veth" | "netkit" | "dummy" => false,
            "bridge" => self.0.iter().any(|(&port, link)| {
                // The end of a virtual machine is a tunnel's without being one.
                link.master == Some(index) && link.kind != "tun" && self.leads_out(port, layers)
            }),
            _ => link.lower.is_none_or(|lower| self.leads_out(lower, layers)),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::HashMap, io};

    use super::{LOOPBACK, Link};
    use crate::netlink::{LINK, RTM_GETLINK, RTM_NEWLINK, ask, attributes, question_for_all, word};

    // Flags (`linux/if.h`).
    const IFF_UP: u32 = 0x1;
    const IFF_LOOPBACK: u32 = 0x8;
    const IFF_POINTOPOINT: u32 = 0x10;

    // Attributes (`linux/if_link.h`).
    const IFLA_LINK: u16 = 5;
    const IFLA_MASTER: u16 = 10;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_SLAVE_KIND: u16 = 4;
    const IFLA_LINK_NETNSID: u16 = 37;

    pub(super) fn read() -> io::Result<HashMap<u32, Link>> {
        let mut links = HashMap::new();
        ask(&question_for_all(RTM_GETLINK, &[0; LINK]), |kind, body| {
            if let Some((index, link)) = (kind == RTM_NEWLINK).then(|| link(body)).flatten() {
                links.insert(index, link);
            }
        })?;
        Ok(links)
    }

    /// Takes a `struct ifinfomsg` and its attributes apart.
    fn link(body: &[u8]) -> Option<(u32, Link)> {
        let (index, flags) = (word(body, 4)?, word(body, 8)?);
        let mut link = Link {
            is_down: flags & IFF_UP == 0,
            is_point_to_point: flags & IFF_POINTOPOINT != 0,
            ..Link::default()
        };
        if flags & IFF_LOOPBACK != 0 {
            link.kind = LOOPBACK.to_owned();
        }
        let mut is_elsewhere = false;
        for (kind, value) in attributes(body.get(LINK..)?) {
            match kind {
                IFLA_LINK => link.lower = word(value, 0).filter(|lower| *lower != index),
                IFLA_MASTER => link.master = word(value, 0),
                IFLA_LINK_NETNSID => is_elsewhere = true,
                IFLA_LINKINFO => about(&mut link, value),
                _ => {}
            }
        }
        // The number of an interface of another namespace says nothing here.
        link.lower = link.lower.filter(|lower| *lower != 0 && !is_elsewhere);
        Some((index, link))
    }

    fn about(link: &mut Link, info: &[u8]) {
        let name = |value: &[u8]| {
            let text = value.split(|byte| *byte == 0).next();
            String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
        };
        for (kind, value) in attributes(info) {
            match kind {
                IFLA_INFO_KIND => link.kind = name(value),
                IFLA_INFO_SLAVE_KIND => link.is_port = name(value) == "bridge",
                _ => {}
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_a_device_leads_outside_and_what_lies_on_itself_is_not_followed_for_ever() {
        let link = |kind: &str, lower, master| Link {
            kind: kind.to_owned(),
            lower,
            master,
            ..Link::default()
        };
        let links = Links(HashMap::from([
            (1, link("", None, Some(4))),
            (2, link("vlan", Some(4), None)),
            (3, link("dummy", None, None)),
            (4, link("bridge", None, None)),
            (5, link("bridge", None, None)),
            (6, link("veth", Some(9), Some(5))),
            (7, link("tun", None, Some(5))),
            (8, link("vlan", Some(5), None)),
            (9, link("vlan", Some(9), None)),
        ]));
        let outside: Vec<u32> = (1..=10)
            .filter(|&index| links.leads_outside(index))
            .collect();
        assert_eq!(outside, [1, 2, 4, 7, 9, 10]);
    }
}
