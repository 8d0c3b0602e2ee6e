//! The two phases of a transaction, between the members that serve its segments, of one cache or of
//! several (ADR 8): what is to be done says [`Coordinator`]; here it goes out as units, and is
//! executed where they arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::NewEntry;
use isogrid_engine::table::{Change, encode_change};
use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::replica::{Answered, OpId};
use isogrid_grid::structures::is_of_structures;
use isogrid_grid::tx::coordinator::{Action, Event, Outcome};
use isogrid_grid::tx::{
    Coordinator, Decision, Hold, Intent, Known, Needs, Note, Open, Part, Ruling, TxId, Vote,
};
use isogrid_wire::native::SubKind;
use isogrid_wire::native::tx::TxState;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answered::Named;
use super::spread::{Begun, Fate, Spread, Unit, after};
use crate::cluster::{Cluster, Shared};
use crate::server::native::reply::Given;
use crate::server::native::session::Session;

/// Operations of units, which no client can ask for: what a key is, with its body the key;
pub const READ: u16 = 0xff01;
/// something for the log of the segment, a [`Note`];
pub const NOTE: u16 = 0xff02;
/// what was decided, a [`Note::Decide`];
pub const SETTLE: u16 = 0xff03;
/// and what is known of the open transaction of a number.
pub const LOOK: u16 = 0xff04;
/// All of them.
pub const STEPS: [u16; 4] = [READ, NOTE, SETTLE, LOOK];

/// How long those are told how it ended that took part; then they ask themselves.
const TELL: Duration = Duration::from_secs(5);

/// A cache of a cluster.
pub type Way = (Arc<Cluster>, Arc<Shared>);

/// The name of a transaction that a client has opened, which any member makes of its number.
pub fn opened(number: u64) -> OpId {
    OpId { client: *b"open transaction", number }
}

/// Has a transaction committed, or not. It goes on also when nobody waits for it any more.
pub async fn commit(
    cluster: Arc<Cluster>,
    name: OpId,
    holds: Vec<(Part, Hold)>,
    patience: Duration,
) -> Outcome {
    let phases = Phases::begin(cluster, name, None, holds, after(patience));
    phases.spawn().await.unwrap_or(Outcome::Unknown)
}

/// The same, of one that may come again: what `answer` makes of the versions of its writes is
/// recorded with the decision. When nobody waits for it any more before that, it is not done.
pub async fn commit_once(
    cluster: Arc<Cluster>,
    (name, request): (OpId, Named),
    holds: Vec<(Part, Hold)>,
    patience: Duration,
    answer: impl FnOnce(&BTreeMap<Part, u64>) -> Vec<u8>,
) -> Outcome {
    let ((asks, asked), (tells, told)) = (oneshot::channel(), oneshot::channel());
    let mut phases = Phases::begin(cluster, name, Some(request), holds, after(patience));
    phases.answering = Some(Answering { id: request.id, asks, told });
    let outcome = phases.spawn();
    if let Ok(versions) = asked.await {
        let _ = tells.send(answer(&versions));
    }
    outcome.await.unwrap_or(Outcome::Unknown)
}

/// Records what is answered to a request that changes nothing, as a transaction that is not done;
/// what home says to that, `None` when nobody knows.
pub async fn record(
    cluster: &Arc<Cluster>,
    Named { id, home }: Named,
    answer: &[u8],
    patience: Duration,
) -> Option<Ruling> {
    let tx = TxId { begun: cluster.now().wall, name: cluster.name() };
    let answered = Answered::new(id, tx.begun, answer);
    let note = Note::Decide(tx, Decision::Abort, Vec::new(), Some(answered));
    let said = ask(cluster, vec![noted(home, &note)], patience).await.pop().flatten();
    said.and_then(|bytes| Ruling::of_bytes(&bytes))
}

/// Who knows what is to be answered when all have voted.
struct Answering {
    id: OpId,
    asks: oneshot::Sender<BTreeMap<Part, u64>>,
    told: oneshot::Receiver<Vec<u8>>,
}

