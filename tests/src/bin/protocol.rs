//! Writes what is generated from the declarations of GNP/1, or says what has drifted (`--check`).

use std::process::ExitCode;

use isogrid_tests::protocol::{drifted, write};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("--check") {
        write();
        return ExitCode::SUCCESS;
    }
    let drifted = drifted();
    for path in &drifted {
        eprintln!("{path} is not what the declarations say");
    }
    if drifted.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("cargo run -p isogrid-tests --bin protocol writes them anew");
    ExitCode::FAILURE
}
