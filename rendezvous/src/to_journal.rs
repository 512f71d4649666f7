//! Whether what is written goes to the systemd journal.

/// Whether `stream` is the one that systemd has connected to the journal, as `JOURNAL_STREAM` says
/// (systemd.exec(5)): its device and inode, with a colon between them.
#[cfg(unix)]
pub(crate) fn holds(stream: &impl std::os::fd::AsFd) -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(stream)
        .is_ok_and(|stat| journal == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// There is no journal on this system.
#[cfg(not(unix))]
pub(crate) fn holds<T>(_stream: &T) -> bool {
    false
}
