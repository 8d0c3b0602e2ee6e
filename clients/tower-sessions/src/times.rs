//! How long a session lives. The server gives a session, with each save, the time that it began with;
//! when the framework wants an earlier end, that is kept with the session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The times of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// It ends so long after its last save, seconds.
    idle: u64,
    /// It ends then, ms since 1970, if that is earlier.
    until: Option<i64>,
}

impl Times {
    /// Those of a session that begins and is to end then.
    pub fn begin(end: OffsetDateTime, now: OffsetDateTime) -> Times {
        Times { idle: seconds(end, now).max(1), until: (end <= now).then(|| ms(end)) }
    }

    /// The same session, saved now, is to end then.
    ///
    /// # Errors
    ///
    /// That is later than the server keeps it; and what to do.
    pub fn ending(self, end: OffsetDateTime, now: OffsetDateTime) -> Result<Times, String> {
        let (idle, left) = (self.idle, seconds(end, now));
        if left > idle {
            return Err(format!(
                "the session is to live {left} s and began with {idle} s: cycle its id as well, which \
                 begins one that lives longer"
            ));
        }
        Ok(Times { idle, until: (left < idle).then(|| ms(end)) })
    }

    /// How long the server keeps the session after a save.
    pub fn idle(self) -> Duration {
        Duration::from_secs(self.idle)
    }

    /// When it ends, as far as the session itself says: the server may have ended it earlier.
    pub fn end(self, now: OffsetDateTime) -> OffsetDateTime {
        match self.until {
            Some(until) => {
                OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::milliseconds(until))
            }
            None => now.saturating_add(time::Duration::seconds(
                i64::try_from(self.idle).unwrap_or(i64::MAX),
            )),
        }
    }
}

/// Whole seconds until then, rounded up: what is "in an hour" again a moment later stays one.
fn seconds(end: OffsetDateTime, now: OffsetDateTime) -> u64 {
    let left = end - now;
    let up = i64::from(left.subsec_nanoseconds() > 0);
    u64::try_from(left.whole_seconds().saturating_add(up)).unwrap_or(0)
}

fn ms(at: OffsetDateTime) -> i64 {
    let since = at - OffsetDateTime::UNIX_EPOCH;
    i64::try_from(since.whole_milliseconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: time::Duration = time::Duration::HOUR;
    const MOMENT: time::Duration = time::Duration::microseconds(3);

    /// An hour, begun at the beginning of time a moment after the framework has reckoned its end.
    fn begun() -> (Times, OffsetDateTime) {
        let now = OffsetDateTime::UNIX_EPOCH;
        (Times::begin(now + HOUR, now + MOMENT), now)
    }

    #[test]
    fn an_hour_after_each_save_is_what_the_server_gives() {
        let (times, now) = begun();
        assert_eq!((times.idle(), times.until), (Duration::from_secs(3_600), None));
        let later = now + HOUR / 2;
        assert_eq!(times.ending(later + HOUR, later + MOMENT), Ok(times));
        assert_eq!(times.end(later), later + HOUR);
    }

    #[test]
    fn a_time_of_day_or_a_shorter_time_is_kept_with_the_session() {
        let (times, now) = begun();
        let later = now + HOUR / 2;
        let fixed = times.ending(now + HOUR, later).unwrap();
        assert_eq!((fixed.idle, fixed.end(later)), (3_600, now + HOUR));
        assert_eq!(fixed.ending(now + HOUR, later + HOUR / 4), Ok(fixed), "nothing to save");
        let again = fixed.ending(later + HOUR, later + MOMENT).unwrap();
        assert_eq!(again, times, "an hour after each save, as before");
    }

    #[test]
    fn a_longer_time_is_refused_and_one_that_is_over_is_over() {
        let (times, now) = begun();
        let refused = times.ending(now + HOUR + time::Duration::SECOND, now).unwrap_err();
        assert!(refused.contains("3601 s") && refused.contains("cycle its id"), "{refused}");
        let over = times.ending(now - HOUR, now).unwrap();
        assert!(over.end(now) < now);
        let late = now + HOUR;
        let begun = Times::begin(now, late);
        assert!(begun.end(late) < late && begun.idle() == Duration::from_secs(1));
    }
}
