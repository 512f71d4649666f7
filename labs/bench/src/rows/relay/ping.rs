//! What the relay adds to a round trip.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{first_byte::QUIC, load::drain};
use crate::stats::percentile;

/// The median of many round trips between two sockets; each sends to where the other is reached.
pub(super) fn ping(
    a: &UdpSocket,
    b: &UdpSocket,
    to_b: SocketAddr,
    to_a: SocketAddr,
) -> Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let (far, told) = (b.try_clone()?, over.clone());
    far.set_read_timeout(Some(Duration::from_millis(200)))?;
    drain(a)?;
    drain(b)?;
    far.set_read_timeout(Some(Duration::from_millis(200)))?;
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !told.load(Ordering::Relaxed) {
            if let Ok((length, _)) = far.recv_from(&mut buffer) {
                let _ = far.send_to(&buffer[..length], to_a);
            }
        }
    });
    a.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (message, mut buffer) = ([QUIC; 1_200], [0; 2_048]);
    let mut took = Vec::new();
    for _ in 0..3_000 {
        let began = Instant::now();
        a.send_to(&message, to_b)?;
        // One that is lost is not counted.
        if a.recv_from(&mut buffer).is_ok() {
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    over.store(true, Ordering::Relaxed);
    let _ = answering.join();
    took.sort_by(f64::total_cmp);
    Ok(percentile(&took, 50.0))
}
