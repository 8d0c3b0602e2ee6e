//! HTTP/1.1: health, metrics, entries of caches and administration, on listeners of its own and on
//! those that speak everything.
//!
//! `routes` is the one table of what can be asked: the router, the OpenAPI document and the page
//! in the documentation are made from it. A connection takes a place among all others and is ended
//! by the same timeouts.

mod admin;
mod body;
mod caches;
mod clustered;
mod condition;
mod entries;
mod guard;
mod health;
mod io;
mod json;
mod login;
mod metrics;
mod openapi;
mod permit;
mod problem;
mod query;
mod reference;
mod route;
mod routes;
mod target;

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use self::io::Tracked;
use self::login::Caller;
use super::listener::Arrival;
use super::node::Node;
pub use reference::markdown;

/// Bytes of a request's line and headers at the most.
const HEAD_LEN_MAX: usize = 16 << 10;

/// What serves HTTP: cheap to copy for each connection.
#[derive(Clone)]
pub struct Service {
    node: Arc<Node>,
    router: Router,
}

impl Service {
    /// The service of a node.
    pub fn new(node: &Arc<Node>) -> Self {
        Service { node: Arc::clone(node), router: route::router(node) }
    }
}

/// Serves a connection to its end.
pub async fn serve(service: Service, arrival: Arrival) {
    let Service { node, router } = service;
    let Arrival { stream, first, place, client } = arrival;
    let info = Arc::clone(&place.info);
    let mut stopping = node.is_stopping();
    let tracked = Tracked::new(stream, first, Arc::clone(&info), Arc::clone(&node));
    let mut protocol = http1::Builder::new();
    // The timeouts of `limits` hold for every connection, and are kept by the sweep.
    protocol.header_read_timeout(None).max_header_size(HEAD_LEN_MAX).max_buf_size(2 * HEAD_LEN_MAX);
    // `printf .. | nc` says that it has no more to send and waits for its answer.
    protocol.half_close(true).keep_alive(!stopping);
    let caller = Arc::new(Caller::new(&node, &info, client));
    let requests = TowerToHyperService::new(router.layer(Extension(caller)));
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(tracked), requests));
    let ended = std::future::poll_fn(|cx| {
        info.set_waker(cx.waker());
        if let Some(why) = info.ended() {
            return Poll::Ready(Ok(why));
        }
        if node.is_stopping() && !stopping {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map_ok(|()| "")
    });
    match ended.await {
        Ok("") => tracing::debug!(event = "disconnected", peer = info.peer.name),
        Ok(why) => tracing::info!(event = "closed", peer = info.peer.name, why),
        Err(error) => tracing::debug!(event = "disconnected", peer = info.peer.name, %error),
    }
    drop(place);
}
