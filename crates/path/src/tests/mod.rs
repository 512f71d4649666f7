//! The paths' task and the leg over TCP, over loopback, against a relay that does what a test wants.

mod leg_stream;
mod relay_leg;
