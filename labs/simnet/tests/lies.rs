//! A STUN server that lies, and two ports of it that disagree: nobody is kept from a path that there is, and nobody's
//! address gets more than a few packets.

use std::time::Duration;

use p2pdbg_simnet::{ALTERNATIVE_PORT, Link, MAIN_PORT, NatKind, NetworkId, Scenario, Simulation};

const S: Duration = Duration::from_secs(1);

/// Lets two peers behind port-restricted NATs meet while one port of the server says that everybody was seen at the
/// address of somebody else; the simulation, and how many packets that one got within `time`.
fn meet(liar: u16, seed: u64, time: Duration) -> (Simulation, u64) {
    let kind = NatKind::PORT_RESTRICTED;
    let mut simulation = Scenario::new(kind, kind).seed(seed).build();
    let victim = simulation
        .world
        .add_host(NetworkId::INTERNET, Link::default());
    let lie = (simulation.world.ip(victim), 53).into();
    simulation.server.lie(liar, lie);
    simulation.start();
    simulation.run_until(time, |_| false);
    let got = simulation.strays();
    (simulation, got)
}

#[test]
fn two_ports_that_disagree_keep_nobody_from_a_path() {
    for liar in [MAIN_PORT, ALTERNATIVE_PORT] {
        for seed in 0..10 {
            let (mut simulation, victim) = meet(liar, seed, 10 * S);
            assert!(
                simulation.is_direct() && simulation.carries(),
                "{liar}, seed {seed}: {:?}",
                simulation.outcome().why
            );
            // At most sixteen checks of one candidate by each end, as for anything that a peer names.
            assert!(victim <= 32, "{victim} packets to a bystander");
        }
    }
}
