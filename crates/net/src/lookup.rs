//! The addresses of names.
//!
//! Each family is asked for by itself (RFC 8305 section 3): there are resolvers, and boxes before them, that never
//! answer for one of the two, and the system keeps the other's addresses back until it has given up, after 15 s or so.

use std::{
    future::pending,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::route;

/// How long the slower family is waited for once the other has addresses of use (RFC 8305 section 8: the Resolution
/// Delay).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// So many questions for one family are asked at a time: nobody can end one that the resolver does not answer, and each
/// has a thread. Each family has its own, so that one that is never answered for leaves the other's alone.
const AT_A_TIME: usize = 16;

static V4_LOOKUPS: Semaphore = Semaphore::const_new(AT_A_TIME);
static V6_LOOKUPS: Semaphore = Semaphore::const_new(AT_A_TIME);

/// The addresses of a host, those of a family to which there is a route first. A family that is answered for later than
/// the other is left out; [`look_up_family`] finds it.
///
/// # Errors
/// If none are to be known; what the system says of that.
pub async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    look_up_all(host, port, RESOLUTION_DELAY).await
}

/// The same where the addresses of both families are of use: the slower one is waited for so long.
///
/// # Errors
/// If none are to be known; what the system says of that.
pub async fn look_up_all(host: &str, port: u16, slower: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let of = |v4| of_family(host.to_owned(), port, v4);
    let found = of_both(of(false), of(true), route::leads_to, slower).await?;
    Ok(in_order(found, route::leads_to, route::source_towards))
}

/// The addresses of a host in one family. It may take as long as the system lets it.
///
/// # Errors
/// If none are to be known; what the system says of that.
pub async fn look_up_family(host: &str, port: u16, v4: bool) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() == v4 => Ok(vec![SocketAddr::new(ip, port)]),
        Ok(_) => Ok(Vec::new()),
        Err(_) => of_family(host.to_owned(), port, v4).await,
    }
}

/// Puts IPv4 first where IPv6 would go from an address that is of use among its own kind alone (RFC 6724 section 6,
/// rule 5, and the labels of section 2.1): a unique local address, or Teredo.
fn in_order(
    found: Vec<SocketAddr>,
    leads_to: impl Fn(SocketAddr) -> bool,
    source: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> Vec<SocketAddr> {
    let is_poor = |to: &SocketAddr| match (to.ip(), source(*to)) {
        (IpAddr::V6(ip), Some(IpAddr::V6(from))) => [is_unique_local, is_teredo]
            .iter()
            .any(|kind| kind(from) && !kind(ip)),
        _ => false,
    };
    let v4_is_of_use = found.iter().any(|to| to.is_ipv4() && leads_to(*to));
    if !v4_is_of_use || !found.iter().any(is_poor) {
        return found;
    }
    let (poor, mut first): (Vec<_>, Vec<_>) = found.into_iter().partition(is_poor);
    first.extend(poor);
    first
}

fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xfe00 == 0xfc00
}

fn is_teredo(ip: Ipv6Addr) -> bool {
    ip.segments()[..2] == [0x2001, 0]
}

/// What two questions come to, of which one may take for ever.
async fn of_both(
    v6: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    v4: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    leads_to: impl Fn(SocketAddr) -> bool,
    slower: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let (mut v6, mut v4) = (pin!(v6), pin!(v4));
    let mut found = [None, None];
    tokio::select! {
        biased;
        of_v6 = &mut v6 => found[0] = Some(of_v6),
        of_v4 = &mut v4 => found[1] = Some(of_v4),
    }
    let of_use = |found: &io::Result<Vec<SocketAddr>>| {
        let found = found.as_ref();
        found.is_ok_and(|found| found.iter().any(|address| leads_to(*address)))
    };
    let is_enough = found.iter().flatten().any(of_use);
    let other = async {
        match &found {
            [None, _] => (0, v6.await),
            [_, None] => (1, v4.await),
            _ => pending().await,
        }
    };
    let other = match is_enough {
        true => timeout(slower, other).await.ok(),
        false => Some(other.await),
    };
    if let Some((of, late)) = other {
        found[of] = Some(late);
    }
    let [v6, v4] = found;
    let v6_is_first = v6.as_ref().is_some_and(of_use);
    let in_order = match v6_is_first {
        true => [v6, v4],
        false => [v4, v6],
    };
    let mut addresses = Vec::new();
    let mut failure = None;
    for of_family in in_order.into_iter().flatten() {
        match of_family {
            Ok(found) => addresses.extend(found),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(failure) if addresses.is_empty() => Err(failure),
        _ => Ok(addresses),
    }
}

async fn of_family(host: String, port: u16, v4: bool) -> io::Result<Vec<SocketAddr>> {
    let (family, turns) = match v4 {
        true => (AddrFamily::Inet, &V4_LOOKUPS),
        false => (AddrFamily::Inet6, &V6_LOOKUPS),
    };
    on_thread(turns, move || ask(&host, port, family)).await?
}

/// Does on a thread of its own what may take long, when it is its turn. It keeps that until it ends, also when nobody
/// waits for it any more.
async fn on_thread<T: Send + 'static>(
    turns: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = turns.acquire().await.map_err(io::Error::other)?;
    let (tell, answer) = oneshot::channel();
    // Not one of the runtime's threads: those are waited for when it ends, and this one may take long.
    std::thread::Builder::new()
        .name("lookup".to_owned())
        .spawn(move || {
            let done = work();
            drop(turn);
            // Nobody may wait for it any more.
            let _ = tell.send(done);
        })?;
    answer.await.map_err(io::Error::other)
}

