//! The core against simulated servers and networks.

mod network;
mod scripted;
mod server;
mod simulation;
