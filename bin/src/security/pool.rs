//! The threads that check passwords. Hashing one takes milliseconds on purpose: two threads and a
//! short queue bound what a flood of logins can take from everybody else.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Threads.
const THREADS: usize = 2;
/// Checks that wait for a thread.
pub const QUEUE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when it is dropped.
pub struct Pool {
    jobs: SyncSender<Job>,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no threads to give.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..THREADS {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("isogrid-auth-{n}"));
            thread.spawn(move || work(&queue))?;
        }
        Ok(Pool { jobs })
    }

    /// Has `job` done on one of the threads; what it returns arrives at the receiver.
    ///
    /// # Errors
    /// [`Busy`] when too many are waiting already.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Busy> {
        let (done, receiver) = oneshot::channel();
        // Whoever asked may be gone by then.
        let job = Box::new(move || drop(done.send(job())));
        match self.jobs.try_send(job) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_sixty_four_waiting_and_no_more() {
        let pool = Pool::start().unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (begun, begins) = std::sync::mpsc::channel();
        let mut answers = Vec::new();
        for n in 0..THREADS {
            let (wait, begun) = (Arc::clone(&wait), begun.clone());
            let job = move || {
                begun.send(()).unwrap();
                let _ = wait.lock().unwrap().recv();
                n
            };
            answers.push(pool.run(job).unwrap());
        }
        (0..THREADS).for_each(|_| begins.recv().unwrap());
        answers.extend((0..QUEUE).map(|n| pool.run(move || THREADS + n).unwrap()));
        assert_eq!(pool.run(|| 0).err(), Some(Busy));
        drop(go);
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.blocking_recv(), Ok(n));
        }
    }
}
