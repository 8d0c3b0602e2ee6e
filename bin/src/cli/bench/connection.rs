//! One connection: sends what its schedule says, takes the answers, and is made again when it
//! breaks.

use std::cell::RefCell;
use std::time::Duration;

use isogrid_wire::client::raw::{Login, Raw};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::binary::Binary;
use super::choose::{Choice, Requests};
use super::clock::{Alarm, Clock};
use super::codec::{Broken, Codec, Taken};
use super::native::Native;
use super::schedule::{Schedule, Turn};
use super::socket::{Output, Socket};
use super::tally::Tally;
use super::text::{Dialect, Text};

/// The pause before a lost connection is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Isogrid's own.
    Native,
    /// memcached's text protocol.
    Memcached,
    /// Its meta commands.
    MemcachedMeta,
    /// Its binary protocol.
    MemcachedBinary,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Target {
    pub protocol: Protocol,
    /// `host:port`.
    pub server: String,
    /// The cache; memcached's protocol has none but the listener's.
    pub cache: String,
    /// TLS and the login.
    pub raw: Raw,
    /// How long a server may say nothing while it is waited for.
    pub silence: Duration,
}

/// How keys and values look.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Bytes of a key.
    pub key_len: usize,
    /// The longest value; shorter ones are its beginning.
    pub value: Vec<u8>,
}

/// An open connection.
pub struct Connection {
    socket: Socket,
    codec: Codec,
    input: Vec<u8>,
    output: Output,
}

/// The work of a connection in one phase.
pub struct Work<'a> {
    pub schedule: Schedule,
    pub requests: Requests,
    /// Of all connections of the thread.
    pub tally: &'a RefCell<Tally>,
    pub shape: &'a Shape,
    pub clock: Clock,
    /// Whether lateness is to be counted: in an open loop.
    pub is_open: bool,
    /// Told how many requests have been answered.
    pub progress: &'a dyn Fn(u64),
}

impl Connection {
    /// Connects, and shakes hands.
    pub async fn open(target: &Target) -> Result<Self, Broken> {
        let opened = timeout(target.silence, Self::shake_hands(target)).await;
        opened.unwrap_or_else(|_| Err(Broken("the server did not answer in time".to_owned())))
    }

    async fn shake_hands(target: &Target) -> Result<Self, Broken> {
        let (socket, login) = target.connect().await?;
        let mut output = Output::default();
        let codec = match target.protocol {
            Protocol::Native => {
                let native = Native::begin(&target.cache, login, &mut output.bytes)?;
                Codec::Native(Box::new(native))
            }
            memcached => {
                let login = login.as_ref().map(Login::plain).transpose().map_err(lost)?.flatten();
                let text = |dialect, out| Codec::Text(Text::begin(dialect, login, out));
                match memcached {
                    Protocol::MemcachedBinary => {
                        Codec::Binary(Binary::begin(login, &mut output.bytes))
                    }
                    Protocol::MemcachedMeta => text(Dialect::Meta, &mut output.bytes),
                    _ => text(Dialect::Classic, &mut output.bytes),
                }
            }
        };
        let mut open = Connection { socket, codec, input: Vec::new(), output };
        while !open.is_ready() {
            open.socket.flush(&mut open.output).map_err(lost)?;
            open.ready().await?;
            open.socket.read(&mut open.input).map_err(lost)?;
            open.take(|_, _| ())?;
        }
        Ok(open)
    }

    fn is_ready(&self) -> bool {
        match &self.codec {
            Codec::Native(native) => native.is_ready(),
            Codec::Text(text) => text.is_ready(),
            Codec::Binary(binary) => binary.is_ready(),
        }
    }

    /// Sends and receives until the schedule is over and all is answered. The connection is not to
    /// be used after an error; what was under way is counted.
    pub async fn work(
        &mut self,
        work: &mut Work<'_>,
        alarm: &mut Alarm,
        silence: Duration,
    ) -> Result<(), Broken> {
        let result = self.until_over(work, alarm, silence).await;
        if let Err(Broken(why)) = &result {
            work.tally.borrow_mut().broke(why, &self.codec.give_up());
        }
        result
    }