/// A transaction with its coordinator.
struct Phases {
    cluster: Arc<Cluster>,
    tx: TxId,
    core: Coordinator,
    intents: BTreeMap<Part, Intent>,
    todo: Vec<Action>,
    until: Instant,
    /// Who says what is to be recorded with the decision, if anything is.
    answering: Option<Answering>,
    answered: Option<Answered>,
}

impl Phases {
    fn begin(
        cluster: Arc<Cluster>,
        name: OpId,
        request: Option<Named>,
        holds: Vec<(Part, Hold)>,
        until: Instant,
    ) -> Phases {
        let tx = TxId { begun: cluster.now().wall, name };
        let writes = holds.iter().find(|(_, hold)| hold.write.is_some());
        let first = writes.or(holds.first()).map_or(Part::default(), |(part, _)| *part);
        let home = request.map_or(first, |request| request.home);
        let needs = match (request, writes) {
            (Some(_), _) => Needs::Answer,
            (None, Some(_)) => Needs::Decision,
            (None, None) => Needs::Nothing,
        };
        let mut intents: BTreeMap<Part, Intent> = BTreeMap::new();
        for (part, hold) in holds {
            let new = || Intent { home, version: 0, holds: Vec::new() };
            intents.entry(part).or_insert_with(new).holds.push(hold);
        }
        let (parts, mut todo) = (intents.keys().copied().collect(), Vec::new());
        let core = Coordinator::begin(home, parts, needs, &mut todo);
        let (answering, answered) = (None, None);
        Phases { cluster, tx, core, intents, todo, until, answering, answered }
    }

    /// Does all of it beside whoever waits for this.
    fn spawn(self) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(self.go(sender));
        receiver
    }

    /// Does what is to be done until nothing is.
    async fn go(mut self, sender: oneshot::Sender<Outcome>) {
        let mut sender = Some(sender);
        while !self.todo.is_empty() {
            let mut asked = Vec::new();
            for action in std::mem::take(&mut self.todo) {
                match action {
                    Action::Answer(outcome) => {
                        self.answering = None;
                        let _ = sender.take().map(|sender| sender.send(outcome));
                    }
                    Action::Decide(_) if !self.learn_answer().await => {
                        // Who asked is gone: it is surely not done.
                        let abort = Ruling::Decided(Decision::Abort);
                        self.core.step(Event::Decided(Some(abort)), &mut self.todo);
                    }
                    action => asked.push(action),
                }
            }
            let patience = match sender {
                Some(_) => self.until.saturating_duration_since(after(Duration::ZERO)),
                None => TELL,
            };
            let units = asked.iter().map(|action| self.unit(action)).collect();
            let said = ask(&self.cluster, units, patience).await;
            for (action, said) in asked.iter().zip(said) {
                self.hear(action, said);
            }
        }
    }

    /// Learns what is to be recorded with the decision; whether it may be asked for.
    async fn learn_answer(&mut self) -> bool {
        let Some(Answering { id, asks, told }) = self.answering.take() else { return true };
        let _ = asks.send(self.core.versions().clone());
        let Ok(answer) = told.await else { return false };
        self.answered = Some(Answered::new(id, self.tx.begun, &answer));
        true
    }

    fn unit(&self, action: &Action) -> Addressed {
        let (tx, home) = (self.tx, self.core.home());
        let intent = |part| {
            let none = Intent { home, version: 0, holds: Vec::new() };
            self.intents.get(part).cloned().unwrap_or(none)
        };
        match action {
            Action::Prepare(part, true) => noted(*part, &Note::Alone(tx, intent(part))),
            Action::Prepare(part, false) => noted(*part, &Note::Prepare(tx, intent(part))),
            Action::Decide(parts) => {
                let answered = self.answered.clone();
                noted(home, &Note::Decide(tx, Decision::Commit, parts.clone(), answered))
            }
            Action::Settle(part, decision) => settling(*part, tx, *decision),
            Action::Close | Action::Answer(_) => noted(home, &Note::Close(tx)),
        }
    }

    fn hear(&mut self, action: &Action, said: Option<Arc<[u8]>>) {
        let event = match action {
            Action::Prepare(part, _) => {
                Event::Voted(*part, said.and_then(|bytes| Vote::of_bytes(&bytes)))
            }
            Action::Decide(_) => Event::Decided(said.and_then(|bytes| Ruling::of_bytes(&bytes))),
            Action::Settle(part, _) if said.is_some() => Event::Settled(*part),
            Action::Settle(..) | Action::Close | Action::Answer(_) => return,
        };
        self.core.step(event, &mut self.todo);
    }
}

