//! Real transports on loopback, and whatever else may come to their ports.

mod bad_input;
mod bounds;
mod certificates;
mod delivery;
mod fixture;
