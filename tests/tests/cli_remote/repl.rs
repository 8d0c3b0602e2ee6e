//! `isogrid repl`: scripts on stdin, and somebody at a terminal.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use isogrid_tests::harness::{has, isogrid, temporary};

use crate::{Place, run};

#[test]
fn a_script_ends_at_the_first_failure_with_its_exit_code() {
    let place = Place::new();
    for (script, code, out, error) in [
        ("cache create orders\n\n# a comment\n  cache ls --glob none\n", 0, "created orders\n", ""),
        ("cache put default k 'two apples'\ncache get default k", 0, "two apples", ""),
        ("cache put default k \"a\nb\"\ncache get default k\n", 0, "a\nb", ""),
        ("cache get default none\ncache create unmade\n", 3, "", "there is no entry \"none\""),
        ("cache keys unmade\n", 3, "", "there is no cache \"unmade\""),
        ("cache put default k v --if-absent\n", 4, "", "has the version"),
        ("cache gte default k\ncache create unmade\n", 2, "", "unrecognized subcommand 'gte'"),
        ("serve\n", 2, "", "a process of its own"),
        ("lock hold k -- true\n", 2, "", "a process of its own"),
        ("lock info k\n", 3, "", "nobody holds"),
        ("cache get default 'k\n", 2, "", "a quote is open"),
        ("exit\ncache get default none\n", 0, "", ""),
        ("cache drop orders\norders\n", 0, "dropped orders\n", ""),
        ("version\nexplain E3002 -o json\nhelp cache\n", 0, "\"name\": \"NO_SUCH_OBJECT\"", ""),
        ("", 0, "", ""),
    ] {
        let said = place.fed("repl", &[], script.as_bytes());
        assert_eq!(said.code, Some(code), "{script}: {said:?}");
        assert!(said.out.contains(out) && said.error.contains(error), "{script}: {said:?}");
        assert_eq!(said.error.is_empty(), error.is_empty(), "{script}: {said:?}");
    }
    let said = place.fed("repl", &[], b"cache get default k\n\xff\n");
    assert_eq!((said.code, said.out.as_str()), (Some(1), "a\nb"), "{said:?}");
}

