//! Accepts connections of peers and finds out whose they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::handshake::{Answer, Hello, NO_PEER, NoHandshake, Refusal, within};
use super::lane::Lane;
use super::receiver::{Ended, Receiver};
use super::seats::{Newcomer, Seated};
use super::stats::count;
use super::stream::{self, Stream};
use super::trouble::Trouble;

/// How long accepting waits when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How long, and for how many bytes, whoever is refused is heard out: closing before would tear
/// the answer away.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 << 10);

/// Accepts for ever; the connections end with this.
pub async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let max = shared.config.bounds.handshakes_max;
                    shared.seats.enter(max, |newcomer| {
                        connections.spawn(serve(Arc::clone(&shared), socket, peer, newcomer))
                    });
                }
                Err(error) => {
                    shared.troubles.tell(Trouble::NotAccepting, &shared.address, &error);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, newcomer: Newcomer) {
    let patience = shared.config.bounds.handshake_timeout;
    let refused = |why: &NoHandshake| shared.refused(Trouble::NoPeer, &peer, why);
    let accepted = async {
        let accepted = stream::accept(socket, shared.config.tls.as_ref()).await;
        accepted.map_err(NoHandshake::NoTls)
    };
    let mut stream = match within(patience, accepted).await {
        Ok(stream) => stream,
        Err(why) => return refused(&why),
    };
    match within(patience, Hello::read(&mut stream)).await {
        Ok(hello) => welcome(&shared, stream, peer, &hello, newcomer).await,
        Err(why) => {
            refused(&why);
            if let NoHandshake::NoPeer(_) = why {
                part(&shared, stream, NO_PEER).await;
            }
        }
    }
}

/// Lets a process in that has said who it is, and hears it until its connection ends.
async fn welcome(
    shared: &Arc<Shared>,
    mut stream: Stream,
    peer: SocketAddr,
    hello: &Hello,
    newcomer: Newcomer,
) {
    let (version, lane, mut seat) = match admit(shared, hello) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let who = format!("{peer}, which says to be {:?}", hello.address);
            shared.refused(Trouble::from(&refusal), &who, &refusal);
            return part(shared, stream, &Answer::refused(&refusal)).await;
        }
    };
    let from = format!("{} ({})", hello.address, lane.name());
    if seat.alone().await {
        shared.troubles.tell(Trouble::Replaced, &from, &"it connected anew");
    }
    drop(newcomer);
    let bounds = &shared.config.bounds;
    let welcome = Answer::welcome(version, bounds.window);
    if stream::write_all(&mut stream, &welcome, bounds.handshake_timeout).await.is_err() {
        return;
    }
    let mut receiver = Receiver::new(stream, lane, &hello.address, shared);
    let Err(ended) = tokio::select! {
        biased;
        () = seat.shown_out() => return,
        ended = receiver.run() => ended,
    };
    if let Ended::Bad(_) | Ended::Silent = ended {
        shared.troubles.tell(Trouble::Broken, &from, &ended);
    }
}

fn admit(shared: &Arc<Shared>, hello: &Hello) -> Result<(u16, Lane, Seated), Refusal> {
    let (version, lane) = hello.judge(&shared.config.cluster)?;
    let max = shared.config.bounds.connections_max;
    let seat = shared.seats.seat(&hello.address, lane, max).ok_or(Refusal::Crowded)?;
    Ok((version, lane, seat))
}

/// Says why not, and closes.
async fn part(shared: &Shared, mut stream: Stream, why: &[u8]) {
    let (patience, heard_max) = LINGER;
    let parting = async {
        stream::write_all(&mut stream, why, shared.config.bounds.handshake_timeout).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(heard_max), &mut tokio::io::sink()).await
    };
    drop(timeout(patience, parting).await);
}

impl Shared {
    fn refused(&self, kind: Trouble, who: &dyn std::fmt::Display, why: &dyn std::fmt::Display) {
        count(&self.stats.refused, 1);
        self.troubles.tell(kind, who, why);
    }
}
