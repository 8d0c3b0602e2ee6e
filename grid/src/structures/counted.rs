//! Counters that are entries of a table and nothing else: those of a cluster, whose members have
//! copies of the table. An operation is one write of one entry, so it is replicated as any write of
//! a cache: what is acknowledged is on every copy in sync (R17).

use isogrid_engine::{Error, NewEntry, Table, Timestamp};

use super::counter_key;
use crate::structure::Structure;
use crate::structure::counter::{CounterOp, CounterReply, Counters, Kept};

/// In which segment of the table a counter is.
#[must_use]
pub fn segment_of(table: &Table, name: &str) -> u32 {
    table.hash(&counter_key(name)).segment()
}

/// Does an operation on one counter, under the lock of its segment. What is read may not be
/// committed yet: whoever answers waits until it is (R19).
///
/// # Errors
/// Nothing was changed: there is no room, or the copies cannot be told.
pub fn count(table: &Table, now: Timestamp, op: CounterOp<'_>) -> Result<CounterReply, Error> {
    let Some(name) = op.name() else { return Ok(CounterReply::Name) };
    let (key, pinned) = (counter_key(name), table.pin());
    let entry = pinned.entry(table.hash(&key), &key, now);
    let mut entry = entry.ok_or(Error::KeyLength { len: key.len() })?;
    let before = entry.get().and_then(|entry| entry.value().try_into().ok());
    let (mut counters, mut changes) = (Counters::default(), Vec::new());
    counters.put_back(name, before.map(i64::from_le_bytes));
    let reply = counters.apply(now, op, &mut changes);
    for Kept { after, .. } in changes {
        match after.map(i64::to_le_bytes) {
            Some(value) => {
                entry.put(&NewEntry { value: [&value, b""], ..NewEntry::default() })?;
            }
            None => drop(entry.remove()?),
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use isogrid_engine::Allocator;

    use super::*;
    use crate::structures::new_table;

    /// Each of these in turn does to the entries what it does to the state machine.
    #[test]
    fn entries_count_as_the_state_machine_does() {
        let table = new_table(4, Allocator::Glibc, 0).unwrap();
        let mut model = Counters::default();
        let long = "n".repeat(256);
        for (name, delta) in [("a", 5), ("b", -3), ("a", i64::MAX), ("a", 2), ("", 1), (&long, 1)] {
            for op in [
                CounterOp::Get { name },
                CounterOp::Add { name, delta },
                CounterOp::Cas { name, expected: 5, value: 9 },
                CounterOp::IdBlock { name, count: 3 },
                CounterOp::Add { name, delta: i64::MIN },
                CounterOp::Reset { name },
                CounterOp::Reset { name },
                CounterOp::Set { name, value: delta },
                CounterOp::Get { name },
            ] {
                let expected = model.apply(0, op, &mut Vec::new());
                assert_eq!(count(&table, 0, op), Ok(expected), "{op:?}");
            }
        }
        let nothing = CounterOp::AddMany { all: &[("a", 1)] };
        assert_eq!(count(&table, 0, nothing), Ok(CounterReply::Name), "it is of no one counter");
    }
}
