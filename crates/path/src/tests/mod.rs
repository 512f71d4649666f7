//! The paths' task: between two ends over loopback, and against a relay that does what a test wants, over TCP too.

mod direct_path;
mod direct_tcp;
mod near_leg;
mod relay_leg;
mod relay_tcp_leg;
