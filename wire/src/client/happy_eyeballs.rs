//! Connects to a name that may have several addresses, as RFC 8305 does: the two families take turns,
//! and an address that is silent does not keep the next one waiting.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an address has for itself.
const DELAY: Duration = Duration::from_millis(250);

/// Connects to `host:port`: to the first of its addresses that answers.
///
/// # Errors
///
/// Of the last address that failed when none answers.
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    let found: Vec<_> = lookup_host(address).await?.collect();
    first_of(in_turns(&found), TcpStream::connect).await
}

/// The addresses with families in turns, beginning with that of the first one.
fn in_turns(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let preferred = found.first().is_some_and(SocketAddr::is_ipv6);
    let of = |is_ipv6: bool| found.iter().filter(move |address| address.is_ipv6() == is_ipv6);
    let (mut one, mut other) = (of(preferred), of(!preferred));
    let mut all = Vec::with_capacity(found.len());
    while all.len() < found.len() {
        all.extend(one.next().into_iter().chain(other.next()));
    }
    all
}

/// What comes of the first attempt that succeeds. One begins after another: when that one has
/// failed, or after [`DELAY`], and then both go on.
async fn first_of<T, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let (mut attempts, mut left) = (JoinSet::new(), addresses.into_iter());
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        left.next().into_iter().for_each(|next| drop(attempts.spawn(connect(next))));
        let is_last = left.len() == 0;
        let next = async { if is_last { pending().await } else { sleep(DELAY).await } };
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(error))) => failure = error,
                // It has panicked, which is no reason to give the others up.
                Some(Err(_)) => {}
                None => return Err(failure),
            },
            () = next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addresses(names: &[&str]) -> Vec<SocketAddr> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        for (found, turns) in [
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1"][..], &["[::1]:1", "1.1.1.1:1", "[::2]:1"][..]),
            (&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]),
            (&["1.1.1.1:1", "2.2.2.2:1"], &["1.1.1.1:1", "2.2.2.2:1"]),
            (&[], &[]),
        ] {
            assert_eq!(in_turns(&addresses(found)), addresses(turns));
        }
    }

    /// What becomes of addresses that answer or fail after so many milliseconds, on a clock that
    /// is wound: which one is taken, and when.
    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_moment() {
        const NEVER: u64 = 100_000;
        let all = addresses(&["[::1]:0", "127.0.0.1:1", "[::1]:2"]);
        for (plan, taken, after) in [
            ([(true, 10), (true, 0), (true, 0)], Some(0), 10),
            // Silence: the next one begins beside it.
            ([(true, NEVER), (true, 10), (true, 0)], Some(1), 260),
            ([(true, NEVER), (true, NEVER), (true, 10)], Some(2), 510),
            // It was only slow.
            ([(true, 300), (true, NEVER), (true, NEVER)], Some(0), 300),
            // Who refuses is not waited for.
            ([(false, 1), (true, 10), (true, 0)], Some(1), 11),
            ([(false, 1), (false, 1), (true, 10)], Some(2), 12),
            ([(true, 255), (false, 1), (true, 10)], Some(0), 255),
            ([(false, 1), (false, 400), (false, 1)], None, 401),
        ] {
            let begun = Instant::now();
            let attempt = move |address: SocketAddr| async move {
                let (answers, after) = plan[usize::from(address.port())];
                sleep(Duration::from_millis(after)).await;
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                answers.then(|| address.port()).ok_or_else(refused)
            };
            let result = first_of(all.clone(), attempt).await;
            assert_eq!(result.ok(), taken, "{plan:?}");
            assert_eq!(begun.elapsed(), Duration::from_millis(after), "{plan:?}");
        }
        let none = first_of(Vec::new(), |_| async { Ok(()) }).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }

    /// `localhost` is often two addresses, and only one of them answers here.
    #[tokio::test]
    async fn a_name_is_connected_to_by_the_address_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = connect(&format!("localhost:{port}")).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap().port(), port);
        assert!(connect("localhost:1").await.is_err());
    }
}