/// Finds out how a transaction ends that has waited for too long in a segment that this member
/// serves. What cannot be found out now is looked for again.
pub async fn resolve(cluster: Arc<Cluster>, at: Part, open: Open) {
    match open {
        Open::Ask(tx, home) => {
            let abort = noted(home, &Note::Decide(tx, Decision::Abort, Vec::new(), None));
            let said = ask(&cluster, vec![abort], TELL).await.pop().flatten();
            let ruling = said.and_then(|bytes| Ruling::of_bytes(&bytes));
            if let Some(Ruling::Decided(decision)) = ruling {
                ask(&cluster, vec![settling(at, tx, decision)], TELL).await;
            }
        }
        Open::Tell(tx, parts) => {
            let parts = parts.into_iter();
            let units = parts.map(|part| settling(part, tx, Decision::Commit)).collect();
            if ask(&cluster, units, TELL).await.iter().all(Option::is_some) {
                ask(&cluster, vec![noted(at, &Note::Close(tx))], TELL).await;
            }
        }
    }
}

/// How the open transaction of a number ends, as far as the segments know it. Where it has its home
/// says nobody, so all are asked.
pub async fn look(cluster: Arc<Cluster>, number: u64, patience: Duration) -> TxState {
    let mut units = Vec::new();
    let has_some =
        |shared: &&Arc<Shared>| !shared.answers_at_once() && !is_of_structures(&shared.name);
    for shared in cluster.caches().iter().filter(has_some) {
        let count = u16::try_from(shared.table().segment_count()).unwrap_or(u16::MAX);
        let body = || number.to_le_bytes().to_vec();
        units.extend((0..count).map(|at| addressed((shared.group, SegmentId(at)), LOOK, body())));
    }
    let said = ask(&cluster, units, patience).await;
    let known = said.iter().flatten().filter_map(|bytes| Known::of_byte(*bytes.first()?));
    known.fold(TxState::Unknown, |state, known| match (state, known) {
        (_, Known::Decided(Decision::Commit)) => TxState::Committed,
        (_, Known::Decided(Decision::Abort)) => TxState::Aborted,
        (TxState::Unknown, Known::Open) => TxState::Active,
        (state, _) => state,
    })
}

/// A unit, and the cache that it is for.
type Addressed = (GroupId, Unit);

/// What segments say to units; `None`: nobody knows whether it was done.
async fn ask(
    cluster: &Arc<Cluster>,
    units: Vec<Addressed>,
    patience: Duration,
) -> Vec<Option<Arc<[u8]>>> {
    let mut said = vec![None; units.len()];
    let mut caches: BTreeMap<GroupId, (Vec<usize>, Vec<Unit>)> = BTreeMap::new();
    for (at, (group, unit)) in units.into_iter().enumerate() {
        let (places, units) = caches.entry(group).or_default();
        places.push(at);
        units.push(unit);
    }
    let mut asked = JoinSet::new();
    for (group, (places, units)) in caches {
        // A cache that the configuration does not have any more is asked by nobody.
        let Some(shared) = cluster.of_group(group).map(Arc::clone) else { continue };
        // All of them may be done twice, so they are simply asked again.
        let spread = Spread::new((Arc::clone(cluster), shared), units, patience);
        asked.spawn(async { (places, spread.go_all().await.unwrap_or_default()) });
    }
    while let Some(fates) = asked.join_next().await {
        let Ok((places, fates)) = fates else { continue };
        for (at, fate) in places.into_iter().zip(fates) {
            if let (Some(place), Fate::Given(given)) = (said.get_mut(at), fate) {
                *place = (given.kind == SubKind::Res).then_some(given.payload);
            }
        }
    }
    said
}

