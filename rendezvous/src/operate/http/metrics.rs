//! The metrics, in the text form of OpenMetrics. Their number is fixed, and none has a label that a peer or a key could
//! choose.

use std::time::Instant;

use prometheus_client::{
    encoding::text::encode as encode_text,
    metrics::{counter::ConstCounter, family::Family, gauge::ConstGauge, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    counters::Counters,
    health::Part,
    operate::{Operator, Status},
};

/// What the text is, for a scraper.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one moment.
pub(super) fn encode(status: &Status, operator: &Operator) -> String {
    let mut registry = Registry::with_prefix("p2pdbg");
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The program", Info::new(version));
    gauges(&mut registry, status);
    legs(&mut registry, &status.counters);
    times(&mut registry, status, operator);
    counters(&mut registry, status);
    let mut text = String::new();
    // A string takes whatever it is given.
    let _ = encode_text(&mut text, &registry);
    text
}

fn gauges(registry: &mut Registry, status: &Status) {
    let mut gauge = |name, help, value: u64| {
        registry.register(name, help, ConstGauge::new(value));
    };
    gauge(
        "peers",
        "Peers that have said hello",
        status.report.peers as u64,
    );
    gauge("sessions", "Sessions", status.report.sessions as u64);
    gauge(
        "guests",
        "Sessions of other nodes that are relayed here",
        status.counters.guests,
    );
    gauge(
        "keys",
        "Keys that let somebody in",
        status.report.keys.len() as u64,
    );
    gauge(
        "healthy",
        "1 if every part goes its rounds",
        u64::from(status.healthy),
    );
    gauge(
        "draining",
        "1 while it gives no new codes and sessions",
        u64::from(status.draining_s.is_some()),
    );
    if let Some(cluster) = &status.cluster {
        gauge("node", "The number of this node", cluster.own.into());
        let living = cluster.nodes.iter().filter(|node| node.lives == Some(true));
        gauge(
            "nodes_living",
            "Nodes that the store knows as alive",
            living.count() as u64,
        );
        let draining = cluster
            .nodes
            .iter()
            .filter(|node| node.drains == Some(true));
        gauge(
            "nodes_draining",
            "Nodes that go out of service, this one among them",
            draining.count() as u64,
        );
        if let Some(store) = &cluster.store {
            gauge(
                "store_answers",
                "1 if the store of the cluster is of use",
                u64::from(store.answers),
            );
        }
    }
}

fn legs(registry: &mut Registry, counters: &Counters) {
    let legs = Family::<Vec<(&str, &str)>, Gauge>::default();
    for (transport, count) in [
        ("udp", counters.legs.saturating_sub(counters.tcp_legs)),
        ("tcp", counters.tcp_legs),
    ] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        legs.get_or_create(&vec![("transport", transport)])
            .set(count);
    }
    registry.register("legs", "Bound legs of the relay", legs);
}

fn times(registry: &mut Registry, status: &Status, operator: &Operator) {
    let now = Instant::now();
    let age = |part| ConstGauge::new(operator.tallies.heartbeats.age(part, now).as_secs_f64());
    for (name, help, value) in [
        (
            "hub_age",
            "Since the registry went its last round",
            age(Part::Hub),
        ),
        (
            "datapath_age",
            "Since the relay went its last round",
            age(Part::Datapath),
        ),
        (
            "uptime",
            "Since it began to serve",
            ConstGauge::new(status.uptime_s as f64),
        ),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, value);
    }
}

fn counters(registry: &mut Registry, status: &Status) {
    let counters = &status.counters;
    for (name, help, value) in [
        (
            "connections",
            "Control connections made",
            counters.connections,
        ),
        (
            "tcp_connections",
            "Those of them over TCP",
            counters.tcp_connections,
        ),
        (
            "connections_refused",
            "Control connections refused for a limit",
            counters.connections_refused,
        ),
        (
            "tcp_failed",
            "Connections over TCP that came to nothing",
            counters.tcp_failed,
        ),
        (
            "downloads",
            "Connections that asked for something of the offer",
            counters.downloads,
        ),
        (
            "stun_answered",
            "STUN requests answered",
            counters.stun_answered,
        ),
        ("relay_datagrams", "Datagrams relayed", counters.relayed),
        (
            "relay_policed",
            "Datagrams dropped as too much for leg, key or host",
            counters.policed,
        ),
        ("dropped", "Datagrams dropped otherwise", counters.dropped),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let bytes = ConstCounter::new(counters.relayed_bytes);
    registry.register_with_unit("relay", "Bytes relayed", Unit::Bytes, bytes);
}
