//! Single flight, bounds and ends, on sources that wait for the test.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::wal::block_on;

/// Says when a load begins, and ends it when it is told how.
struct Gate {
    begun: Mutex<Sender<Vec<u8>>>,
    go: Mutex<Receiver<Result<(), LoadError>>>,
    loads: AtomicUsize,
}

impl Source for Gate {
    fn load(&self, key: &[u8]) -> Result<(), LoadError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.begun.lock().send(key.to_vec()).unwrap();
        self.go.lock().recv().unwrap()
    }
}

struct Bed {
    loader: Arc<Loader>,
    gate: Arc<Gate>,
    loads: Arc<Loads>,
    begun: Receiver<Vec<u8>>,
    go: Sender<Result<(), LoadError>>,
}

impl Bed {
    fn new() -> Bed {
        let ((begun, seen), (go, told)) = (channel(), channel());
        let loads = AtomicUsize::new(0);
        let gate = Arc::new(Gate { begun: Mutex::new(begun), go: Mutex::new(told), loads });
        let loader = Loader::start(1).unwrap();
        let loads = loader.loads(gate.clone());
        Bed { loader, gate, loads, begun: seen, go }
    }
}

#[test]
fn a_key_is_loaded_once_for_all_who_wait() {
    let bed = Bed::new();
    let first = bed.loads.begin(b"key").unwrap();
    assert_eq!(bed.begun.recv().unwrap(), b"key");
    let waiters: Vec<_> = (0..20)
        .map(|_| bed.loads.begin(b"key").unwrap())
        .map(|flight| std::thread::spawn(move || block_on(|cx| flight.poll(cx))))
        .collect();
    assert_eq!(bed.loads.waiting(), 1);
    bed.go.send(Ok(())).unwrap();
    assert_eq!(block_on(|cx| first.poll(cx)), Ok(()));
    waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Ok(())));
    assert_eq!(bed.gate.loads.load(Ordering::Relaxed), 1);
    // It may have gone again: who asks later has it loaded anew.
    let later = bed.loads.begin(b"key").unwrap();
    bed.begun.recv().unwrap();
    bed.go.send(Err(LoadError::Damaged)).unwrap();
    assert_eq!(block_on(|cx| later.poll(cx)), Err(LoadError::Damaged));
    assert_eq!((bed.gate.loads.load(Ordering::Relaxed), bed.loads.waiting()), (2, 0));
}

#[test]
fn what_waits_is_bounded() {
    let bed = Bed::new();
    bed.loads.begin(b"first").unwrap();
    bed.begun.recv().unwrap();
    for n in 0..FLIGHTS_MAX {
        assert!(bed.loads.begin(&n.to_le_bytes()).is_ok());
    }
    assert!(matches!(bed.loads.begin(b"one more"), Err(LoadError::Busy)));
    assert!(bed.loads.begin(b"first").is_ok(), "what is under way takes no place");
    bed.go.send(Ok(())).unwrap();
    bed.begun.recv().unwrap();
    assert!(bed.loads.begin(b"one more").is_ok());
    let last = bed.loads.begin(b"one more").unwrap();
    bed.loader.stop();
    assert_eq!(block_on(|cx| last.poll(cx)), Err(LoadError::Failed));
    bed.go.send(Ok(())).unwrap();
    assert!(matches!(bed.loads.begin(b"late"), Err(LoadError::Failed)));
}