/// What keys are, as the bytes of changes that put them, empty where there is no entry; `None`
/// where nobody says so in time.
pub async fn read(
    cluster: &Arc<Cluster>,
    keys: impl Iterator<Item = &(Part, Vec<u8>)>,
    patience: Duration,
) -> Vec<Option<Arc<[u8]>>> {
    let unit = |(part, key): &(Part, Vec<u8>)| addressed(*part, READ, key.clone());
    let units = keys.map(unit).collect();
    ask(cluster, units, patience).await
}

fn addressed((group, segment): Part, op: u16, body: Vec<u8>) -> Addressed {
    (group, Unit { segment: segment.0.into(), op, body, name: None })
}

fn noted(part: Part, note: &Note) -> Addressed {
    addressed(part, NOTE, note.to_bytes())
}

fn settling(part: Part, tx: TxId, decision: Decision) -> Addressed {
    addressed(part, SETTLE, Note::Decide(tx, decision, Vec::new(), None).to_bytes())
}

impl Session {
    /// Takes part in a transaction with a segment that this member serves.
    pub(super) fn take_part(
        &mut self,
        (cluster, shared): &Way,
        unit: &Unit,
    ) -> Option<(Begun, usize)> {
        let copies = shared.copies().filter(|_| cluster.serves(shared, unit.segment))?;
        let (now, segment) = (cluster.now(), unit.segment);
        let before = shared.mark(segment);
        let payload = if unit.op == READ {
            if copies.is_held(segment, &unit.body, false) {
                return None;
            }
            entry(shared, &unit.body, now.wall)
        } else if unit.op == LOOK {
            let number = u64::from_le_bytes(unit.body.as_slice().try_into().ok()?);
            vec![copies.known_tx(segment, opened(number)).ok()?.to_byte()]
        } else {
            let done = match (Note::of_bytes(&unit.body)?, unit.op) {
                (Note::Decide(tx, decision, ..), SETTLE) => {
                    copies.settle(now, segment, tx, decision).map(|()| Vec::new())
                }
                (Note::Prepare(tx, intent), NOTE) => {
                    copies.prepare(now, segment, tx, intent, false).map(|vote| vote.to_bytes())
                }
                (Note::Alone(tx, intent), NOTE) => {
                    copies.prepare(now, segment, tx, intent, true).map(|vote| vote.to_bytes())
                }
                (Note::Decide(tx, wish, parts, answered), NOTE) => {
                    let decided = copies.decide(now.wall, segment, (tx, wish, parts), answered);
                    decided.map(|ruling| ruling.to_bytes())
                }
                (Note::Close(tx), NOTE) => copies.close_tx(segment, tx).map(|()| Vec::new()),
                _ => return None,
            };
            self.unsent.wrote(cluster, shared, segment);
            // What was not done is asked for again.
            done.ok()?
        };
        let is_read = unit.op == READ;
        // What was read is committed; the rest is true when what was recorded is.
        let ticket = shared.ticket(segment, before, is_read);
        if ticket.is_none() && !cluster.serves(shared, segment) {
            return None;
        }
        let cost = payload.len();
        let given =
            Given { kind: SubKind::Res, is_ok: true, is_undone: false, payload: payload.into() };
        Some(((given, ticket), cost))
    }
}

/// The entry of a key as the bytes of a change that puts it; empty if there is none.
fn entry(shared: &Shared, key: &[u8], now: u64) -> Vec<u8> {
    let (table, mut bytes) = (shared.table(), Vec::new());
    let pinned = table.pin();
    if let Some(found) = pinned.get(table.hash(key), key, now) {
        let entry = NewEntry {
            value: [found.value(), b""],
            flags: found.flags(),
            deadline: found.deadline(),
            max_idle: found.max_idle(),
            version: Some(found.version()),
            marks: found.marks(),
        };
        encode_change(&Change::Put { key, entry, epoch: 0, seq: 0 }, &mut bytes);
    }
    bytes
}
