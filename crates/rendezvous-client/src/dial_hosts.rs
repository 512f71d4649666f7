//! One attempt to reach any of a rendezvous' hosts: one after the other, the next before the one before has given up.

use std::{collections::VecDeque, time::Duration};

use p2pdbg_proto::url::HostAt;
use tokio::{task::JoinSet, time::Instant};

use super::{
    LinkError,
    connection::Connection,
    dial::{Dialling, dial},
};

/// What came of an attempt at several hosts.
#[derive(Debug)]
pub(super) struct NoneReached {
    /// That of a host that may be reached later, if there is such; else what says most.
    pub(super) error: LinkError,
    /// The hosts that will not be, and why.
    pub(super) hopeless: Vec<(HostAt, LinkError)>,
}

impl Dialling {
    /// Dials these hosts, each `stagger` later than the one before or as soon as that has failed.
    ///
    /// # Errors
    /// Of all of them.
    pub(super) async fn dial_in_order(
        &self,
        hosts: Vec<HostAt>,
        stagger: Duration,
    ) -> Result<(HostAt, Connection), NoneReached> {
        type Attempt = Result<(HostAt, Connection), (HostAt, LinkError)>;
        let mut waiting = VecDeque::from(hosts);
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        let mut next_at = Instant::now();
        let mut failed: Option<LinkError> = None;
        let mut hopeless = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(attempt) = attempts.join_next() => match attempt {
                    Ok(Ok(reached)) => return Ok(reached),
                    Ok(Err((host, error))) => {
                        if !error.is_passing() {
                            hopeless.push((host, error.clone()));
                        }
                        failed = Some(match failed.take() {
                            Some(before) => more_useful(before, error),
                            None => error,
                        });
                        next_at = Instant::now();
                    }
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(next_at), if !waiting.is_empty() => {
                    let Some(host) = waiting.pop_front() else { continue };
                    let this = self.clone();
                    attempts.spawn(async move {
                        match this.dial(&host).await {
                            Ok(connection) => Ok((host, connection)),
                            Err(error) => Err((host, error)),
                        }
                    });
                    next_at = Instant::now() + stagger;
                }
                else => return Err(NoneReached {
                    error: failed.unwrap_or_else(|| self.unreachable()),
                    hopeless,
                }),
            }
        }
    }

    async fn dial(&self, host: &HostAt) -> Result<Connection, LinkError> {
        let url = self.url.at(host);
        let route = self.route.at(host);
        dial(&url, &route, self, host).await
    }

    fn unreachable(&self) -> LinkError {
        let authority = self.url.authority();
        LinkError::Unreachable { authority }
    }
}

/// Of the errors of two hosts the one that the person hears. One host that shows a wrong certificate is no reason to
/// give up while another may come back.
fn more_useful(one: LinkError, other: LinkError) -> LinkError {
    match (one.is_passing(), other.is_passing()) {
        (true, false) => one,
        (false, true) => other,
        _ if other.says() > one.says() => other,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_one_host_that_lasts_does_not_hide_that_another_may_come_back() {
        let authority = || "a:1".to_owned();
        let away = || LinkError::Unreachable {
            authority: authority(),
        };
        let version = || LinkError::Version {
            authority: authority(),
        };
        assert!(more_useful(version(), away()).is_passing());
        assert!(more_useful(away(), version()).is_passing());
        assert!(!more_useful(version(), version()).is_passing());
        let busy = LinkError::Busy {
            authority: authority(),
        };
        assert!(matches!(more_useful(away(), busy), LinkError::Busy { .. }));
    }
}
