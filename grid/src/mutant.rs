//! Bugs that can be planted, to see whether the simulator finds them. Without the feature
//! `mutants` there are none: [`is_planted`] is `false` when this is compiled.

/// A bug, and what it breaks.
pub struct Mutant {
    /// Its name, at the place where it is planted.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
}

macro_rules! mutants {
    ($($name:literal $what:literal)+) => {
        /// All of them.
        pub const MUTANTS: &[Mutant] = &[$( Mutant { name: $name, what: $what }, )+];
    };
}

mutants! {
    "lease-too-long" "a lease lasts a fifth longer than it was granted for (R6)"
    "grant-not-applied" "a grant counts before the member knows what the leader knew (R8)"
    "old-grant" "a lease that was granted to a process is taken by the next one of its member (R6)"
    "grant-unconfirmed" "the leader grants without asking whether it still leads (R7)"
    "no-new-leader-wait" "a new leader takes leases of the one before for over (R10)"
    "take-early" "roles are taken before the lease is over (R9)"
    "no-withhold" "a lease is granted to a member from which a role is being taken (R9)"
    "keep-roles" "a new process keeps the roles of the one before (R9c)"
    "promote-anyone" "any member that is alive is promoted (R28)"
    "old-wishes" "what a member said in an epoch that is over still counts (R3, R9b)"
    "epoch-stands-still" "a change of the copies in sync raises no epoch (R3)"
    "routes-stand-still" "another primary serves, and the topology epoch stays"
    "serve-after-giving-up" "a member serves on what it said that it gave up (R9b)"
    "left-returns" "a member that has left is let in again by its old wish"
    "witness-owns" "a witness is given copies as a member with data is"
    "vote-forgotten" "term and vote are not saved (R68)"
    "send-before-saved" "what a member says that it has is sent before it is saved (R68)"
    "not-synced" "what is saved is not made durable (R68)"
    "backup-reads-on" "a backup that may read is dropped while its lease holds (R9, R24)"
    "commit-at-once" "a write is committed before any backup has it (R17)"
    "commit-with-one" "a write is committed when one backup has it, not all (R17)"
    "old-primary" "messages of an epoch that is over are taken (R5, R17)"
    "gap" "a backup takes operations behind a gap (R17)"
    "patch-on-any-base" "a copy makes what came as a difference of whatever it has, unchecked (R16)"
    "takeover-alone" "a new primary asks nobody what they have (R30)"
    "takeover-no-fetch" "a new primary does not fetch what it lacks (R30)"
    "serve-early" "a new primary serves before what it found is committed (R30)"
    "uncounted-filling" "a copy becomes one in sync without having been waited for (R42)"
    "fill-on-top" "another primary fills a copy on top of what it has (R41)"
    "chunk-again" "a chunk that is sent again may end elsewhere (R41)"
    "force-unasked" "a stale copy serves though no operator has said so (R63)"
    "force-early" "a stale copy serves though one in sync may come back (R63)"
    "reset-keeps" "a segment that is declared empty keeps what a copy had (R29)"
    "told-once" "what is committed is said once, whether or not it is heard (R20)"
    "ack-before-durable" "a copy that is kept says what it has before that is durable (R17, R52)"
    "first-back" "a copy that is written behind counts after its process though another one may have more (R2, R62)"
    "filled-in-memory" "a copy that is written behind is one in sync before its disk has what it was filled with (R41)"
    "disks-agree" "what one disk has as committed is taken for what all disks have (R62)"
    "written-late" "what is written behind is on the disk a second later, not within 100 ms"
    "dirty-read" "what is not committed is read (R23)"
    "dirty-local-read" "a backup reads beside what is not committed (R24)"
    "conflict-at-once" "an answer does not wait for the write that it depends on (R19)"
    "read-without-lease" "a read is answered though the lease is over (R23)"
    "confirm-skipped" "a read is answered though no other copy was asked (R25)"
    "confirm-with-one" "a read is answered when one other copy has confirmed, not all (R25)"
    "confirm-early" "a read is answered by a round that began before it (R25)"
    "expel-serving" "a member is removed though it may have a lease (R9)"
    "answer-not-replicated" "the answer to a request that may come again is not a part of its record (R34)"
    "answers-not-filled" "a copy that is filled gets the entries without the answers (R34)"
    "tx-early-answer" "a transaction is acknowledged before its decision is on the copies"
    "tx-guess-abort" "who asks for a decision that is not recorded is told ABORT, which is not recorded either"
    "tx-not-taken-over" "whoever takes a segment over does not have its intents"
    "tx-group-forgotten" "copies know the segment of a decision's home, and not which cache that is of"
    "tx-half-read" "a key is read though a transaction that writes it may be committed"
    "tx-answer-forgotten" "the answer of a transaction that may come again is not a part of its decision (R34)"
    "unconfirmed-write" "a write is answered before the others have heard of it (R38)"
    "over-a-gap" "an invalidated cache is served though a number is missing (R38)"
    "stale-after-lapse" "an invalidated cache is kept though the lease was over (R38)"
    "serve-unheard" "an invalidated cache is served before the others promise to tell of writes (R38)"
    "late-fill" "what was loaded before its key was invalidated is stored (R39)"
    "tail-unbounded" "more is answered than may be lost (R37)"
    "hand-over-early" "a segment is given up though not all copies have what was answered (R37)"
    "filled-ahead" "a copy becomes one in sync without the log of what its chunks have (R37)"
    "delta-diverged" "a copy keeps what it has though its end was lost (R43)"
    "unknown-is-failed" "what nobody knows is answered as surely not done (R36)"
    "queue-unreplicated" "what a queue says waits for no copy (R85, R86)"
    "queue-again" "a request of a queue that comes again is executed again (R34)"
    "queue-stays" "who serves a queue anew has it in memory as it was (R84)"
    "queue-acks-lost" "an acknowledged message is removed from memory, not from the copies (R87)"
    "queue-leases-lost" "that a message is delivered is noted in memory, not on the copies (R86)"
    "queue-stale-receipt" "a receipt counts though the message was delivered again (R87)"
    "queue-dedup-lost" "whoever takes a queue over does not know the ids of publishers (R85)"
    "queue-dedup-short" "an id of a publisher is forgotten by the copies when its message is done (R85)"
    "queue-dead-lost" "a message that was delivered in vain too often is removed (R89)"
    "queue-newest-first" "the newest message is delivered first (R88)"
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants a bug in everything that this thread runs, or takes it out again.
    pub fn plant(name: Option<&'static str>) {
        PLANTED.set(name);
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn is_planted(name: &str) -> bool {
        PLANTED.get() == Some(name)
    }
}

#[cfg(feature = "mutants")]
pub use planted::{is_planted, plant};

/// Whether this bug is planted.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline]
pub const fn is_planted(_name: &str) -> bool {
    false
}
