//! RENEW_ID: a session gets another id, in the steps of [`Renewal`].

use isogrid_grid::structure::session::{Heard, Renewal, Step};
use isogrid_wire::native::session::{RenewId, RenewIdReply};
use isogrid_wire::native::{Call, ErrorCode, SubKind};

use super::errand::{Errand, Next, Space, destroy, only};
use super::execute::{ADOPT, Adoption, LOOK, RENEWED, RETIRE, TAKE, gone, renewed};
use crate::server::native::clustered::spread::{Fate, Unit};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// When a session is changed all the time it may be renewed soon, ms.
const RETRY_MS: u32 = 50;

/// A session on its way to another id.
pub struct Renewing {
    space: Space,
    old: Vec<u8>,
    new: Vec<u8>,
    grace: u64,
    renewal: Renewal,
}

impl Renewing {
    /// One that has not begun.
    pub fn new(space: Space, renew: &RenewId<'_>) -> Renewing {
        let (old, new) = (renew.old.0.to_vec(), renew.new.0.to_vec());
        Renewing { space, old, new, grace: renew.grace.0, renewal: Renewal::default() }
    }

    fn unit(&self, step: &Step) -> Option<Unit> {
        let (id, step, version, record) = match step {
            Step::Take => (&self.old, TAKE, 0, &[][..]),
            Step::Look => (&self.new, LOOK, 0, &[][..]),
            Step::Adopt { version, record } => (&self.new, ADOPT, *version, &**record),
            Step::Retire { version } => (&self.old, RETIRE, *version, &[][..]),
            Step::Undo => return Some(destroy(&self.space, &self.new)),
            Step::End(_) => return None,
        };
        let (old, new, grace) = (&*self.old, &*self.new, self.grace);
        let body = Adoption { old, new, version, grace, record }.encode();
        Some(self.space.unit(self.space.segment_of(id), RenewId::CODE, step, &body))
    }

    fn go(&self, step: &Step) -> Next {
        match (step, self.unit(step)) {
            (Step::End(heard), _) => Next::End(answer(heard)),
            (_, Some(unit)) => Next::Ask(vec![unit]),
            (_, None) => Next::End(Given::failure(&Failure::of(ErrorCode::Internal))),
        }
    }
}

impl Errand for Renewing {
    fn begin(&mut self) -> Vec<Unit> {
        let step = self.renewal.begin();
        self.unit(&step).into_iter().collect()
    }

    fn next(&mut self, fates: Vec<Fate>) -> Next {
        let heard = only(fates).and_then(|given| heard(&given));
        match heard {
            Ok(heard) => {
                let step = self.renewal.next(heard, &self.new);
                self.go(&step)
            }
            // It may be there under both ids.
            Err(failure)
                if self.renewal.is_begun() && failure.code != ErrorCode::OutcomeUnknown =>
            {
                let why = format!("{}: ask again for the same two ids", failure.message());
                Next::End(Given::failure(&Failure::new(ErrorCode::OutcomeUnknown, why)))
            }
            Err(failure) => Next::End(Given::failure(&failure)),
        }
    }
}

fn answer(heard: &Heard) -> Given {
    match heard {
        Heard::Done(version) => Given::answer(&RenewIdReply::Ok { version: *version }),
        Heard::Exists => Given::answer(&RenewIdReply::NotStored {}),
        Heard::Absent => Given::answer(&RenewIdReply::NotFound {}),
        Heard::Destroyed => Given::failure(&gone("destroyed")),
        Heard::Renewed(_) => Given::failure(&renewed()),
        Heard::Busy | Heard::Changed | Heard::Taken { .. } => {
            let why = "the session is changed all the time: its id is as before";
            Given::failure(&Failure::new(ErrorCode::Overloaded, why).after(RETRY_MS))
        }
    }
}

/// The first byte of an answer to a step.
pub mod said {
    /// [`super::Heard::Absent`], and the answer to DESTROY that there was none.
    pub const ABSENT: u8 = 1;
    /// [`super::Heard::Done`], and the answer to DESTROY that it is done.
    pub const DONE: u8 = 0;
    /// [`super::Heard::Destroyed`].
    pub const DESTROYED: u8 = 0x10;
    /// [`super::Heard::Taken`].
    pub const TAKEN: u8 = 0x11;
    /// [`super::Heard::Exists`].
    pub const EXISTS: u8 = 0x12;
    /// [`super::Heard::Changed`].
    pub const CHANGED: u8 = 0x13;
}

/// What was answered to a step.
///
/// # Errors
/// It could not be done.
fn heard(given: &Given) -> Result<Heard, Failure> {
    if given.kind == SubKind::Err {
        return Err(Failure::of_given(given));
    }
    let version = |rest: &[u8]| rest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(match given.payload.split_first() {
        Some((&said::DONE, rest)) => Heard::Done(version(rest)),
        Some((&said::ABSENT, _)) => Heard::Absent,
        Some((&said::DESTROYED, _)) => Heard::Destroyed,
        Some((&said::EXISTS, _)) => Heard::Exists,
        Some((&said::CHANGED, _)) => Heard::Changed,
        Some((&RENEWED, to)) => Heard::Renewed(to.to_vec()),
        Some((&said::TAKEN, rest)) => {
            let record = rest.get(8..).unwrap_or_default().to_vec();
            Heard::Taken { version: version(rest), record }
        }
        _ => return Err(Failure::of(ErrorCode::Internal)),
    })
}
