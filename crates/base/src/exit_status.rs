//! The exit status of the program: whose fault a failure is, and what a COMMAND ended with.

use crate::{ErrorCode, Failure, Outcome};

impl Failure {
    /// The exit status of the program.
    pub fn exit_status(&self) -> u8 {
        self.code.exit_status()
    }
}

impl ErrorCode {
    /// The exit status that goes with it: 2 usage, 3 code refused or expired, 4 rendezvous, else 1.
    ///
    /// A COMMAND that cannot be started gives 127 or 126, as from a shell.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Usage
            | Self::ForwardMalformed
            | Self::CodeMalformed
            | Self::CodeMissing
            | Self::RendezvousUrl
            | Self::RendezvousMissing
            | Self::Configuration => 2,
            Self::CodeRefused | Self::CodeExpired | Self::NameplateUnknown => 3,
            Self::RendezvousUnreachable
            | Self::RendezvousRefused
            | Self::RendezvousVersion
            | Self::RendezvousIdentity => 4,
            Self::PeerUnknown
            | Self::PeerIdentity
            | Self::PeerVersion
            | Self::PeerGone
            | Self::PeerMisbehaved
            | Self::NoPath
            | Self::PortInUse
            | Self::PortNotOpened
            | Self::TargetNotAllowed
            | Self::StateDir
            | Self::SessionUnknown
            | Self::NothingForIde
            | Self::PushIncomplete
            | Self::NotAttached
            | Self::IdeFile
            | Self::NoPlace
            | Self::NoSession
            | Self::ControlSocket
            | Self::PipeBroken
            | Self::Output
            | Self::Internal => 1,
            Self::CommandNotFound => 127,
            Self::CommandNotStarted => 126,
        }
    }
}

impl Outcome {
    /// The exit status of the program.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Interrupted => 130,
            Self::Command(status) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_tells_whose_fault_it_is() {
        let status = |code| Failure::new(code, "").exit_status();
        assert_eq!(status(ErrorCode::ForwardMalformed), 2);
        assert_eq!(status(ErrorCode::NameplateUnknown), 3);
        assert_eq!(status(ErrorCode::RendezvousIdentity), 4);
        assert_eq!(status(ErrorCode::PortInUse), 1);
        assert_eq!(status(ErrorCode::CommandNotFound), 127);
        assert_eq!(Outcome::Interrupted.exit_status(), 130);
        assert_eq!(Outcome::Command(7).exit_status(), 7);
    }
}
