//! Real time: a load generator measures it, and sends at moments that the runtime's timer, which
//! counts milliseconds, would miss.

use std::io;
use std::time::{Duration, Instant};

/// Where all connections count from.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The time since it began.
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(target_os = "linux")]
pub use precise::Alarm;

#[cfg(not(target_os = "linux"))]
pub use coarse::Alarm;

#[cfg(target_os = "linux")]
mod precise {
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Clock, Duration, io};

    /// Wakes a connection, by the kernel's own timer: within some ten microseconds.
    pub struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        /// An alarm of the runtime that this is called in.
        #[expect(
            deprecated,
            reason = "sound for an `OwnedFd`, and what replaces it takes no safe call"
        )]
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            Ok(Alarm(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
        }

        /// Waits until `moment`.
        pub async fn until(&mut self, clock: &Clock, moment: Duration) -> io::Result<()> {
            loop {
                let left = moment.saturating_sub(clock.now());
                if left.is_zero() {
                    return Ok(());
                }
                let it_value = Timespec::try_from(left).unwrap_or_default();
                let once = Itimerspec { it_interval: Timespec::default(), it_value };
                timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
                // It may be ready from an earlier time: the loop looks at the clock.
                self.0.readable().await?.clear_ready();
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod coarse {
    use super::{Clock, Duration, io};

    /// Wakes a connection, by the runtime's timer: within about a millisecond, which the result
    /// shows as lateness of the generator.
    pub struct Alarm;

    impl Alarm {
        /// An alarm.
        pub fn new() -> io::Result<Self> {
            Ok(Alarm)
        }

        /// Waits until `moment`.
        pub async fn until(&mut self, clock: &Clock, moment: Duration) -> io::Result<()> {
            tokio::time::sleep(moment.saturating_sub(clock.now())).await;
            Ok(())
        }
    }
}
