//! Group 0x06: web sessions.

use super::blob::{Key, Value};
use super::cache::{FieldChange, MapField};
use super::codec::Ms;
use super::declare::{choices, group, record};
use super::list::List;

choices! {
    /// What a save does about what it does not name, and about changes of others.
    SaveMode {
        /// What it names wins; all other attributes stay.
        0 Merge "MERGE",
        /// Nothing is done if somebody else has changed what it names since the base.
        1 Strict "STRICT",
        /// What it names is all that is left.
        2 Replace "REPLACE",
    }
}

record! {
    /// An attribute of a session that begins.
    SessionAttribute<'a> {
        /// Its name: 1 to 255 bytes.
        name: &'a str,
        /// Its value: at most 64 KiB.
        value: Value<'a>,
    }
}

record! {
    /// A session that was found.
    FoundSession<'a> {
        /// Its id.
        id: &'a [u8],
        /// When it was used last, ms since 1970.
        last_ms: u64,
    }
}

record! {
    /// A session as it is shown: neither its id nor what it holds.
    ShownSession<'a> {
        /// The first 16 hexadecimal digits of SHA-256 of its id.
        mask: &'a str,
        /// When it began, ms since 1970.
        created_ms: u64,
        /// When it was used last, ms since 1970.
        last_ms: u64,
        /// How long it lives if it is not used again; 0: for ever.
        left: Ms,
        /// How many attributes it has.
        attributes: u32,
        /// Bytes of their names and values.
        bytes: u32,
        /// What it can be found by.
        index: List<'a, &'a str>,
    }
}

