//! The peers.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use p2pdbg_net::changes::Changes;
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous},
    url::RendezvousUrl,
};
use p2pdbg_rendezvous_client::{Link, LinkConfig, LinkError, LinkEvent, TcpRoute, Transports};
use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, timeout},
};

use crate::{Program, Report};

/// Addresses of the loopback network that the peers share. The rendezvous lets 256 come from each.
const ADDRESSES: usize = 64;

/// Over how long peers arrive: that of their keep-alives, so that those are spread evenly, as they are of peers that
/// came in the course of a day.
const ARRIVALS: Duration = Duration::from_secs(20);

/// Peers that arrive in a second, at the most: to arrive is not the experiment.
const MOST_ARRIVALS: f64 = 150.0;

/// Between two codes that are tried while the peers come back.
const CODE_EVERY: Duration = Duration::from_secs(1);

/// Longer than anything takes; who waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Many idle listeners at one rendezvous, in this process.
#[derive(Debug)]
pub struct Herd {
    url: RendezvousUrl,
    changes: Changes,
    peers: JoinSet<()>,
    news: mpsc::UnboundedReceiver<(usize, News)>,
    nameplates: Vec<Option<Nameplate>>,
}

/// What a peer says of itself.
#[derive(Debug)]
enum News {
    Up,
    Nameplate(Nameplate),
    Lost { told: bool },
    Refused,
    Unanswered,
}

impl Herd {
    /// Has so many listeners come and get a code each. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If they are not all there in time.
    pub async fn gather(url: &RendezvousUrl, count: usize) -> Result<Self> {
        // What else happens on this host is no part of the experiment.
        let changes = Changes::silent();
        let (report, news) = mpsc::unbounded_channel();
        let mut peers = JoinSet::new();
        let over = ARRIVALS.max(Duration::from_secs(1).mul_f64(count as f64 / MOST_ARRIVALS));
        for index in 0..count {
            let link = open(url, index, &changes);
            let report = report.clone();
            let delay = over.mul_f64(index as f64 / count as f64);
            peers.spawn(async move {
                tokio::time::sleep(delay).await;
                live(link(), index, report).await;
            });
        }
        let mut herd = Self {
            url: url.clone(),
            changes,
            peers,
            news,
            nameplates: vec![None; count],
        };
        let mut missing = count;
        while missing > 0 {
            if let (index, News::Nameplate(nameplate)) = herd.next().await? {
                missing -= usize::from(herd.nameplates[index].is_none());
                herd.nameplates[index] = Some(nameplate);
            }
        }
        Ok(herd)
    }

    /// Ends the rendezvous by this signal, starts it again, and waits until all peers are back, while codes of theirs
    /// are tried.
    ///
    /// # Errors
    /// If they are not all back in time, or the rendezvous is not.
    pub async fn lose(&mut self, program: &mut Program, signal: Signal) -> Result<Report> {
        let count = self.nameplates.len();
        let began = Instant::now();
        tokio::task::block_in_place(|| program.restart(signal))?;
        let mut report = Report {
            peers: count,
            served: began.elapsed(),
            told: 0,
            dials: 0,
            refused: 0,
            unanswered: 0,
            returns: Vec::new(),
            processor: Duration::ZERO,
            codes: 0,
            codes_denied: 0,
        };
        let mut back = vec![false; count];
        let mut codes = interval(CODE_EVERY);
        let mut tries = JoinSet::new();
        while report.returns.len() < count {
            tokio::select! {
                news = self.next() => {
                    let (index, news) = news?;
                    report.add(&news);
                    if matches!(news, News::Nameplate(_)) && !std::mem::replace(&mut back[index], true) {
                        report.returns.push(began.elapsed());
                    }
                }
                _ = codes.tick() => {
                    // Of one that is not back yet, if there is one: those are the hard ones.
                    let index = back.iter().position(|back| !back).unwrap_or_default();
                    let nameplate = self.nameplates[index].context("no code")?;
                    let link = open(&self.url, report.codes, &self.changes);
                    tries.spawn(try_code(link(), nameplate));
                    report.codes += 1;
                }
            }
        }
        report.processor = program.processor_time()?;
        while let Some(denied) = tries.join_next().await {
            report.codes_denied += usize::from(denied?);
        }
        Ok(report)
    }

