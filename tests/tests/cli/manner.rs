//! `--quiet` and `--no-color`.

use std::process::Command;

use isogrid_tests::harness::{has, isogrid, temporary};

use crate::said;

#[test]
fn a_quiet_command_says_data_and_errors_alone() {
    let file = temporary("quiet");
    let file = file.to_str().unwrap();
    for (words, notes) in [("passwd ci --token", true), ("passwd ci --token -q", false)] {
        said(&["user", "--users", file, "add", "ci", "--role", "read@*", "--token"]);
        let words: Vec<&str> = words.split(' ').collect();
        let (code, out, error) = said(&[&["user", "--users", file][..], &words].concat());
        assert_eq!((code, out.starts_with("ci.")), (Some(0), true), "{words:?}: {out}");
        assert_eq!(error, if notes { format!("written to {file}\n") } else { String::new() });
    }
    let (code, out, error) = said(&["user", "--users", file, "rm", "nobody", "--quiet"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.starts_with("error: "), "{error}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn colours_are_left_out_on_a_terminal_too() {
    if !has("script", "apt-get install bsdutils") {
        return;
    }
    for (flag, variable, coloured) in [("", "", true), (" --no-color", "", false), ("", "1", false)]
    {
        let line = format!("{} explian{flag}", isogrid().display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", variable).env("TERM", "xterm");
        let output = command.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("explain"), "{shown}");
        assert_eq!(shown.contains('\x1b'), coloured, "{line}: {shown:?}");
    }
}
