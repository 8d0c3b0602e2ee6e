//! A new id for a session. The two ids may be in different segments, which nothing writes at once, so
//! it is done in steps, the new one first: take the session, adopt it under the new id, retire the old
//! one if it is still as it was taken, else all over. Every step may come again, late or twice.
//!
//! Whoever does this may be lost between the last two steps. Then the session is there under both ids,
//! of which nobody was told the new one, until one that is asked again finishes it, or each ends for
//! itself. It can be found under both by its names, so whoever ends all of a user's sessions ends both.

/// How often a session is taken that others change meanwhile.
const TRIES: u32 = 64;

/// What is to be asked next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Under the old id: the session.
    Take,
    /// Under the new id: to take it over.
    Adopt {
        /// Its version under the old id.
        version: u64,
        /// Its bytes.
        record: Vec<u8>,
    },
    /// Under the old id: to give way to the new one.
    Retire {
        /// Only in this version.
        version: u64,
    },
    /// Under the new id: to end it, since it has ended under the old one.
    Undo,
    /// Under the new id: its version.
    Look,
    /// Nothing: this came of it.
    End(Heard),
}

/// What was answered to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// There is none.
    Absent,
    /// It was destroyed.
    Destroyed,
    /// It has this id now.
    Renewed(Vec<u8>),
    /// This is the session.
    Taken {
        /// Its version.
        version: u64,
        /// Its bytes.
        record: Vec<u8>,
    },
    /// Done; the version under the new id, where that was asked for.
    Done(u64),
    /// The new id is somebody else's.
    Exists,
    /// It was changed since it was taken.
    Changed,
    /// Others change it all the time.
    Busy,
}

/// A session on its way to another id.
#[derive(Debug, Default)]
pub struct Renewal {
    /// The version that was taken.
    version: u64,
    tries: u32,
    /// How it ends once the last step is answered.
    end: Option<Heard>,
    step: Asked,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Asked {
    #[default]
    Take,
    Adopt,
    Retire,
    Undo,
    Look,
}

impl Renewal {
    /// What is asked first.
    #[must_use]
    pub fn begin(&mut self) -> Step {
        self.step = Asked::Take;
        Step::Take
    }

    /// What is asked next, now that the last step was answered so; `to` is the new id.
    pub fn next(&mut self, heard: Heard, to: &[u8]) -> Step {
        match (self.step, heard) {
            (Asked::Take, Heard::Taken { version, record }) => {
                (self.version, self.step) = (version, Asked::Adopt);
                Step::Adopt { version, record }
            }
            (Asked::Adopt, Heard::Done(_)) => {
                self.step = Asked::Retire;
                Step::Retire { version: self.version }
            }
            // Whoever was lost, or asked before, had come as far as that.
            (Asked::Take, Heard::Renewed(have)) if have == to => self.look(),
            (Asked::Retire, Heard::Done(_)) => self.look(),
            (Asked::Retire, Heard::Changed) => self.again(),
            // It has ended, or has a third id: the one that was made here must not stay.
            (Asked::Retire, gone) => self.undo(gone),
            (Asked::Take, gone) if self.tries > 0 => self.undo(gone),
            (Asked::Undo, _) => Step::End(self.end.take().unwrap_or(Heard::Absent)),
            (_, heard) => Step::End(heard),
        }
    }

    /// Whether the session may be there under the new id by now.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.tries > 0 || !matches!(self.step, Asked::Take | Asked::Adopt)
    }

    fn look(&mut self) -> Step {
        self.step = Asked::Look;
        Step::Look
    }

    fn undo(&mut self, end: Heard) -> Step {
        (self.step, self.end) = (Asked::Undo, Some(end));
        Step::Undo
    }

    fn again(&mut self) -> Step {
        self.tries += 1;
        if self.tries < TRIES { self.begin() } else { self.undo(Heard::Busy) }
    }
}
