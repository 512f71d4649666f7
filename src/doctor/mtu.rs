//! The largest packet that reaches the rendezvous: STUN requests that are padded to a length and must not be cut up.
//!
//! The answers are short, so this is the way there alone. Three rounds, each with a socket for every length, since the
//! sockets that set the bit would else hand in several short answers as one.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_net::route;
use tokio::task::JoinSet;

use super::{
    findings::PathMtu,
    stun_client::{Question, StunClient},
};

/// IP packets of links that are common: Ethernet, PPPoE, tunnels of several kinds, the least of IPv6, and less.
const USUAL: [usize; 14] = [
    576, 1000, 1200, 1228, 1248, 1280, 1300, 1380, 1400, 1420, 1440, 1472, 1492, 1500,
];

/// Lengths tried at once between two bounds.
const STEPS: usize = 14;

/// Until a length counts as lost: four transmissions.
const PATIENCE: Duration = Duration::from_millis(1_100);

/// STUN comes in words of so many bytes, and so do the lengths that can be tried.
const WORD: usize = 4;

/// Measures it; none if not even the shortest gets through.
pub(super) async fn measure(server: SocketAddr) -> Option<PathMtu> {
    let mut candidates = USUAL.to_vec();
    let mut low = 0;
    for _ in 0..3 {
        let mut trials = JoinSet::new();
        for &bytes in &candidates {
            trials.spawn(async move { (bytes, passes(server, bytes).await) });
        }
        let passed = trials.join_all().await.into_iter();
        low = passed
            .filter_map(|(bytes, passed)| passed.then_some(bytes))
            .fold(low, usize::max);
        let high = candidates
            .iter()
            .copied()
            .filter(|&bytes| bytes > low)
            .min();
        let (1.., Some(high)) = (low, high) else {
            break;
        };
        candidates = between(low, high);
        candidates.push(high);
        if candidates.len() == 1 {
            break;
        }
    }
    (low > 0).then_some(PathMtu { bytes: low })
}

/// Lengths evenly spread between two bounds, neither of them included.
fn between(low: usize, high: usize) -> Vec<usize> {
    let step = (high - low).div_ceil(STEPS + 1).next_multiple_of(WORD);
    (low..high).step_by(step).skip(1).collect()
}

/// Whether an IP packet of so many bytes is answered.
async fn passes(server: SocketAddr, bytes: usize) -> bool {
    let headers = match server {
        SocketAddr::V4(_) => 20 + 8,
        SocketAddr::V6(_) => 40 + 8,
    };
    let length = (bytes - headers) / WORD * WORD;
    let Some(client) = unfragmented(server) else {
        return false;
    };
    let question = Question {
        length: Some(length),
        ..Question::default()
    };
    let replies = client.ask_all(&[(server, question)], PATIENCE).await;
    replies.into_iter().flatten().next().is_some()
}

/// A socket whose packets no router may cut up, nor this host.
fn unfragmented(server: SocketAddr) -> Option<StunClient> {
    let socket = route::socket_for(server).ok()?;
    // quinn-udp sets the option as a side effect, on every system in its way.
    quinn::udp::UdpSocketState::new((&socket).into()).ok()?;
    StunClient::of(socket).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_a_whole_number_of_words_and_the_steps_close_in() {
        assert!(USUAL.iter().all(|bytes| bytes.is_multiple_of(WORD)));
        assert!(USUAL.is_sorted());
        for two in USUAL.windows(2) {
            let between = between(two[0], two[1]);
            assert!(between.len() <= STEPS + 1, "{two:?}");
            assert!(between.iter().all(|bytes| bytes.is_multiple_of(WORD)));
            assert!(
                between
                    .iter()
                    .all(|bytes| two[0] < *bytes && *bytes < two[1])
            );
        }
        assert!(super::between(1496, 1500).is_empty());
    }

    #[tokio::test]
    async fn loopback_carries_whatever_is_tried() {
        let server = p2pdbg_rendezvous::Server::start(p2pdbg_rendezvous::ServerConfig {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            alt_port: 0,
            state: Some(private_directory().path().into()),
            ..Default::default()
        })
        .await
        .unwrap();
        let mtu = measure(server.addresses()[0]).await;
        assert_eq!(mtu, Some(PathMtu { bytes: 1500 }));
    }

    fn private_directory() -> tempfile::TempDir {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        builder.tempdir().unwrap()
    }
}
