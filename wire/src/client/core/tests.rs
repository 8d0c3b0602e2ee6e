//! The core against simulated servers and networks.

mod login;
mod network;
mod scripted;
mod server;
mod simulation;
mod routing;
