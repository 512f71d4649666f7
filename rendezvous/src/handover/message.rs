//! The message from a process to its successor, which is the same process with another program.

use std::{io, path::Path};

#[cfg(unix)]
use socket2::Socket;
use zeroize::Zeroizing;

/// Set to the process's id for its successor, which has the same one: whose standard input brings the inheritance.
const HEIR: &str = "P2PDBG_RENDEZVOUS_HEIR";

/// The most descriptors that Linux passes in one message, less the one of the state.
pub(crate) const MOST_SOCKETS: usize = 252;

/// Open sockets and state, ready for a successor.
#[derive(Debug)]
pub struct Handover {
    #[cfg(unix)]
    pub(crate) sockets: Vec<std::os::fd::OwnedFd>,
    pub(crate) state: Zeroizing<Vec<u8>>,
}

impl Handover {
    /// Makes this process run `program` with these arguments, as the heir of all this. Comes back only if that fails.
    #[cfg(target_os = "linux")]
    pub fn execute(self, program: &Path, args: &[std::ffi::OsString]) -> io::Error {
        use std::os::unix::process::CommandExt;

        let input = match self.pack() {
            Ok(input) => input,
            Err(error) => return error,
        };
        std::process::Command::new(program)
            .args(args)
            .env(HEIR, std::process::id().to_string())
            // Of the first start; the sockets that it brought are among ours now.
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .stdin(input)
            .exec()
    }

    /// Is not done on this platform.
    #[cfg(not(target_os = "linux"))]
    pub fn execute(self, _program: &Path, _args: &[std::ffi::OsString]) -> io::Error {
        #[cfg(unix)]
        drop(self.sockets);
        let _ = (self.state, HEIR, MOST_SOCKETS);
        io::ErrorKind::Unsupported.into()
    }

    /// The end of a socket pair at which the message waits.
    #[cfg(target_os = "linux")]
    fn pack(self) -> io::Result<std::os::fd::OwnedFd> {
        use std::{fs::File, io::Write, mem::MaybeUninit, os::fd::AsFd, os::unix::net::UnixStream};

        use rustix::{
            fs::{MemfdFlags, memfd_create},
            net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
        };

        if self.sockets.len() > MOST_SOCKETS {
            return Err(io::Error::other("too many sockets to hand over"));
        }
        // It holds the keys of legs: memory of this process alone, not a file that others could open.
        let mut state = File::from(memfd_create("p2pdbg-rendezvous", MemfdFlags::CLOEXEC)?);
        state.write_all(&self.state)?;
        let (here, there) = UnixStream::pair()?;
        let mut all = vec![state.as_fd()];
        all.extend(self.sockets.iter().map(AsFd::as_fd));
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&all)) {
            return Err(io::Error::other("too many sockets to hand over"));
        }
        let word = io::IoSlice::new(b"heir");
        sendmsg(&here, &[word], &mut ancillary, SendFlags::empty())?;
        Ok(there.into())
    }
}

/// What a process has left to its successor.
#[cfg(unix)]
#[derive(Default)]
pub(super) struct Left {
    pub(super) sockets: Vec<Socket>,
    pub(super) state: Option<Vec<u8>>,
}

/// Takes what a process that executed this program has left, if one did.
#[cfg(target_os = "linux")]
pub(super) fn receive() -> io::Result<Left> {
    use std::{
        fs::File,
        io::{Read, Seek},
        mem::MaybeUninit,
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    let heir = std::env::var(HEIR).ok();
    if heir != Some(std::process::id().to_string()) {
        return Ok(Left::default());
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0; 4];
    let mut parts = [io::IoSliceMut::new(&mut word)];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    recvmsg(io::stdin(), &mut parts, &mut ancillary, flags)?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors = descriptors.flatten();
    let state = descriptors
        .next()
        .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let sockets = descriptors.map(Socket::from).collect();
    let mut state = File::from(state);
    let mut bytes = Vec::new();
    state.rewind()?;
    state.read_to_end(&mut bytes)?;
    Ok(Left {
        sockets,
        state: Some(bytes),
    })
}

/// There is never anything on this platform.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn receive() -> io::Result<Left> {
    Ok(Left::default())
}
