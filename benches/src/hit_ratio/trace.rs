//! Traces of keys, and the sizes of their values.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use hashbrown::HashMap;

/// A sequence of accesses.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The file's name up to the first dot.
    pub name: String,
    /// The distinct objects.
    pub objects: Vec<Object>,
    /// Each access, as an index into the objects.
    pub accesses: Vec<u32>,
}

/// What is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// The key; as bytes, its decimal digits.
    pub key: u64,
    /// A well-mixed hash of the key.
    pub hash: u64,
    /// Bytes of key and value.
    pub size: u32,
}

impl Object {
    fn new(key: u64) -> Self {
        let digits = key.checked_ilog10().unwrap_or(0) + 1;
        Self { key, hash: mix(key), size: value_size(key) + digits }
    }
}

impl Trace {
    /// A trace from its keys in order.
    pub fn new(name: &str, keys: impl IntoIterator<Item = u64>) -> Self {
        let mut trace = Self { name: name.to_owned(), objects: Vec::new(), accesses: Vec::new() };
        let mut known = HashMap::new();
        for key in keys {
            let index = *known.entry(key).or_insert_with(|| {
                trace.objects.push(Object::new(key));
                u32::try_from(trace.objects.len() - 1).expect("fewer than 2^32 objects")
            });
            trace.accesses.push(index);
        }
        trace
    }

    /// Reads a trace of one decimal key a line, plain or (by the `xz` command) compressed.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no number.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').next().unwrap_or_default();
        let keys: Vec<u64> = if file.ends_with(".xz") {
            let mut xz = Command::new("xz").arg("-dc").arg(path).stdout(Stdio::piped()).spawn()?;
            let keys = keys(xz.stdout.take().expect("piped"))?;
            if !xz.wait()?.success() {
                return Err(io::Error::other(format!("xz failed on {}", path.display())));
            }
            keys
        } else {
            keys(File::open(path)?)?
        };
        Ok(Self::new(name, keys))
    }

    /// Reads each `.txt` and `.txt.xz` in a directory, in order of their names.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub fn read_dir(dir: &Path) -> io::Result<Vec<Self>> {
        let mut paths: Vec<_> =
            dir.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".txt") || name.ends_with(".txt.xz")
        });
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Bytes of all objects together.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        self.objects.iter().map(|object| u64::from(object.size)).sum()
    }

    /// Gives every object the size and the hash that `seed` draws for it, the size times `scale`.
    /// Seed 0 draws those that a new trace has.
    #[must_use]
    pub fn varied(mut self, seed: u64, scale: u32) -> Self {
        let salt = mix(seed) ^ mix(0);
        for object in &mut self.objects {
            let digits = Object::new(object.key).size - value_size(object.key);
            let size = (value_size(object.key ^ salt) + digits) * scale;
            *object = Object { key: object.key, hash: mix(object.key ^ salt), size };
        }
        self
    }

    /// The objects in the order of the accesses to them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Object)> {
        self.accesses.iter().filter_map(|id| Some((*id, self.objects.get(*id as usize)?)))
    }

    /// The ratio of so many hits.
    pub(super) fn ratio(&self, hits: u64) -> f64 {
        hits as f64 / self.accesses.len().max(1) as f64
    }
}

/// Bytes of the value that belongs to a key: 256 to 4095, each of the four octaves as likely as
/// the others and even within it (log-uniform, in whole numbers). Always the same for a key.
#[must_use]
pub fn value_size(key: u64) -> u32 {
    let [a, b, c, d, octave, ..] = mix(key ^ 0x5151_5151).to_le_bytes();
    let least = 256_u32 << (octave & 3);
    let above = (u64::from(u32::from_le_bytes([a, b, c, d])) * u64::from(least)) >> 32;
    least + u32::try_from(above).expect("less than 2048")
}

/// The finalizer of SplitMix64.
fn mix(key: u64) -> u64 {
    let z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn keys(from: impl io::Read) -> io::Result<Vec<u64>> {
    BufReader::new(from)
        .lines()
        .map(|line| line?.trim().parse().map_err(io::Error::other))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_spread_over_sixteenfold_around_a_kibibyte() {
        let sizes: Vec<u32> = (0..10_000).map(value_size).collect();
        let mean = sizes.iter().sum::<u32>() / 10_000;
        assert!(sizes.iter().all(|size| (256..4096).contains(size)));
        assert!((1350..1450).contains(&mean), "{mean}");
    }

    #[test]
    fn seed_zero_and_scale_one_change_nothing() {
        let trace = Trace::new("t", 0..100);
        let varied = |seed, scale| trace.clone().varied(seed, scale).objects;
        assert_eq!(varied(0, 1), trace.objects);
        let twice = varied(0, 2);
        assert!(twice.iter().zip(&trace.objects).all(|(a, b)| a.size == b.size * 2));
        let others = varied(1, 1);
        let same = others.iter().zip(&trace.objects).filter(|(a, b)| a.size == b.size).count();
        assert!(same < 5, "{same} of 100");
    }

    #[test]
    fn objects_are_numbered_as_they_come() {
        let trace = Trace::new("t", [7, 12, 7]);
        assert_eq!(trace.accesses, [0, 1, 0]);
        assert_eq!(trace.footprint(), u64::from(value_size(7) + 1 + value_size(12) + 2));
    }
}
