//! What operations of a log changed: for who keeps those that a failover has lost (R37).

use isogrid_engine::table::{Change, each_change};

use crate::replica::answers;
use crate::tx;

/// Visits what a record of a copy's log changes, in order; `None`, behind what came before, when the
/// bytes are none.
#[must_use]
pub fn changes(record: &[u8], mut visit: impl FnMut(Change<'_>)) -> Option<()> {
    if let Some(noted) = tx::split(record) {
        let (_, changes) = noted.ok()?;
        return changes.into_iter().try_for_each(|bytes| each_change(bytes, &mut visit));
    }
    let mut done = Some(());
    answers::split(record, |bytes| done = done.and_then(|()| each_change(bytes, &mut visit)))?;
    done
}

#[cfg(test)]
mod tests {
    use isogrid_engine::NewEntry;
    use isogrid_engine::table::encode_change;

    use super::*;
    use crate::replica::{Answered, OpId, Record};
    use crate::tx::{Note, TxId};

    fn record(change: &Change<'_>) -> Record {
        let mut bytes = Vec::new();
        encode_change(change, &mut bytes);
        bytes.into()
    }

    /// What the changes of a record say, each as text.
    fn told(record: &[u8]) -> (bool, Vec<String>) {
        let mut all = Vec::new();
        let done = changes(record, |change| {
            all.push(match change {
                Change::Put { key, entry, epoch, seq } => {
                    format!("{epoch}/{seq} put {key:?} {:?}", entry.value.concat())
                }
                Change::Remove { key, epoch, seq } => format!("{epoch}/{seq} remove {key:?}"),
                Change::Life { seq } => format!("{seq} clear"),
                Change::Clear | Change::Transaction(_) => "another one".to_owned(),
            });
        });
        (done.is_some(), all)
    }

    #[test]
    fn every_kind_of_record_tells_its_changes() {
        let entry = NewEntry { value: [&[8], &[]], ..NewEntry::default() };
        let put = Change::Put { key: &[1], entry, epoch: 3, seq: 7 };
        let remove = Change::Remove { key: &[2], epoch: 3, seq: 8 };
        let (a, b) = ("3/7 put [1] [8]", "3/8 remove [2]");
        let answered = Answered { id: OpId { client: [1; 16], number: 2 }, at: 5, answer: None };
        let tx = TxId { begun: 1, name: OpId { client: [1; 16], number: 3 } };
        let parts = [record(&put), record(&remove)];
        for (what, record, expected) in [
            ("a put", record(&put), vec![a]),
            ("a removal", record(&remove), vec![b]),
            ("a clear", record(&Change::Life { seq: 9 }), vec!["9 clear"]),
            ("several", record(&Change::Transaction(&[put, remove])), vec![a, b]),
            ("with an answer", answers::join(Some(&answered), &parts), vec![a, b]),
            ("an answer alone", answers::join(Some(&answered), &[]), vec![]),
            ("nothing", answers::join(None, &[]), vec![]),
            ("of a transaction", tx::join(&Note::End(tx), &parts), vec![a, b]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(told(&record), (true, expected), "{what}");
        }
        let torn = answers::join(None, &parts);
        assert!(!told(&torn[..torn.len() - 1]).0);
        assert_eq!(told(b"?"), (false, vec![]));
    }
}
