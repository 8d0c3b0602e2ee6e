//! Those who publish and consume messages of queues, at any machine.

use std::collections::BTreeMap;

use isogrid_engine::hash::stable_segment;
use isogrid_grid::id::SegmentId;
use isogrid_grid::replica::OpId;
use isogrid_grid::structure::queue::{Receipt, Refusal};

use super::chance::Chance;
use super::groups::QUEUES;
use super::job::{Asked, Handed, Job, KINDS, Name, New, Said, Stamp, name_of};
use super::queue::What;
use super::server::Out;
use super::world::{SEGMENTS, World};
use crate::invariant::Lost;

/// How many steps of clients ask a queue for something, in a million; and when faults are over, and
/// what there is is taken out.
const STEP: u64 = 500_000;
const HEALED_STEP: u64 = 120_000;
/// Those who consume.
const CONSUMERS: u64 = 4;
/// Those who ask under numbers.
const NAMED: u64 = 40;
/// How long a request is waited for, us.
const PATIENCE_US: u64 = 5_000_000;
/// Attempts that are beyond any real one.
const FORGED: u32 = 1_000;
/// How much later a message is published once more, us.
const LATE_US: u64 = 8_000_000;
/// How often somebody publishes or acknowledges once more, at the most.
const TIMES: u32 = 3;

/// Something that happens to those who use queues.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// A request arrives at a machine.
    Arrives(usize, u64),
    /// What is said to it arrives.
    Said(u64, Said, Stamp),
    /// Who asked asks again, if nothing was said.
    Again(u64),
    /// Who asked is tired of waiting.
    Tired(u64),
    /// A consumer is done with a message, or not.
    Decides(u64),
    /// A message is published once more.
    Publishes(Name, New),
}

#[derive(Debug)]
struct Request {
    queue: Name,
    job: Job,
    named: bool,
    is_open: bool,
    /// What was said first.
    said: Option<(Said, Stamp)>,
    /// What had been declared lost when it was asked for.
    lost: u64,
    /// The message that it is about, of those that are held.
    held: Option<u64>,
}

/// A message that a consumer has.
#[derive(Debug, Clone, Copy)]
struct Held {
    queue: Name,
    receipt: Receipt,
    /// How often it was acknowledged.
    acks: u32,
}

/// All of them.
#[derive(Debug)]
pub struct Workers {
    chance: Chance,
    next: u64,
    requests: BTreeMap<u64, Request>,
    held: BTreeMap<u64, Held>,
    /// How often a message was published whose id is given.
    published: BTreeMap<u64, u32>,
}

/// The segment of a queue.
pub(super) fn segment_of(queue: Name) -> SegmentId {
    let segment = stable_segment(name_of(queue).as_bytes(), SEGMENTS.into());
    SegmentId(u16::try_from(segment).unwrap_or(0))
}