    async fn next(&mut self) -> Result<(usize, News)> {
        let news = timeout(PATIENCE, self.news.recv()).await;
        let news = news.context("the peers do not come back")?;
        news.with_context(|| format!("all {} peers have gone", self.peers.len()))
    }
}

impl Report {
    fn add(&mut self, news: &News) {
        match news {
            News::Up => self.dials += 1,
            News::Nameplate(_) => {}
            News::Lost { told } => self.told += usize::from(*told),
            News::Refused => {
                self.dials += 1;
                self.refused += 1;
            }
            News::Unanswered => {
                self.dials += 1;
                self.unanswered += 1;
            }
        }
    }
}

/// What opens the link of the peer with this number.
fn open(
    url: &RendezvousUrl,
    index: usize,
    changes: &Changes,
) -> impl FnOnce() -> Link + Send + use<> {
    let host = 1 + index % ADDRESSES;
    let address = IpAddr::from(Ipv4Addr::new(127, 0, 1, host as u8));
    let config = LinkConfig {
        route: TcpRoute::new(url).from_address(address),
        url: url.clone(),
        transports: Transports::Any,
    };
    let key = url.access_key.clone();
    let credential = key.map_or(Credential::None, Credential::AccessKey);
    let changes = changes.clone();
    move || Link::open(config, credential, &changes)
}

/// Waits for somebody to come, as `p2pdbg listen` does.
async fn live(mut link: Link, index: usize, report: mpsc::UnboundedSender<(usize, News)>) {
    link.begin_with(vec![ToRendezvous::Listen { claim: None }]);
    let mut up = false;
    while let Some(event) = link.event().await {
        let news = match event {
            LinkEvent::Up { .. } => {
                up = true;
                News::Up
            }
            LinkEvent::Message(FromRendezvous::Listening(claim)) => {
                let nameplate = claim.nameplate;
                link.begin_with(vec![ToRendezvous::Listen { claim: Some(claim) }]);
                News::Nameplate(nameplate)
            }
            LinkEvent::Message(_) => continue,
            LinkEvent::Down(why) if std::mem::take(&mut up) => News::Lost {
                told: !why.to_string().contains("timed out"),
            },
            LinkEvent::Down(LinkError::Busy { .. }) => News::Refused,
            LinkEvent::Down(_) => News::Unanswered,
        };
        if report.send((index, news)).is_err() {
            break;
        }
    }
}

/// Whether somebody who has the code is told that it is no good.
async fn try_code(mut link: Link, nameplate: Nameplate) -> bool {
    link.is_awaited(true);
    link.begin_with(vec![ToRendezvous::Join { nameplate }]);
    while let Some(event) = link.event().await {
        match event {
            LinkEvent::Message(FromRendezvous::Introduced(_)) => return false,
            LinkEvent::Message(FromRendezvous::Refused { refusal, .. }) => match refusal {
                // As `p2pdbg connect` does.
                Refusal::NobodyThere | Refusal::NameplateBusy | Refusal::Limit { .. } => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    link.send(ToRendezvous::Join { nameplate });
                }
                _ => return true,
            },
            _ => {}
        }
    }
    true
}

/// Runs it all once.
///
/// # Errors
/// What went wrong.
pub async fn run(program: &std::path::Path, peers: usize, signal: Signal) -> Result<Report> {
    if peers > ADDRESSES * 256 {
        bail!("at most {} peers", ADDRESSES * 256);
    }
    crate::raise_descriptors()?;
    let mut program = Program::start(program)?;
    let mut herd = Herd::gather(program.url(), peers).await?;
    herd.lose(&mut program, signal).await
}
