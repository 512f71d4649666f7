//! Meetings driven in memory: the rendezvous' own registry, any number of peers, one virtual clock.

mod faults;
mod known;
mod pairing;
mod strangers;
mod world;