impl Workers {
    /// Nobody has asked for anything.
    #[must_use]
    pub fn new(seed: u64) -> Workers {
        Workers {
            chance: Chance::new(seed, 7),
            next: 0,
            requests: BTreeMap::new(),
            held: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Something to ask a queue for; nothing new is published when it is to be `drained`.
    fn draw(&mut self, drained: bool) -> Job {
        let consumer = u128::from(1 + self.chance.below(CONSUMERS));
        match self.chance.below(100) {
            0..=39 if !drained => Job::Publish(self.message()),
            40..=41 => Job::Leave(consumer),
            42..=43 => Job::Redrive(4),
            _ => {
                let wait = self.chance.pick(&[0, 0, 300, 1_500]).copied().unwrap_or(0);
                let most = usize::try_from(self.chance.between(1, 4)).unwrap_or(1);
                Job::Pull(consumer, most, wait)
            }
        }
    }

    fn message(&mut self) -> New {
        let (body, chance) = (self.number(), &mut self.chance);
        let mut often = |of: &[u64]| chance.pick(of).copied().unwrap_or(0);
        New {
            body,
            dedup: often(&[0, 0, 1]) == 1,
            group: u8::try_from(often(&[0, 0, 0, 1, 2])).unwrap_or(0),
            priority: u8::try_from(often(&[0, 0, 0, 0, 9])).unwrap_or(0),
            delay: often(&[0, 0, 0, 0, 0, 200]),
        }
    }

    fn may_come_again(&mut self, job: Job) -> bool {
        // Messages are not kept with an answer, and what is done in steps may be done again.
        let is_never = matches!(job, Job::Pull(..) | Job::Leave(_) | Job::Redrive(_));
        !is_never && (job == Job::Make || self.chance.hits(700_000))
    }
}

impl World {
    /// Somebody may ask a queue for something.
    pub fn worker(&mut self) {
        let drained = self.options.is_healed();
        let step = if drained { HEALED_STEP } else { STEP };
        if self.options.queue_owners == 0 || !self.workers.chance.hits(step) {
            return;
        }
        let queue = u8::try_from(self.workers.chance.below(KINDS.into())).unwrap_or(0);
        let job = self.workers.draw(drained);
        self.demand(queue, job, None);
    }

    fn lost_of(&self, queue: Name) -> Lost {
        self.invariants.lost(QUEUES, segment_of(queue))
    }

    fn demand(&mut self, queue: Name, job: Job, held: Option<u64>) {
        let Some(to) = self.whom_to_ask(queue) else { return };
        let lost = self.lost_of(queue).any;
        let workers = &mut self.workers;
        let (number, named) = (workers.number(), workers.may_come_again(job));
        let request = Request { queue, job, named, is_open: true, said: None, lost, held };
        workers.requests.insert(number, request);
        let total = &mut self.invariants.total_queue;
        match job {
            Job::Publish(new) => total.publish(queue, new),
            Job::Ack(receipt) => total.end(queue, receipt, false),
            Job::Nack(receipt, Refusal::Dead) => total.end(queue, receipt, true),
            _ => {}
        }
        self.note(format_args!("worker {number}: {job:x?} of {queue} to m{to}, named {named}"));
        let delay = self.workers.chance.between(100, 3_000);
        self.schedule(delay, What::Work(Work::Arrives(to, number)));
        self.schedule(PATIENCE_US, What::Work(Work::Tired(number)));
        if named {
            let later = self.workers.chance.between(50_000, 800_000);
            self.schedule(later, What::Work(Work::Again(number)));
        }
    }

    /// Most ask the member that somebody believes to serve the queue, some ask anybody.
    fn whom_to_ask(&mut self, queue: Name) -> Option<usize> {
        let running = self.running();
        let at = self.workers.chance.pick(&running).copied()?;
        let metadata = self.control(at)?.metadata();
        let segments = metadata.groups().get(&QUEUES).map(|group| &group.segments);
        let view = segments.and_then(|all| all.get(usize::from(segment_of(queue).0)));
        let primary = view.and_then(|view| view.primary);
        let primary = primary.filter(|_| self.workers.chance.hits(900_000));
        Some(primary.and_then(|primary| self.machine_of(primary)).unwrap_or(at))
    }

    pub(super) fn work(&mut self, work: Work) {
        match work {
            Work::Arrives(at, number) => self.job_arrives(at, number),
            Work::Said(number, said, stamp) => self.hears(number, said, stamp),
            Work::Again(number) => self.asks_again(number),
            Work::Tired(number) => self.hears_last(number, Said::Unknown, Stamp::default()),
            Work::Decides(number) => self.decides(number),
            Work::Publishes(queue, new) => self.demand(queue, Job::Publish(new), None),
        }
    }

    fn job_arrives(&mut self, at: usize, number: u64) {
        if !self.is_awake(at) {
            return self.wait_for(at, What::Work(Work::Arrives(at, number)));
        }
        let Some(request) = self.workers.requests.get(&number) else { return };
        let Request { queue, job, named, is_open, lost, .. } = *request;
        // It may be lost that it was answered: nothing keeps it from being done again then.
        if !is_open && lost < self.lost_of(queue).any {
            return;
        }
        let mut client = [b'w'; 16];
        client[0] = u8::try_from(number % NAMED).unwrap_or(0);
        let id = named.then_some(OpId { client, number });
        let asked = Asked { number, queue, job, id };
        let segment = segment_of(queue);
        self.serve(at, |server, moment, out| match &mut server.queues {
            Some(queues) => queues.ask(moment, segment, asked, out),
            None => out.push(Out::Job(number, Said::Failed, Stamp::default())),
        });
        self.flush_later(at);
    }

    pub(super) fn job_is_answered(&mut self, number: u64, said: Said, stamp: Stamp) {
        let delay = self.workers.chance.between(100, 3_000);
        self.schedule(delay, What::Work(Work::Said(number, said, stamp)));
    }

    fn asks_again(&mut self, number: u64) {
        let request = self.workers.requests.get(&number).filter(|request| request.is_open);
        let Some(queue) = request.map(|request| request.queue) else { return };
        let Some(to) = self.whom_to_ask(queue) else { return };
        let slowest = if self.workers.chance.hits(100_000) { 3_000_000 } else { 3_000 };
        let delay = self.workers.chance.between(100, slowest);
        self.schedule(delay, What::Work(Work::Arrives(to, number)));
        let later = self.workers.chance.between(50_000, 500_000);
        self.schedule(later, What::Work(Work::Again(number)));
    }

    fn hears(&mut self, number: u64, said: Said, stamp: Stamp) {
        let Some(request) = self.workers.requests.get_mut(&number) else { return };
        let is_vague = matches!(said, Said::Failed | Said::Unknown);
        if request.named && is_vague {
            // It asks again, and other attempts may be on their way.
            return;
        }
        let queue = request.queue;
        if request.named {
            let first = request.said.get_or_insert((said.clone(), stamp)).clone();
            let lost = self.lost_of(queue).any;
            let is_undone = |stamp: Stamp| u64::from(stamp.epoch) << 40 < lost;
            if first != (said.clone(), stamp) && !is_undone(first.1) && !is_undone(stamp) {
                self.fail(&format!(
                    "R34: {number} was told {first:?}, and then {said:?} {stamp:?}"
                ));
            }
        }
        self.hears_last(number, said, stamp);
    }

    /// What counts for who asked.
    fn hears_last(&mut self, number: u64, said: Said, stamp: Stamp) {
        let request = self.workers.requests.get_mut(&number);
        let Some(request) = request.filter(|request| request.is_open) else { return };
        request.is_open = false;
        let (queue, job, held) = (request.queue, request.job, request.held);
        self.note(format_args!("worker {number}: {said:x?} {stamp:?}"));
        if let Err(broken) = self.judge(queue, job, &said, stamp) {
            self.fail(&format!("worker {number}: {broken}"));
        }
        match (job, said) {
            (_, Said::Absent) => self.demand(queue, Job::Make, None),
            (Job::Pull(..), Said::Given(all)) => all.iter().for_each(|one| self.takes(queue, one)),
            (Job::Publish(new), said) => self.has_published(queue, new, &said),
            (Job::Ack(_), said) => self.has_acknowledged(held, &said),
            _ => {}
        }
    }

    /// What must hold of what is said.
    fn judge(&mut self, queue: Name, job: Job, said: &Said, stamp: Stamp) -> Result<(), String> {
        let lost = self.lost_of(queue);
        let total = &mut self.invariants.total_queue;
        total.note(count_of(job, said));
        match (job, said) {
            (_, Said::Absent) => {
                if let Job::Publish(New { body, .. }) = job {
                    total.refused(queue, body, lost)?;
                }
                total.absent(queue, stamp, lost)
            }
            (Job::Make, Said::Done) => {
                total.made(queue, stamp);
                Ok(())
            }
            (Job::Publish(new), Said::Published(id) | Said::Duplicate(id)) => {
                total.published(queue, (*id, new.body), stamp, lost)
            }
            (Job::Publish(new), Said::Full | Said::Failed) => total.refused(queue, new.body, lost),
            (Job::Pull(..), Said::Given(all)) => {
                all.iter().try_for_each(|one| total.delivered(queue, *one, stamp, lost))
            }
            (Job::Ack(receipt), Said::Failed) => {
                total.not_ended(queue, receipt, false);
                Ok(())
            }
            (Job::Nack(receipt, Refusal::Dead), Said::Failed) => {
                total.not_ended(queue, receipt, true);
                Ok(())
            }
            (Job::Ack(receipt) | Job::Nack(receipt, _) | Job::Extend(receipt, _), said) => {
                let is_ack = matches!(job, Job::Ack(_));
                match said {
                    Said::Done => total.taken(queue, receipt, is_ack, stamp, lost),
                    Said::Gone => total.gone(queue, receipt, is_ack, stamp, lost),
                    Said::NoReceipt => total.no_receipt(queue, receipt, stamp, lost),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A consumer gets a message, and takes its time for it.
    fn takes(&mut self, queue: Name, handed: &Handed) {
        let number = self.workers.number();
        self.workers.held.insert(number, Held { queue, receipt: handed.receipt, acks: 0 });
        self.decides_later(number);
    }

    fn decides_later(&mut self, number: u64) {
        let most = if self.workers.chance.hits(200_000) { 3_000_000 } else { 300_000 };
        let later = self.workers.chance.below(most);
        self.schedule(later, What::Work(Work::Decides(number)));
    }

    fn decides(&mut self, number: u64) {
        let Some(held) = self.workers.held.get_mut(&number) else { return };
        let Held { queue, receipt, acks } = *held;
        let again = if self.workers.chance.hits(500_000) { 0 } else { 50 };
        let drawn = self.workers.chance.below(100);
        let job = match drawn {
            _ if self.options.is_healed() || acks > 0 => Job::Ack(receipt),
            0..=69 => Job::Ack(receipt),
            70..=79 => Job::Nack(receipt, Refusal::Requeue(again)),
            80..=82 => Job::Nack(receipt, Refusal::Dead),
            83..=89 => Job::Extend(receipt, 500),
            90..=91 => Job::Ack(Receipt { attempt: receipt.attempt + FORGED, ..receipt }),
            // It forgets the message.
            _ => return,
        };
        if job == Job::Ack(receipt) {
            held.acks += 1;
        }
        if matches!(job, Job::Extend(..)) {
            self.decides_later(number);
        }
        self.demand(queue, job, Some(number));
    }

    /// Who does not know asks once more, and some do who know.
    fn has_acknowledged(&mut self, held: Option<u64>, said: &Said) {
        let Some(number) = held else { return };
        let Some(held) = self.workers.held.get(&number) else { return };
        let is_known = !matches!(said, Said::Failed | Said::Unknown);
        if held.acks > 0 && held.acks < TIMES && (!is_known || self.workers.chance.hits(100_000)) {
            self.decides_later(number);
        }
    }

    /// The same of who publishes, maybe when the message is done with: one that has an id is one,
    /// however often that is.
    fn has_published(&mut self, queue: Name, new: New, said: &Said) {
        let is_known = !matches!(said, Said::Failed | Said::Unknown);
        let times = self.workers.published.entry(new.body).or_default();
        *times += 1;
        if new.dedup && *times < TIMES && (!is_known || self.workers.chance.hits(300_000)) {
            let later = self.workers.chance.below(LATE_US);
            self.schedule(later, What::Work(Work::Publishes(queue, new)));
        }
    }
}

fn count_of(job: Job, said: &Said) -> &'static str {
    match (job, said) {
        (_, Said::Unknown) => "unknown",
        (_, Said::Failed) => "failed",
        (_, Said::Absent) => "absent",
        (_, Said::Gone) => "gone",
        (_, Said::Stale) => "stale",
        (_, Said::NoReceipt) => "forged",
        (_, Said::Full) => "full",
        (_, Said::Published(_)) => "published",
        (_, Said::Duplicate(_)) => "published before",
        (_, Said::Given(all)) if all.is_empty() => "nothing",
        (_, Said::Given(_)) => "given",
        (Job::Ack(_), Said::Done) => "acknowledged",
        (Job::Nack(..), Said::Done) => "refused",
        (_, Said::Done) => "done",
    }
}
