//! Keys that are set once and then only counted up by one: every answer is another number, answers
//! rise with time, and the number at the end is what was counted.

use std::collections::BTreeMap;

use super::{Ask, Highest, Operation, Told};

/// Checks the operations of one counter, which begins at 0.
///
/// # Errors
/// What does not fit, with the operation.
pub fn check(operations: &[&Operation]) -> Result<(), String> {
    let counts = || operations.iter().filter(|operation| operation.ask == Ask::Increment);
    let mut answers = BTreeMap::new();
    for operation in counts() {
        if let Told::Counted(number) = operation.told
            && let Some(other) = answers.insert(number, operation)
        {
            return Err(format!("counted to {number} twice:\n  {other}\n  {operation}"));
        }
    }
    let told = operations.iter().filter_map(|one| Some((one.returned, number(one)?)));
    let highest = Highest::new(told);
    for operation in operations {
        let Some(number) = number(operation) else { continue };
        let own = u64::from(operation.ask == Ask::Increment);
        let floor = highest.before(operation.called).unwrap_or(0);
        let begun = counts().filter(|one| one.may_be_done() && one.called < operation.returned);
        let most = u64::try_from(begun.count()).unwrap_or(u64::MAX);
        if number < floor + own {
            return Err(format!("{number} after {floor} was known:\n  {operation}"));
        }
        if number > most {
            return Err(format!("{number}, and only {most} were asked for:\n  {operation}"));
        }
    }
    // What was acknowledged is counted in every later answer.
    let mut done: Vec<u64> = counts().filter(|one| one.is_done()).map(|one| one.returned).collect();
    done.sort_unstable();
    for operation in operations {
        let Some(number) = number(operation) else { continue };
        let least = done.partition_point(|returned| *returned < operation.called);
        if number < u64::try_from(least).unwrap_or(u64::MAX) {
            return Err(format!("I6: {number}, and {least} were acknowledged:\n  {operation}"));
        }
    }
    Ok(())
}

/// The number that the client was told.
fn number(operation: &Operation) -> Option<u64> {
    match operation.told {
        Told::Counted(number) | Told::Read(Some((number, _))) => Some(number),
        _ => None,
    }
}
