//! What the audit log says, that it shows changes, and that no secret is in it or anywhere else.

use std::process::Command;

use isogrid_tests::harness::{Server, Users, isogrid, wait_until};

use super::{PASSWORD, guarded};

fn verify(file: &str) -> (bool, String) {
    let output = Command::new(isogrid()).args(["audit", "verify", file]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn who_did_what_and_that_nobody_changed_it() {
    let users = Users::new();
    users.add("app", PASSWORD, &["read@*"]);
    users.add("boss", PASSWORD, &["all@*"]);
    let mut server = guarded(&users, &[]);
    let mut client = server.connect();
    client.log_in("app", "wrong-password");
    assert_eq!(client.log_in("app", PASSWORD), "STORED");
    client.ask("set a 0 0 1\r\n1\r\n", "CLIENT_ERROR permission denied\r\n");
    let mut boss = server.connect();
    assert_eq!(boss.log_in("boss", PASSWORD), "STORED");
    boss.ask("flush_all\r\n", "OK\r\n");
    server.signal("TERM");
    assert!(server.wait().success());
    let file = users.path("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    for said in [
        "\"event\":\"login_failed\",\"user\":\"app\",\"peer\":\"127.0.0.1\",\"way\":\"plain\",\"why\":\"wrong name or password\"",
        "\"event\":\"login\",\"user\":\"app\"",
        "\"event\":\"denied\",\"user\":\"app\",\"peer\":\"127.0.0.1\",\"command\":\"store\",\"cache\":\"default\",\"key_sha256\":\"",
        "\"event\":\"admin\",\"user\":\"boss\",\"peer\":\"127.0.0.1\",\"command\":\"flush_all\"",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    let (good, said) = verify(&file);
    assert!(good && said.starts_with(&format!("{} lines", text.lines().count())), "{said}");
    std::fs::write(&file, text.replace("\"command\":\"store\"", "\"command\":\"get\"")).unwrap();
    let (good, said) = verify(&file);
    assert!(!good && said.contains("the line before it was changed"), "{said}");
}

/// Strings that stand nowhere else, in every place where somebody may put a secret; none of them
/// may be found in a log, in the audit log or in the data directory.
#[test]
fn no_secret_is_kept() {
    let users = Users::new();
    let canary = |what: &str| format!("canary-{what}-b7Qx9Zk2");
    let (password, wrong, named) = (canary("password"), canary("wrong"), canary("name"));
    users.add("app", &password, &["all@*"]);
    let data = users.path("data");
    let mut server = guarded(&users, &["--data-dir", &data, "--log-level", "trace"]);
    let mut client = server.connect();
    client.log_in("app", &wrong);
    // A password where the name belongs.
    client.log_in(&named, "x");
    assert_eq!(client.log_in("app", &password), "STORED");
    client.ask(format!("set {} 0 0 1\r\n1\r\n", canary("key")), "STORED\r\n");
    client.ask(format!("delete {}\r\n", canary("key")), "DELETED\r\n");
    client.ask(format!("bogus {}\r\n", canary("line")), "ERROR\r\n");
    let token = users.token("ci", &["read@*"]);
    wait_until("the user is known", || server.log().contains("users_loaded"));
    server.signal("TERM");
    assert!(server.wait().success());
    let secrets = [password, wrong, named, canary("line"), token.replace("ci.", "")];
    let mut places = vec![("the log".to_owned(), server.log().into_bytes())];
    files(users.folder(), &mut places);
    assert!(places.len() > 3, "there is something to look at");
    for (place, bytes) in &places {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {place}");
        }
    }
    let (_, audit) = places.iter().find(|(place, _)| place.ends_with("audit.jsonl")).unwrap();
    assert!(!String::from_utf8_lossy(audit).contains(&canary("key")), "keys are hashed");
}

fn files(folder: &std::path::Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// The page that tells how to set it up is followed to the letter.
#[test]
fn the_three_commands_of_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SECURITY.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```sh\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    let users = Users::new();
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with('#')).collect();
    let (serve, before) = lines.split_last().unwrap();
    let path =
        format!("{}:{}", isogrid().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(users.folder()).env("PATH", &path);
        command
    };
    for line in before {
        let output = shell(line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    let serve = serve.replace("0.0.0.0:11211", "0.0.0.0:0");
    let command = shell(&format!("exec {serve} --log-format json"));
    let server = Server::ready(command).unwrap();
    let port = server.addresses()[0].rsplit_once(':').unwrap().1.to_owned();
    let script = format!(
        "printf 'set x 0 0 15\\r\\napp change-me-1\\r\\nset k 0 0 1\\r\\n1\\r\\nget k\\r\\nquit\\r\\n' \
         | openssl s_client -quiet -CAfile cert.pem -verify_return_error \
         -connect localhost:{port}"
    );
    let output = shell(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("STORED\r\nSTORED\r\nVALUE k 0 1\r\n1\r\nEND"), "{output:?}");
}
