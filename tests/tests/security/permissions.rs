//! Every command and opcode of memcached's protocols, by each of five identities, on the own cache,
//! on another one, and on keys with another prefix. The table of what each needs is in
//! `tests/vectors/security/memcached.txt`; a command without a row there fails.

use std::collections::BTreeMap;

use isogrid_tests::harness::{Client, Server, Users, opcode, request};
use isogrid_tests::tidy::{commands, opcodes};

use super::PASSWORD;

const TABLE: &str = include_str!("../../vectors/security/memcached.txt");

/// Nobody; one who may read the own cache; one who may write there and not read; one who may read,
/// write and delete keys of one prefix there; one who may do everything.
const ROLES: [(&str, &[&str]); 5] = [
    ("", &[]),
    ("reader", &["read@own"]),
    ("filler", &["write@own"]),
    ("writer", &["read,write,delete@own/app:"]),
    ("admin", &["all@*"]),
];

struct Row {
    /// The words of the line, or the bytes of the packet.
    send: Vec<u8>,
    /// The command, or `0x..`.
    name: String,
    /// `open`, or permissions with commas.
    needs: String,
    /// `key`, `cache` or `node`.
    scope: String,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let [send, needs, scope] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
        panic!("{line:?} has not three columns")
    };
    let name = send.split(' ').next().unwrap().to_owned();
    Row { send: bytes(&name, send), name, needs: needs.to_owned(), scope: scope.to_owned() }
}

/// A text line, its `\n` spelled out; or an opcode with the names of the parts of its packet.
fn bytes(name: &str, send: &str) -> Vec<u8> {
    let Some(code) = name.strip_prefix("0x") else {
        return format!("{}\r\n", send.replace("\\n", "\r\n")).into_bytes();
    };
    let code = u8::from_str_radix(code, 16).unwrap();
    let words: BTreeMap<&str, &str> =
        send.split(' ').skip(1).map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
    let extras = vec![0; words.get("extras").map_or(0, |len| len.parse().unwrap())];
    let part = |name: &str| words.get(name).copied().unwrap_or_default().as_bytes();
    request(code, 7, 0, &extras, part("key"), part("value"))
}

/// What the table and the roles say, worked out without the server's own code.
fn expected(row: &Row, who: &str, cache: &str, prefix: &str) -> bool {
    let permissions = match who {
        "reader" => "read",
        "filler" => "write",
        "writer" => "read,write,delete",
        _ => "",
    };
    row.needs == "open"
        || who == "admin"
        || (!who.is_empty()
            && cache == "own"
            && row.needs.split(',').all(|one| permissions.split(',').any(|has| has == one))
            && match row.scope.as_str() {
                "key" => who != "writer" || prefix == "app:",
                "cache" => who != "writer",
                _ => false,
            })
}

fn server(users: &Users) -> Server {
    let config = users.path("isogrid.toml");
    let text = format!(
        "[node]\ndata_dir = \"off\"\nthreads = 1\n[auth]\nmode = \"on\"\nusers = {:?}\naudit = \"off\"\n\
         [protocol]\nshutdown_command = false\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ncache = \"own\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ncache = \"other\"\n\
         [[cache]]\nname = \"own\"\nmemory = \"8MiB\"\n[[cache]]\nname = \"other\"\nmemory = \"8MiB\"\n",
        users.file()
    );
    std::fs::write(&config, text).unwrap();
    Server::isogrid(&["--config", &config])
}

fn is_binary(row: &Row) -> bool {
    row.name.starts_with("0x")
}

