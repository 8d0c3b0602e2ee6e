//! `isogrid completion` and `isogrid man`.

use std::fs;

use isogrid_tests::harness::{isogrid, temporary};

use crate::said;

const COMMANDS: [&str; 6] = ["serve", "memcached", "config", "snapshot", "doctor", "explain"];

/// The script asks the program: what it offers then is in `tests/cli_remote/completion.rs`.
#[test]
fn each_shell_gets_a_script_that_asks_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, error) = said(&["completion", shell]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{shell}");
        for word in ["ISOGRID_COMPLETE", "isogrid"] {
            assert!(script.contains(word), "{shell}: {script}");
        }
    }
    let (code, out, error) = said(&["completion", "bsh"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("bash"), "{error}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let (code, page, _) = said(&["man"]);
    assert_eq!(code, Some(0));
    assert!(page.contains(".TH isogrid 1"), "{page}");
    let dir = temporary("man");
    let (code, out, error) = said(&["man", dir.to_str().unwrap()]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(
        fs::read_to_string(dir.join("isogrid.1")).unwrap().lines().next(),
        page.lines().next()
    );
    for command in COMMANDS.iter().chain(&["config-show", "snapshot-save", "proto-decode"]) {
        let file = dir.join(format!("isogrid-{command}.1"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{command}: {e}"));
        assert!(text.contains(&format!("isogrid\\-{}", command.replace('-', "\\-"))), "{text}");
    }
    let pages = fs::read_dir(&dir).unwrap().count();
    assert!(out.ends_with(&format!(": {pages} pages\n")), "{out}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_said() {
    let inside = isogrid().join("man");
    let (code, out, error) = said(&["man", inside.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("cannot write to"), "{error}");
}
