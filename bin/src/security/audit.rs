//! The audit log: who logged in or failed to, what was denied, and what administrators did. One
//! JSON object a line, chained ([`super::chain`]), in a file of its own that only its owner reads.
//! Values and secrets are never in it; a key is there as the beginning of its hash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::accounts::name_hash;
use super::{chain, hex};

/// Lines of one second; more are counted and left out.
const LINES_PER_SECOND: u32 = 1_000;
/// Lines on their way to the file.
const QUEUE: usize = 4_096;
/// How often the file is made safe on the disk.
const SYNC: Duration = Duration::from_secs(1);
/// No line is longer.
const LINE_LEN_MAX: usize = 4 << 10;

/// What happened.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Event<'a> {
    /// Unix time, ms.
    pub time: u64,
    /// `login`, `login_failed`, `denied`, `admin`, `revoked`, `accounts_changed`, `dropped`.
    pub event: &'static str,
    /// The user's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: &'a str,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// How the user logged in, or tried to.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub way: &'a str,
    /// What was asked for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub command: &'a str,
    /// The cache (queue, ...) that it was asked of.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cache: &'a str,
    /// The key; the line has the first 16 digits of its SHA-256.
    #[serde(rename = "key_sha256", skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "hashed")]
    pub key: Option<&'a [u8]>,
    /// Why.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'a str,
    /// How many, of lines that were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

fn hashed<S: serde::Serializer>(key: &Option<&[u8]>, to: S) -> Result<S::Ok, S::Error> {
    let hash = hex::show(&name_hash(key.unwrap_or_default()));
    to.serialize_str(hash.get(..16).unwrap_or_default())
}

/// How many lines a second has room for.
#[derive(Default)]
struct Rate {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl Rate {
    /// Whether one more line may be written at `now`; and how many were left out before it.
    fn pass(&mut self, now: u64) -> (bool, u64) {
        let left_out = self.next_second(now);
        let pass = self.lines < LINES_PER_SECOND;
        self.lines += u32::from(pass);
        self.left_out += u64::from(!pass);
        (pass, left_out)
    }