/// Whether the server denies it; behind each request comes one that is always answered.
fn denied(client: &mut Client, row: &Row, who: &str, prefix: &str) -> bool {
    let send = with_prefix(&row.send, prefix);
    if who.is_empty() {
        client.send(&send);
        client.finish();
        let rest = client.rest().unwrap();
        return if is_binary(row) {
            rest.get(7) == Some(&0x20)
        } else {
            String::from_utf8_lossy(&rest).contains("CLIENT_ERROR")
        };
    }
    client.send(&send);
    if is_binary(row) {
        client.send(request(opcode::VERSION, 99, 0, &[], &[], &[]));
        let mut denied = false;
        loop {
            let packet = client.packet();
            if packet.opaque == 99 {
                return denied;
            }
            denied |= packet.status == 0x20;
        }
    }
    client.send("mn\r\n");
    let mut lines = client.lines_to("MN");
    if row.name == "mn" {
        lines.extend(client.lines_to("MN"));
    }
    lines.iter().any(|line| line == "CLIENT_ERROR permission denied")
}

/// Keys of the table begin with `app:`; another prefix of the same length takes its place.
fn with_prefix(send: &[u8], prefix: &str) -> Vec<u8> {
    let mut out = send.to_vec();
    for at in 0..out.len().saturating_sub(3) {
        if &out[at..at + 4] == b"app:" {
            out[at..at + 4].copy_from_slice(prefix.as_bytes());
        }
    }
    out
}

fn log_in(address: &str, who: &str, binary: bool) -> Client {
    let mut client = Server::connect_to(address);
    if binary {
        let token = format!("\0{who}\0{PASSWORD}");
        let auth = request(opcode::SASL_AUTH, 1, 0, &[], b"PLAIN", token.as_bytes());
        assert_eq!(client.call(&auth).value, b"Authenticated");
    } else {
        assert_eq!(client.log_in(who, PASSWORD), "STORED");
    }
    client
}

#[test]
fn every_command_by_every_identity() {
    let users = Users::new();
    for (name, roles) in &ROLES[1..] {
        users.add(name, PASSWORD, roles);
    }
    let server = server(&users);
    let mut wrong = Vec::new();
    for (who, _) in ROLES {
        for (cache, prefix, at) in [("own", "app:", 0), ("other", "app:", 1), ("own", "zzz:", 0)] {
            let address = &server.addresses()[at];
            let mut clients =
                (!who.is_empty()).then(|| [false, true].map(|binary| log_in(address, who, binary)));
            for row in rows() {
                let is = match &mut clients {
                    Some(clients) => {
                        let client = &mut clients[usize::from(is_binary(&row))];
                        // What ends a connection gets one of its own.
                        if matches!(row.name.as_str(), "quit" | "0x07" | "0x17" | "shutdown") {
                            ended(&mut log_in(address, who, is_binary(&row)), &row)
                        } else {
                            denied(client, &row, who, prefix)
                        }
                    }
                    None => denied(&mut Server::connect_to(address), &row, who, prefix),
                };
                let open_to_nobody = matches!(row.name.as_str(), "0x20" | "0x21" | "0x22" | "0x0b");
                let allowed = if who.is_empty() {
                    // Before a login even what needs no permission waits, but for the login.
                    open_to_nobody
                } else {
                    expected(&row, who, cache, prefix)
                };
                let login = matches!(row.name.as_str(), "0x21" | "0x22");
                if is == allowed && !login {
                    wrong.push(format!("{} by {who:?} on {cache} {prefix}", row.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "denied or allowed against the table:\n{}", wrong.join("\n"));
}

/// Whether a request that may end the connection was denied.
fn ended(client: &mut Client, row: &Row) -> bool {
    client.send(&row.send);
    client.finish();
    let rest = client.rest().unwrap();
    rest.get(7) == Some(&0x20) || String::from_utf8_lossy(&rest).contains("permission denied")
}

#[test]
fn every_command_has_a_row() {
    let read = |path: &str| {
        std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let known: Vec<String> = rows().into_iter().map(|row| row.name).collect();
    let text = commands(&read("wire/src/memcached/text/mod.rs"));
    let binary = opcodes(&read("wire/src/memcached/binary/opcode.rs"));
    let wanted = text.into_iter().chain(binary.into_iter().map(|code| format!("0x{code:02x}")));
    let missing: Vec<String> = wanted.filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "no row in tests/vectors/security/memcached.txt: {missing:?}");
}