group! {
    /// Web sessions. The object is a space of them, in which each has an id of 16 to 128 bytes: what
    /// the framework keeps in the cookie, or better a hash of that. A session is a set of attributes,
    /// at most 256 of 64 KiB each and 1 MiB in all, which are changed one by one: two requests that
    /// change different attributes at once lose nothing. A session ends when it was not used for its
    /// idle time, and at the end of its whole lifetime however much it is used; one that has ended
    /// is `NOT_FOUND` at once. What was destroyed is known for ten minutes: nothing that is saved late
    /// brings it back, that is `SESSION_GONE`.
    0x06 "session";
    reserved { 0x060b "LOCK", 0x060c "UNLOCK", }

    /// Begins a session.
    0x0601 CREATE Create<'a> (Dedup, Write, none) {
        /// Its id.
        id: Key<'a>,
        /// It ends when it was not used for so long; 0: never.
        idle: Ms,
        /// It ends so long after its beginning; 0: never.
        absolute: Ms,
        /// Its first attributes.
        attributes: List<'a, SessionAttribute<'a>>,
        /// What it can be found by: at most 16 names of 1 to 255 bytes.
        index: List<'a, &'a str>,
    } => CreateReply {
        /// Begun.
        Ok {
            /// Its version.
            version: u64,
        }
        /// A session has this id, or had it a short time ago: draw another one.
        NotStored {}
    }

    /// Reads a session. Of one that was renewed a short time ago the old id is as good as the new one.
    0x0602 LOAD Load<'a> (Read, Read, none) {
        /// Its id.
        id: Key<'a>,
        /// The version that the caller has; 0: none.
        known: u64,
        /// Only these attributes; empty: all.
        names: List<'a, &'a str>,
        /// It is used, and its idle time begins anew.
        touch: bool,
    } => LoadReply<'a> {
        /// It is there.
        Ok {
            /// Its version, which each change of attributes or names raises.
            version: u64,
            /// When it began, ms since 1970.
            created_ms: u64,
            /// How much of its idle time is left; 0: it has none.
            idle_left: Ms,
            /// How much of its whole lifetime is left; 0: it has none.
            absolute_left: Ms,
            /// What it holds, each with the version of the session that changed it last.
            attributes: List<'a, MapField<'a>>,
            /// What it can be found by.
            index: List<'a, &'a str>,
        }
        /// There is none.
        NotFound {}
        /// The caller has it.
        Unchanged {}
    }

    /// Changes attributes: all of that or nothing. It never begins a session. Who saves uses it.
    0x0603 SAVE Save<'a> (Dedup, Write, none) {
        /// Its id.
        id: Key<'a>,
        /// The version that the changes build upon, by which conflicts are known; 0: none.
        base: u64,
        /// What becomes of all else.
        mode: SaveMode,
        /// Attributes to change.
        changes: List<'a, FieldChange<'a>>,
        /// Attributes to remove then.
        removals: List<'a, &'a str>,
    } => SaveReply<'a> {
        /// Done.
        Ok {
            /// The new version.
            version: u64,
            /// Attributes of these that somebody else had changed since the base; this save won. With
            /// REPLACE also those that it dropped. Who removed an attribute is not known.
            conflicts: List<'a, &'a str>,
        }
        /// There is none. One that was destroyed or renewed is `SESSION_GONE`.
        NotFound {}
        /// The mode was STRICT, and somebody else has changed these since the base.
        VersionMismatch {
            /// The version that is there.
            version: u64,
            /// They, as they are.
            attributes: List<'a, MapField<'a>>,
        }
    }

    /// Uses a session. What is used often is written now and then, so that a session lives up to a
    /// twentieth of its idle time, at least a second, longer than that, and never shorter.
    0x0604 TOUCH Touch<'a> (Idempotent, Write, none) {
        /// Its id.
        id: Key<'a>,
    } => TouchReply {
        /// It is there.
        Ok {
            /// How long it lives if it is not used again; 0: for ever.
            left: Ms,
        }
        /// There is none.
        NotFound {}
    }

    /// Ends a session. The id of one that was renewed ends that one.
    0x0605 DESTROY Destroy<'a> (Idempotent, Write, none) {
        /// Its id.
        id: Key<'a>,
        /// Why, for the log of the server: at most 255 bytes.
        reason: &'a str,
    } => DestroyReply {
        /// Ended.
        Ok {}
        /// There was none.
        NotFound {}
    }

    /// Gives a session another id, as one does after a login. The old one is `SESSION_GONE` from now
    /// on, apart from LOAD for the time of grace, and DESTROY.
    0x0606 RENEW_ID RenewId<'a> (Idempotent, Write, none) {
        /// Its id.
        old: Key<'a>,
        /// The new one.
        new: Key<'a>,
        /// Requests that are under way may load it by the old id for so long.
        grace: Ms,
    } => RenewIdReply {
        /// It has the new id.
        Ok {
            /// Its version, under the new id: those of before say nothing any more.
            version: u64,
        }
        /// There is none.
        NotFound {}
        /// Another session has the new id: draw another one.
        NotStored {}
    }

    /// Changes what a session can be found by.
    0x0607 INDEX Index<'a> (Idempotent, Write, none) {
        /// Its id.
        id: Key<'a>,
        /// Names that it gets, like `user:42`.
        add: List<'a, &'a str>,
        /// Names that it loses then.
        remove: List<'a, &'a str>,
    } => IndexReply {
        /// Done.
        Ok {
            /// The new version.
            version: u64,
        }
        /// There is none.
        NotFound {}
    }

    /// Finds sessions by a name.
    0x0608 FIND Find<'a> (Read, Read, none) {
        /// The name.
        name: &'a str,
    } => FindReply<'a> {
        /// Those that there are; none, if so.
        Ok {
            /// In no order.
            sessions: List<'a, FoundSession<'a>>,
        }
    }

    /// Counts sessions, all of which are looked at.
    0x0609 COUNT Count (Read, Read, none) {} => CountReply {
        /// So many there are.
        Ok {
            /// Their number.
            count: u64,
        }
    }

    /// Shows sessions, a page at a time.
    0x060a LIST ListSessions<'a> (Read, Read, none) {
        /// Goes on behind what this cursor came with. It is of no meaning to a client.
        cursor: Option<&'a [u8]>,
        /// How many at the least, if there are so many: 1 to 256.
        n: u16,
    } => ListSessionsReply<'a> {
        /// Some of them.
        Ok {
            /// The sessions, in no order.
            sessions: List<'a, ShownSession<'a>>,
            /// There may be more.
            cursor: Option<&'a [u8]>,
        }
    }

    /// Ends all sessions of a name but one: a logout everywhere. One that begins meanwhile may stay.
    0x060d DESTROY_BY DestroyBy<'a> (Idempotent, Write, none) {
        /// The name.
        name: &'a str,
        /// The id of the one that stays; empty: none does.
        except: &'a [u8],
    } => DestroyByReply {
        /// Ended.
        Ok {
            /// How many.
            count: u32,
        }
    }
}