    /// Begins to count anew when a second is over; how many lines it left out.
    fn next_second(&mut self, now: u64) -> u64 {
        if now / 1_000 == self.second {
            return 0;
        }
        (self.second, self.lines) = (now / 1_000, 0);
        std::mem::take(&mut self.left_out)
    }
}

enum Message {
    Line(String),
    Reopen,
}

/// An open audit log.
pub struct Audit {
    queue: Mutex<Option<SyncSender<Message>>>,
    rate: Mutex<Rate>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens the log, or begins one. A last line that is not whole, as a crash leaves it, is cut.
    ///
    /// # Errors
    /// When the file cannot be opened, read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let log = Log::open(path, None)?;
        let (queue, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("isogrid-audit".to_owned());
        let writer = thread.spawn(move || write(log, &messages))?;
        Ok(Audit {
            queue: Mutex::new(Some(queue)),
            rate: Mutex::default(),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Writes a line, unless there are too many in this second.
    pub fn record(&self, event: &Event<'_>) {
        let (pass, left_out) = lock(&self.rate).pass(event.time);
        self.tell_left_out(event.time, left_out);
        if pass {
            self.send(event);
        }
    }

    /// To be called each second: tells of lines that were left out in the last one.
    pub fn tick(&self, now: u64) {
        let left_out = lock(&self.rate).next_second(now);
        self.tell_left_out(now, left_out);
    }

    /// Goes on in a new file when the old one was moved away.
    pub fn reopen(&self) {
        self.post(Message::Reopen);
    }

    /// Writes what is on its way, and waits until it is safe on the disk.
    pub fn close(&self) {
        drop(lock(&self.queue).take());
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }

    fn tell_left_out(&self, now: u64, count: u64) {
        if count > 0 {
            self.send(&Event {
                time: now,
                event: "dropped",
                count: Some(count),
                ..Event::default()
            });
        }
    }

    fn send(&self, event: &Event<'_>) {
        let line = serde_json::to_string(event).unwrap_or_default();
        if line.len() > LINE_LEN_MAX || !self.post(Message::Line(line)) {
            lock(&self.rate).left_out += 1;
        }
    }

    fn post(&self, message: Message) -> bool {
        lock(&self.queue).as_ref().is_some_and(|queue| queue.try_send(message).is_ok())
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file, and where its chain ends.
struct Log {
    path: PathBuf,
    file: File,
    last: [u8; 32],
    failed: bool,
}

impl Log {
    /// Opens the file; `last` is the end of the chain in a file before it.
    fn open(path: &Path, last: Option<[u8; 32]>) -> io::Result<Self> {
        let options =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).to_owned();
        let mut file = options.open(path)?;
        let end = last_line(&mut file)?;
        let last = end.or(last).unwrap_or(chain::START);
        Ok(Log { path: path.to_owned(), file, last, failed: false })
    }

    fn append(&mut self, object: &str) {
        let line = chain::link(object, &self.last);
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        self.last = chain::hash(&line);
        self.note(written);
    }

    fn sync(&mut self) {
        let synced = self.file.sync_data();
        self.note(synced);
    }

    fn reopen(&mut self) {
        match Log::open(&self.path, Some(self.last)) {
            Ok(log) => *self = log,
            Err(error) => self.note(Err(error)),
        }
    }

    /// Says once that the log cannot be written: who watches must hear of it, but not each second.
    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = &outcome
            && !self.failed
        {
            let path = self.path.display();
            tracing::error!(event = "audit_failed", %path, %error, "the audit log has a gap");
        }
        self.failed = outcome.is_err();
    }
}

/// The hash of the last whole line, if there is one; what lies behind it is cut off.
fn last_line(file: &mut File) -> io::Result<Option<[u8; 32]>> {
    let len = file.metadata()?.len();
    let tail_len = len.min(2 * LINE_LEN_MAX as u64);
    file.seek(SeekFrom::Start(len - tail_len))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n');
    let torn = tail.len() - end.map_or(0, |end| end + 1);
    if torn > 0 {
        tracing::warn!(event = "audit_end_cut", bytes = torn, "the last line was not whole");
        file.set_len(len - torn as u64)?;
    }
    let whole = end.and_then(|end| tail.get(..end)).unwrap_or_default();
    let line = whole.rsplit(|byte| *byte == b'\n').next().filter(|line| !line.is_empty());
    Ok(line.map(|line| chain::hash(&String::from_utf8_lossy(line))))
}

/// Writes lines until nobody sends any more.
fn write(mut log: Log, messages: &Receiver<Message>) {
    let mut unsynced = false;
    loop {
        // What comes within one wait is synced once; a busy second does not wait for a quiet one.
        for _ in 0..LINES_PER_SECOND {
            match messages.recv_timeout(SYNC) {
                Ok(Message::Line(line)) => {
                    log.append(&line);
                    unsynced = true;
                }
                Ok(Message::Reopen) => log.reopen(),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return log.sync(),
            }
        }
        if std::mem::take(&mut unsynced) {
            log.sync();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("isogrid-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn event(time: u64) -> Event<'static> {
        let key = Some(&b"secret key"[..]);
        Event { time, event: "denied", user: "app", cache: "own", key, ..Event::default() }
    }

    fn verify(path: &Path) -> Result<chain::Verified, chain::Broken> {
        let text = std::fs::read_to_string(path).unwrap();
        chain::verify(text.lines().map(|line| Ok::<_, ()>(line.to_owned())))
    }

    #[test]
    fn a_log_goes_on_where_it_ended_even_behind_a_torn_line() {
        let path = path("restart");
        for round in 1..=3 {
            let audit = Audit::open(&path).unwrap();
            (0..5).for_each(|n| audit.record(&event(n)));
            audit.close();
            assert_eq!(verify(&path).unwrap().lines, round * 5);
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"{\"time\":1,\"event\":\"den").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"user\":\"app\"") && text.contains("\"key_sha256\":\""));
        assert!(!text.contains("secret"), "{text}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_new_file_follows_from_the_one_that_was_moved_away() {
        let (path, moved) = (path("new"), path("moved"));
        let audit = Audit::open(&path).unwrap();
        audit.record(&event(1));
        std::fs::rename(&path, &moved).unwrap();
        audit.reopen();
        audit.record(&event(2));
        audit.close();
        assert_eq!((verify(&path).unwrap().lines, verify(&moved).unwrap().lines), (1, 1));
        assert_eq!(verify(&path).unwrap().begins_after, verify(&moved).unwrap().last);
        [path, moved].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    #[test]
    fn a_flood_is_counted() {
        let path = path("flood");
        let audit = Audit::open(&path).unwrap();
        (0..LINES_PER_SECOND + 500).for_each(|_| audit.record(&event(5_000)));
        audit.tick(5_900);
        audit.tick(6_000);
        audit.tick(7_000);
        audit.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.contains("\"event\":\"dropped\",\"count\":500"), "{last}");
        assert_eq!(verify(&path).unwrap().lines, u64::from(LINES_PER_SECOND) + 1);
        std::fs::remove_file(&path).unwrap();
    }
}
