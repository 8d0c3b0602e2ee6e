//! Keys that are written once: at the end everything acknowledged is there (I6), and nothing that
//! failed (I15).

use std::collections::BTreeMap;

use super::{Ask, Operation, Told};

/// Checks a history of keys that are put once each, and what was `found` of them at the end.
/// Says how many writes had been acknowledged.
///
/// # Errors
/// The first key that is not as its client was told.
pub fn check(
    history: &[&Operation],
    found: &BTreeMap<String, Option<u64>>,
) -> Result<usize, String> {
    let mut acknowledged = 0;
    for operation in history {
        let Ask::Put(value) = operation.ask else { continue };
        let is = found.get(&operation.key).copied();
        let wrong = match (operation.told, is) {
            (_, None) => "was not looked for",
            (_, Some(Some(other))) if other != value => "holds what nobody wrote",
            (Told::Done(_), Some(None)) => "I6: was acknowledged and is lost",
            (Told::Failed, Some(Some(_))) => "I15: failed and is there",
            (told, _) => {
                acknowledged += usize::from(matches!(told, Told::Done(_)));
                continue;
            }
        };
        return Err(format!("{wrong} ({is:?}):\n  {operation}"));
    }
    Ok(acknowledged)
}