/// What is about the REPL itself, and where output goes.
#[test]
fn output_goes_through_pipes_and_into_files_and_lines_are_timed_and_watched() {
    let place = Place::new();
    let folder = temporary("repl-files");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("a file");
    let file = file.to_str().unwrap();
    let incr = "cache incr default n --initial 1";
    for (script, code, out, error) in [
        (
            "cache put default k b,a | tr s S\ncache get default k | tr , '\\n' | sort",
            0,
            "a\nb",
            "",
        ),
        ("cache put default p '|' # not | this\ncache get default p", 0, "|", ""),
        ("cache get default none | cat\ncache create unmade\n", 3, "", "there is no entry"),
        ("cache get default k | exit 9\ncache create unmade\n", 9, "", ""),
        ("cache get default k > /no/such/file\n", 1, "", "/no/such/file"),
        ("| cat\n", 2, "", "there is no command ahead"),
        (&format!("{incr} > '{file}'\n{incr} >> '{file}'\n{incr}\n"), 0, "3\n", ""),
        (&format!("{incr}\n\\watch 10ms 3"), 0, "4\n5\n6\n7\n", ""),
        (&format!("{incr} | sed s/^/n/\n\\watch 0 2\n"), 0, "n8\nn9\nn10\n", ""),
        ("\\watch 1 3\n", 4, "", "no line before"),
        ("cache get default none\n", 3, "", "no entry"),
        ("\\watch soon\n", 2, "", "a time looks like"),
        ("\\timing\ncache get default p\n\\timing off\n", 0, "|", " ms\ntiming is off"),
        ("\\nothing\n", 2, "", "\\timing [on|off]"),
        ("\\history\n", 4, "", "at a terminal only"),
        ("\\?\n", 0, "\\watch TIME [TIMES]", ""),
    ] {
        let said = place.fed("repl", &[], script.as_bytes());
        assert_eq!(said.code, Some(code), "{script}: {said:?}");
        assert!(said.out.contains(out) && said.error.contains(error), "{script}: {said:?}");
        assert_eq!(said.error.is_empty(), error.is_empty(), "{script}: {said:?}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "1\n2\n");
    // What a reader that has gone did not take came out at the next line.
    let said = place.fed("repl", &[], b"cache get default k | exit 9");
    assert_eq!((said.code, said.out.as_str()), (Some(9), ""), "{said:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn lines_go_to_the_server_of_the_repl_unless_they_say_another() {
    let (here, there) = (Place::new(), Place::new());
    let folder = temporary("repl");
    let settings = ("XDG_CONFIG_HOME", folder.to_str().unwrap());
    let script = format!(
        "cache create a\ncache create b --server {there}\ncache ls --glob ? -o json\n\
         context add other --server {there}\ncontext use other\ncache ls --glob ? -o json",
        there = there.address
    );
    let names = |out: &str| -> Vec<String> {
        let names = out.lines().filter_map(|line| line.trim().strip_prefix("\"name\": \""));
        names.map(|name| name.trim_end_matches(['"', ',']).to_owned()).collect()
    };
    // Said once for all lines: the context that is in use does not count.
    let said = run(&["repl", "--server", &here.address], &[settings], script.as_bytes());
    assert_eq!((said.code, names(&said.out)), (Some(0), vec!["a".into(), "a".into()]), "{said:?}");
    let said = run(&["repl"], &[settings], b"cache ls --glob ? -o json\n");
    assert_eq!((said.code, names(&said.out)), (Some(0), vec!["b".into()]), "{said:?}");
    let said = run(&["repl", "--context", "none"], &[settings], b"");
    assert_eq!(said.code, Some(3), "{said:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_connection_is_kept_from_line_to_line() {
    let place = Place::new();
    let mut client = place.server.connect();
    let before = client.stat("total_connections");
    let script = "cache incr default n --initial 1\n".repeat(20);
    let said = place.fed("repl", &[], script.as_bytes());
    assert!(said.out.ends_with("20\n"), "{said:?}");
    let connections = client.stat("total_connections") - before;
    assert!(connections <= 3, "{connections} connections for 20 lines");
}

/// A terminal with the REPL in it: what is typed, and what it shows up to a word.
struct Screen {
    child: std::process::Child,
    shown: String,
}

impl Screen {
    fn open(place: &Place, home: &str) -> Self {
        let line = format!("{} repl --server {}", isogrid().display(), place.address);
        // One that waits for ever is ended, and the test says what it waited for.
        let mut command = Command::new("timeout");
        command
            .args(["20", "script", "-qec", &line, "/dev/null"])
            .env("XDG_CONFIG_HOME", home)
            .env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Screen { child: command.spawn().unwrap(), shown: String::new() }
    }

    fn until(&mut self, word: &str) -> String {
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains(word) {
            let mut byte = [0];
            let read = self.child.stdout.as_mut().unwrap().read_exact(&mut byte);
            let so_far = String::from_utf8_lossy(&shown);
            read.unwrap_or_else(|e| panic!("{word:?}: {e}: {}{so_far}", self.shown));
            shown.push(byte[0]);
        }
        let shown = String::from_utf8(shown).unwrap();
        self.shown += &shown;
        shown
    }

    fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

#[test]
fn at_a_terminal_there_are_a_prompt_completion_and_history() {
    if !has("script", "apt-get install bsdutils") {
        return;
    }
    let place = Place::new();
    assert_eq!(place.said("cache create orders").code, Some(0));
    assert_eq!(place.said("cache put orders k apples").code, Some(0));
    let home = temporary("repl-home");
    let mut screen = Screen::open(&place, home.to_str().unwrap());
    let prompt = format!("{}> ", place.address);
    screen.until(&prompt);
    // A command, and a name that only the server knows.
    screen.types("cac\tget ord\tk\r");
    screen.until("apples");
    screen.until(&prompt);
    // A failure is said, and the next line may be better.
    screen.types("cache get orders none\r");
    screen.until("there is no entry");
    screen.until(&prompt);
    screen.types("exit\r");
    assert!(screen.child.wait().unwrap().success());
    let file = home.join("isogrid/history");
    let history = fs::read_to_string(&file).unwrap();
    assert!(history.contains("cache get orders k\n"), "{history}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The line before is an arrow away.
    let mut screen = Screen::open(&place, home.to_str().unwrap());
    screen.until(&prompt);
    screen.types("\x1b[A\x1b[A\x1b[A\r");
    screen.until("apples");
    screen.until(&prompt);
    screen.types("\\history none\r");
    screen.until("  cache get orders none\r\n");
    screen.until(&prompt);
    // What a command wants is shown; the end of a line like this one is a right arrow away.
    screen.types("cache put");
    screen.until(" <CACHE> <KEY>");
    screen.types("\x15cache get orders n");
    screen.until("one");
    screen.types("\x1b[C\r");
    screen.until("there is no entry");
    screen.until(&prompt);
    screen.types("\x04");
    assert!(screen.child.wait().unwrap().success());
    fs::remove_dir_all(home).unwrap();
}
