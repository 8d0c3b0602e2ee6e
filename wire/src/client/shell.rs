//! The one task of a client: it owns the sockets, and does what the core says.
//!
//! Each turn takes all commands and bytes that are there, steps the core with them, and then
//! writes once a connection: requests that are asked at the same time leave together.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use super::core::{Action, CallId, Core, Event, LinkId, Moment, Reply, Request, Routing};
use super::dial::Dialer;
use super::error::Error;
use super::socket::{Input, Socket};

/// What a handle asks of the task.
pub enum Command {
    /// Sends a request.
    Call(CallId, Box<Request>, Waiter),
    /// Nobody waits for it any more.
    Cancel(CallId),
    /// A stream may send more items.
    Credit(CallId, u32),
    /// Asks which members serve keys of an object, by their hashes.
    Places(u32, bool, Vec<u64>, oneshot::Sender<Option<Vec<Option<usize>>>>),
    /// Asks how requests found their members.
    Routing(oneshot::Sender<Routing>),
}

/// Who is told what becomes of a request.
pub enum Waiter {
    /// One answer.
    One(oneshot::Sender<Result<Reply, Error>>),
    /// Items, and then an end.
    Stream(Box<dyn Consumer>),
}

/// Takes a stream, within the client's task: what it does is done before the next answer of the
/// same connection reaches anybody.
pub trait Consumer: Send {
    /// The request is sent on this connection.
    fn opened(&mut self, link: LinkId);
    /// The payload of an `ITEM`.
    fn items(&mut self, payload: Vec<u8>);
    /// The stream is over.
    fn ended(&mut self, end: Result<Reply, Error>);
}

/// Most commands in one turn.
const BATCH_MAX: usize = 1_024;
/// Turns before others get the thread.
const TURNS_MAX: usize = 16;
/// Bytes read at once.
const READ_LEN: usize = 64 << 10;

/// The task.
pub struct Shell {
    core: Core,
    dialer: Dialer,
    commands: mpsc::UnboundedReceiver<Command>,
    batch: Vec<Command>,
    sockets: BTreeMap<LinkId, Socket>,
    waiters: HashMap<CallId, Waiter>,
    actions: Vec<Action>,
    read: Vec<u8>,
    began: Instant,
    sleep: Pin<Box<Sleep>>,
    /// Nobody is left to ask; what was asked is still to be written.
    orphaned: bool,
}

impl Shell {
    pub fn new(core: Core, dialer: Dialer, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Shell {
            core,
            dialer,
            commands,
            batch: Vec::with_capacity(BATCH_MAX),
            sockets: BTreeMap::new(),
            waiters: HashMap::new(),
            actions: Vec::new(),
            read: vec![0; READ_LEN],
            began: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(Moment::ZERO)),
            orphaned: false,
        }
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// One turn; `false` when there is nothing to do until something wakes the task.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = self.take_commands(cx);
        busy |= self.take_input(cx);
        busy |= self.take_time(cx);
        self.act();
        busy | self.flush(cx)
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        let taken = match self.commands.poll_recv_many(cx, &mut batch, BATCH_MAX) {
            Poll::Ready(0) => {
                self.orphaned = true;
                false
            }
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        let now = self.now();
        for command in batch.drain(..) {
            let event = match command {
                Command::Call(call, request, waiter) => {
                    self.waiters.insert(call, waiter);
                    Event::Call(call, request)
                }
                Command::Cancel(call) => {
                    self.waiters.remove(&call);
                    Event::Cancel(call)
                }
                Command::Credit(call, items) => Event::Credit(call, items),
                // Who has stopped waiting does not want to know.
                Command::Places(object, reads, hashes, asked) => {
                    drop(asked.send(self.core.places(object, reads, &hashes)));
                    continue;
                }
                Command::Routing(asked) => {
                    let _ = asked.send(self.core.routing());
                    continue;
                }
            };
            self.core.step(now, event, &mut self.actions);
        }
        self.batch = batch;
        taken
    }

    fn take_input(&mut self, cx: &mut Context<'_>) -> bool {
        let (mut busy, now) = (false, self.now());
        let Shell { core, sockets, actions, read, .. } = self;
        sockets.retain(|link, socket| match socket.poll_input(cx, read) {
            Poll::Pending => true,
            Poll::Ready(input) => {
                busy = true;
                let (event, open) = match input {
                    Input::Connected(channel) => (Event::Connected(*link, channel), true),
                    Input::Bytes(bytes) => (Event::Received(*link, bytes), true),
                    Input::Ended(None) => (Event::Lost(*link), false),
                    Input::Ended(Some(why)) => (Event::Distrusted(*link, why), false),
                };
                core.step(now, event, actions);
                open
            }
        });
        busy
    }

    fn take_time(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.now();
        let Some(due) = self.core.next_tick() else { return false };
        if due <= now {
            self.core.step(now, Event::Tick, &mut self.actions);
            return true;
        }
        self.sleep.as_mut().reset(self.began + due);
        self.sleep.as_mut().poll(cx).is_ready()
    }

    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Connect(link, address) => {
                    self.sockets.insert(link, Socket::connect(self.dialer.clone(), address));
                }
                Action::Send(link, bytes) => {
                    if let Some(socket) = self.sockets.get_mut(&link) {
                        socket.send(bytes);
                    }
                }
                Action::Close(link) => drop(self.sockets.remove(&link)),
                Action::Opened(call, link) => self.consume(call, |to| to.opened(link)),
                Action::Items(call, payload) => self.consume(call, |to| to.items(payload)),
                Action::Done(call, result) => self.done(call, result),
            }
        }
        self.actions = actions;
    }

    fn consume(&mut self, call: CallId, tell: impl FnOnce(&mut dyn Consumer)) {
        if let Some(Waiter::Stream(consumer)) = self.waiters.get_mut(&call) {
            tell(consumer.as_mut());
        }
    }

    fn done(&mut self, call: CallId, result: Result<Reply, Error>) {
        match self.waiters.remove(&call) {
            // Who has stopped waiting does not want to know.
            Some(Waiter::One(waiter)) => drop(waiter.send(result)),
            Some(Waiter::Stream(mut consumer)) => consumer.ended(result),
            None => {}
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.now();
        let Shell { core, sockets, actions, .. } = self;
        let before = sockets.len();
        sockets.retain(|link, socket| {
            let fine = socket.poll_flush(cx).is_ok();
            if !fine {
                core.step(now, Event::Lost(*link), actions);
            }
            fine
        });
        before != sockets.len()
    }
}

impl Future for Shell {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shell = self.get_mut();
        for _ in 0..TURNS_MAX {
            let busy = shell.turn(cx);
            if shell.orphaned && !shell.sockets.values().any(Socket::is_writing) {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
