//! Routing netlink (man 7 rtnetlink): messages taken apart, and questions that the kernel answers at once.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The size of a message's header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// A link that is, and the question for one.
pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;

/// The size of what is told of a link before its attributes (`struct ifinfomsg`).
pub(crate) const LINK: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;

/// All that there are, not one.
const NLM_F_DUMP: u16 = 0x300;

/// The flag of an answer of several messages, whose end is told.
const NLM_F_MULTI: u16 = 2;

/// What marks the type of an attribute that has others in it.
const NLA_F_NESTED: u16 = 0x8000;

/// A message that asks for one thing.
pub(crate) fn question(kind: u16, body: &[u8]) -> Vec<u8> {
    message(kind, NLM_F_REQUEST, body)
}

/// A message that asks for all of a kind.
pub(crate) fn question_for_all(kind: u16, body: &[u8]) -> Vec<u8> {
    message(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// An attribute of a message.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Asks the kernel, and hands each message of its answer, with its type, to `take`.
///
/// # Errors
/// The operating system's; also where there is no netlink.
pub(crate) fn ask(question: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    // The answer, or the first part of it, is there once the question is sent, and each next part once one is read.
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    socket.send_to(question, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, from) = socket.recv_from_full()?;
        // Any process may write to the socket of another.
        if from.port_number() != 0 {
            continue;
        }
        let mut rest = &datagram[..];
        while let Some((kind, body, after)) = split(rest) {
            let flags = rest
                .get(6..8)
                .map_or(0, |flags| u16::from_ne_bytes([flags[0], flags[1]]));
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = word(body, 0).unwrap_or_default().cast_signed();
                    return match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => take(kind, body),
            }
            if flags & NLM_F_MULTI == 0 {
                return Ok(());
            }
            rest = after;
        }
    }
}

/// The type and the body of the first message, and what follows it.
pub(crate) fn split(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = word(datagram, 0)? as usize;
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    let body = datagram.get(HEADER..length)?;
    // Messages are padded to four bytes.
    let rest = datagram
        .get(length.next_multiple_of(4)..)
        .unwrap_or_default();
    Some((kind, body, rest))
}

/// The attributes in these bytes, up to the first that is cut short: their types and values.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(half(0)?), half(2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NLA_F_NESTED, value))
    })
}

/// The 32 bits at this place.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
