//! The file that says which objects there are: text, written whole under another name and then
//! renamed, with a checksum in its last line.
//!
//! ```text
//! catalog 1
//! next 18
//! dropped old
//! cache 17 created orders
//!   mode local
//!   memory 64MiB
//! crc32c 0a1b2c3d
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use isogrid_engine::disk::Disk;

use super::FIRST_ID;
use super::error::CatalogError;
use super::object::Origin;
use super::options::CacheOptions;

const NAME: &str = "catalog";
const UNFINISHED: &str = "catalog.unfinished";
const FORMAT: &str = "catalog 1";
/// More than the largest file that is ever written: 1,024 caches of 255 regions.
const BYTES_MAX: u64 = 256 << 20;

/// One cache as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Who asked for it.
    pub origin: Origin,
    /// Its options.
    pub options: CacheOptions,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// The next id to be given; 0 when there is no file.
    pub next_id: u32,
    /// Names of which data may still be found, though they were dropped.
    pub dropped: BTreeSet<String>,
    /// The same of those that were written behind: of them the data is in another place.
    pub dropped_behind: BTreeSet<String>,
    /// The caches.
    pub caches: Vec<Record>,
}

impl Contents {
    /// Has a cache of this name, made now with these options unless there is one.
    pub fn ensure(&mut self, name: &str, options: &CacheOptions) {
        if self.caches.iter().any(|record| record.name == name) {
            return;
        }
        let id = self.next_id.max(FIRST_ID);
        let (name, options) = (name.to_owned(), options.clone());
        self.caches.push(Record { id, name, origin: Origin::Created, options });
        self.next_id = id + 1;
    }
}

/// The file in its folder.
#[derive(Debug, Clone)]
pub struct CatalogFile {
    disk: Arc<dyn Disk>,
}

impl CatalogFile {
    /// The file in the data directory's folder.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        CatalogFile { disk }
    }

    /// Reads it; nothing when there is none.
    ///
    /// # Errors
    /// [`CatalogError`] when it cannot be read, is damaged, or is of another release.
    pub fn read(&self) -> Result<Contents, CatalogError> {
        let place = || self.disk.place(NAME);
        match self.bytes() {
            Ok(Some(bytes)) => decode(&bytes)
                .map_err(|found| CatalogError::File { place: place(), found: found.to_owned() }),
            Ok(None) => Ok(Contents::default()),
            Err(source) => Err(CatalogError::disk(place(), "read", &source)),
        }
    }

    fn bytes(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.disk.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let len = file.len()?;
        let len = usize::try_from(len.min(BYTES_MAX)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Writes it anew; when this returns, a power cut does not undo it.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]; the file is the old one or the new one.
    pub fn write(&self, contents: &Contents) -> Result<(), CatalogError> {
        let failed = |source| CatalogError::disk(self.disk.place(NAME), "write", &source);
        self.replace(encode(contents).as_bytes()).map_err(failed)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        match self.disk.remove(UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create(UNFINISHED)?;
        file.write_at(0, bytes)?;
        file.sync_all()?;
        self.disk.rename(UNFINISHED, NAME)?;
        self.disk.sync_folder()
    }
}

fn encode(contents: &Contents) -> String {
    let mut text = format!("{FORMAT}\nnext {}\n", contents.next_id);
    // Writing to a string does not fail.
    for name in &contents.dropped {
        let _ = writeln!(text, "dropped {name}");
    }
    for name in &contents.dropped_behind {
        let _ = writeln!(text, "dropped-behind {name}");
    }
    for Record { id, name, origin, options } in &contents.caches {
        let _ = writeln!(text, "cache {id} {} {name}", origin.name());
        for (name, value) in options.texts() {
            let _ = writeln!(text, "  {name} {value}");
        }
    }
    let sum = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c {sum:08x}");
    text
}

fn decode(bytes: &[u8]) -> Result<Contents, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let first = text.lines().next().unwrap_or_default();
    if first != FORMAT {
        return Err("its first line is not `catalog 1`: another release wrote it");
    }
    let end = text.rfind("crc32c ").ok_or("its last line is missing")?;
    let (body, sum) = text.split_at(end);
    if sum != format!("crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return Err("its checksum is not that of its lines");
    }
    let mut contents = Contents::default();
    for line in body.lines().skip(1) {
        decode_line(line, &mut contents).ok_or("another release wrote it: a line is not known")?;
    }
    Ok(contents)
}

fn decode_line(line: &str, contents: &mut Contents) -> Option<()> {
    if let Some(option) = line.strip_prefix("  ") {
        let (name, value) = option.split_once(' ')?;
        return contents.caches.last_mut()?.options.set(name, value).ok();
    }
    let (word, rest) = line.split_once(' ')?;
    match word {
        "next" => contents.next_id = rest.parse().ok()?,
        "dropped" => drop(contents.dropped.insert(rest.to_owned())),
        "dropped-behind" => drop(contents.dropped_behind.insert(rest.to_owned())),
        "cache" => {
            let mut words = rest.splitn(3, ' ');
            let (id, origin) = (words.next()?.parse().ok()?, Origin::parse(words.next()?)?);
            let (name, options) = (words.next()?.to_owned(), CacheOptions::default());
            contents.caches.push(Record { id, name, origin, options });
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use isogrid_engine::disk::MemoryDisk;

    use super::*;

    fn contents() -> Contents {
        let changes = [("ttl", "10m"), ("persist", "sync"), ("regions", "a: off 5 lru")];
        let options = CacheOptions::default().with(&changes).unwrap();
        let record = |id, name: &str, origin, options| {
            let name = name.to_owned();
            Record { id, name, origin, options }
        };
        Contents {
            next_id: 99,
            dropped: BTreeSet::from(["crc32c".to_owned(), "old".to_owned()]),
            dropped_behind: BTreeSet::from(["late".to_owned()]),
            caches: vec![
                record(16, "default", Origin::Declared, CacheOptions::default()),
                record(17, "orders", Origin::Created, options),
            ],
        }
    }

    /// A change of this text is a new format.
    #[test]
    fn the_text_is_frozen() {
        let mut first = contents();
        first.caches.truncate(1);
        let text = "catalog 1\nnext 99\ndropped crc32c\ndropped old\ndropped-behind late\n\
                    cache 16 declared default\n  \
                    mode local\n  memory 256MiB\n  max_entries off\n  eviction w-tinylfu\n  \
                    ttl off\n  max_idle off\n  segments off\n  persist none\n  \
                    preload all\n  behind_delay 1s\n  behind_queue 64MiB\n  regions off\n";
        assert_eq!(
            encode(&first),
            format!("{text}crc32c {:08x}\n", crc32c::crc32c(text.as_bytes()))
        );
        assert_eq!(decode(encode(&contents()).as_bytes()), Ok(contents()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(&contents()).into_bytes();
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_power_cut_leaves_the_old_file_or_the_new_one() {
        for seed in 0..50 {
            let disk = MemoryDisk::new();
            let file = CatalogFile::new(Arc::new(disk.clone()));
            let mut written = contents();
            file.write(&written).unwrap();
            for next_id in 100..103 {
                written.next_id = next_id;
                file.write(&written).unwrap();
                let after = CatalogFile::new(Arc::new(disk.crash(seed)));
                assert_eq!(after.read().unwrap(), written, "seed {seed}");
            }
        }
    }
}
