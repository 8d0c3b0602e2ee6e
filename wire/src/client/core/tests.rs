//! The core against simulated servers and networks.

mod login;
mod network;
mod routing;
mod scripted;
mod server;
mod simulation;