fn ask(host: &str, port: u16, family: AddrFamily) -> io::Result<Vec<SocketAddr>> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: family.into(),
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(io::Error::from)?;
    let mut addresses = Vec::new();
    for address in found.flatten() {
        let mut address = address.sockaddr;
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(list: &[&str]) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + use<> {
        ready(Ok(addresses(list)))
    }

    fn failed() -> impl Future<Output = io::Result<Vec<SocketAddr>>> {
        ready(Err(io::Error::other("none")))
    }

    const V6: &str = "[2001:db8::1]:7";
    const V4: &str = "192.0.2.1:7";

    #[tokio::test]
    async fn family_that_is_never_answered_for_keeps_the_other_for_a_moment_alone() {
        let v4_alone = of_both(pending(), found(&[V4]), |_| true, RESOLUTION_DELAY)
            .await
            .unwrap();
        assert_eq!(v4_alone, addresses(&[V4]));
        let v6_alone = of_both(found(&[V6]), pending(), |_| true, RESOLUTION_DELAY)
            .await
            .unwrap();
        assert_eq!(v6_alone, addresses(&[V6]));
    }

    #[tokio::test]
    async fn family_to_which_there_is_no_route_waits_for_the_other() {
        let late = async {
            tokio::time::sleep(2 * RESOLUTION_DELAY).await;
            Ok(addresses(&[V4]))
        };
        let both = of_both(
            found(&[V6]),
            late,
            |address| address.is_ipv4(),
            RESOLUTION_DELAY,
        )
        .await;
        assert_eq!(both.unwrap(), addresses(&[V4, V6]));
    }

    #[tokio::test]
    async fn slower_family_is_there_where_both_are_of_use() {
        let late = async {
            tokio::time::sleep(2 * RESOLUTION_DELAY).await;
            Ok(addresses(&[V4]))
        };
        let both = of_both(found(&[V6]), late, |_| true, Duration::from_secs(60)).await;
        assert_eq!(both.unwrap(), addresses(&[V6, V4]));
    }

    #[test]
    fn ipv6_from_an_address_that_is_not_of_use_there_comes_after_ipv4() {
        let order = |list: &[&str], from: &str| {
            let from: IpAddr = from.parse().unwrap();
            let source = |to: SocketAddr| Some(from).filter(|_| to.is_ipv6());
            in_order(addresses(list), |_| true, source)
        };
        for (from, is_first) in [
            ("2001:db8::9", true),
            ("fd00::9", false),
            ("2001:0:1::9", false),
        ] {
            let expected = match is_first {
                true => [V6, V4],
                false => [V4, V6],
            };
            assert_eq!(order(&[V6, V4], from), addresses(&expected), "{from}");
        }
        let local = ["[fd00::1]:7", V4];
        assert_eq!(order(&local, "fd00::9"), addresses(&local));
        assert_eq!(order(&[V6], "fd00::9"), addresses(&[V6]));
        let no_v4 = in_order(
            addresses(&[V6, V4]),
            |to| to.is_ipv6(),
            |_| Some([0xfd00, 0, 0, 0, 0, 0, 0, 9].into()),
        );
        assert_eq!(no_v4, addresses(&[V6, V4]));
    }

    #[tokio::test]
    async fn addresses_of_both_families_are_told_and_failure_of_both_alone() {
        let both = of_both(found(&[V6]), found(&[V4]), |_| true, RESOLUTION_DELAY).await;
        assert_eq!(both.unwrap(), addresses(&[V6, V4]));
        let one = of_both(failed(), found(&[V4]), |_| true, RESOLUTION_DELAY).await;
        assert_eq!(one.unwrap(), addresses(&[V4]));
        let none = of_both(failed(), failed(), |_| true, RESOLUTION_DELAY).await;
        assert_eq!(none.unwrap_err().to_string(), "none");
    }

    #[tokio::test]
    async fn lookups_that_nobody_waits_for_any_more_are_no_more_than_may_be() {
        static TURNS: Semaphore = Semaphore::const_new(2);
        let (begun, begins) = std::sync::mpsc::channel();
        let mut ends = Vec::new();
        for number in 0..10 {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            ends.push(end);
            let begun = begun.clone();
            let work = move || {
                begun.send(number).unwrap();
                let _ = ended.recv();
            };
            let given_up = timeout(Duration::from_millis(10), on_thread(&TURNS, work)).await;
            given_up.unwrap_err();
        }
        drop(begun);
        assert_eq!(TURNS.available_permits(), 0);
        // Those that had no turn while somebody waited for them have never begun.
        drop(ends);
        assert_eq!(begins.iter().collect::<Vec<_>>(), [0, 1]);
        on_thread(&TURNS, || ()).await.unwrap();
    }

    #[tokio::test]
    async fn this_host_is_found_by_its_name_and_by_its_address() {
        let found = look_up("localhost", 7).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
        assert!(!found.is_empty());
        let v6 = look_up("2001:db8::1", 7).await.unwrap();
        assert_eq!(v6, addresses(&[V6]));
        let none = look_up_family("2001:db8::1", 7, true).await.unwrap();
        assert_eq!(none, []);
        let v4 = look_up_family("localhost", 7, true).await.unwrap();
        assert_eq!(v4, addresses(&["127.0.0.1:7"]));
    }
}
