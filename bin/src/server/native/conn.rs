//! Group 0x00: the connection itself.

use isogrid_wire::native::conn::{EchoReply, PingReply, Request, SetInfoReply, TimeReply};

use super::failure::Failure;
use super::reply::Reply;
use super::request::Flow;
use super::session::Session;

impl Session {
    /// Answers a request of this group.
    ///
    /// # Errors
    /// None that is known today.
    pub fn conn(&mut self, request: &Request<'_>, reply: &mut Reply<'_>) -> Result<Flow, Failure> {
        match request {
            Request::Ping(_) => reply.say(&PingReply::Ok {}),
            Request::Fence(_) => return Ok(Flow::Fence),
            Request::Echo(echo) => reply.say(&EchoReply::Ok { data: echo.data }),
            Request::Time(_) => {
                // The node's clock never goes back: one number is both.
                let now = self.node.now();
                reply.say(&TimeReply::Ok { unix_ms: now, monotonic_ms: now });
            }
            Request::SetInfo(info) => {
                tracing::debug!(event = "client_info", info = info.info.0, number = self.origin);
                reply.say(&SetInfoReply::Ok {});
            }
        }
        Ok(Flow::Said)
    }
}