    async fn until_over(
        &mut self,
        work: &mut Work<'_>,
        alarm: &mut Alarm,
        silence: Duration,
    ) -> Result<(), Broken> {
        loop {
            let turn = self.send(work);
            if turn == Turn::Over && self.codec.under_way() == 0 {
                return Ok(());
            }
            self.socket.flush(&mut self.output).map_err(lost)?;
            self.wait(turn, work.clock, alarm, silence).await?;
            self.socket.read(&mut self.input).map_err(lost)?;
            let now = work.clock.now();
            let mut answers = 0;
            self.take(|asked, answer| {
                answers += 1;
                work.tally.borrow_mut().answered(asked, answer, now);
            })?;
            (work.progress)(answers);
        }
    }

    /// Encodes what is to be sent by now; what is next, which is never to send.
    fn send(&mut self, work: &mut Work<'_>) -> Turn {
        loop {
            let now = work.clock.now();
            let turn = work.schedule.next(now, self.codec.under_way());
            let Turn::Send { due, held } = turn else { return turn };
            let choice = work.requests.next();
            let mut tally = work.tally.borrow_mut();
            tally.sent(matches!(choice, Choice::Set(..)));
            if work.is_open {
                tally.sent_late(now - due, held);
            }
            self.put(choice, due, work.shape);
        }
    }

    fn put(&mut self, choice: Choice, due: Duration, shape: &Shape) {
        match choice {
            Choice::Get(key) => self.codec.get(&shape.key(key), due, &mut self.output.bytes),
            Choice::Set(key, len) => {
                let value = shape.value.get(..len).unwrap_or(&shape.value);
                self.codec.set(&shape.key(key), value, due, &mut self.output.bytes);
            }
        }
    }

    /// Waits for the socket, and until the next request is due.
    async fn wait(
        &mut self,
        turn: Turn,
        clock: Clock,
        alarm: &mut Alarm,
        silence: Duration,
    ) -> Result<(), Broken> {
        let Turn::Until(due) = turn else {
            let quiet = |_| Broken("the server did not answer in time".to_owned());
            return timeout(silence, self.ready()).await.map_err(quiet)?;
        };
        tokio::select! {
            ready = self.ready() => ready,
            rung = alarm.until(&clock, due) => rung.map_err(lost),
        }
    }

    async fn ready(&mut self) -> Result<(), Broken> {
        self.socket.ready(&mut self.input, &mut self.output).await.map_err(lost)
    }

    /// Takes the answers that are there.
    fn take(
        &mut self,
        mut answered: impl FnMut(super::codec::Asked, super::codec::Answer),
    ) -> Result<(), Broken> {
        let mut used = 0;
        while let Some(rest) = self.input.get(used..).filter(|rest| !rest.is_empty()) {
            match self.codec.take(rest, &mut self.output.bytes)? {
                Taken::Answer(len, asked, answer) => {
                    used += len;
                    answered(asked, answer);
                }
                Taken::Control(len) => used += len,
                Taken::Incomplete => break,
            }
        }
        self.input.drain(..used);
        Ok(())
    }
}

impl Target {
    /// A bare socket where it can be: what is measured is the server.
    async fn connect(&self) -> Result<(Socket, Option<Login>), Broken> {
        if self.raw.is_bare() {
            let stream = TcpStream::connect(&self.server).await.map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            return Ok((Socket::Clear(stream), None));
        }
        let (stream, login) = self.raw.connect(&self.server).await.map_err(lost)?;
        Ok((Socket::Secure(stream), Some(login)))
    }
}

impl Shape {
    /// The key of this number: `bench:` and digits, filled up with zeros.
    fn key(&self, number: u64) -> Vec<u8> {
        let width = self.key_len.saturating_sub(KEY_PREFIX.len());
        format!("{KEY_PREFIX}{number:0width$}").into_bytes()
    }
}

/// What keys begin with, so that they are known for what they are.
pub const KEY_PREFIX: &str = "bench:";

/// Works through a phase, with new connections in the place of lost ones.
pub async fn run(
    target: &Target,
    connection: &mut Option<Connection>,
    work: &mut Work<'_>,
) -> Result<(), Broken> {
    let mut alarm = Alarm::new().map_err(lost)?;
    loop {
        if let Some(open) = connection.as_mut() {
            match open.work(work, &mut alarm, target.silence).await {
                Ok(()) => return Ok(()),
                Err(_) => *connection = None,
            }
        }
        let began = work.clock.now();
        while connection.is_none() {
            tokio::time::sleep(PAUSE).await;
            match Connection::open(target).await {
                Ok(open) => *connection = Some(open),
                Err(broken) if work.clock.now() - began >= target.silence => return Err(broken),
                Err(_) => {}
            }
        }
    }
}

fn lost(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}
