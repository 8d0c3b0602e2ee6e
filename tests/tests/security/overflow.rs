//! A user with a role asks for entries that are on disk alone: each request is looked at, waits
//! for its entry and is answered in its turn, over both of memcached's protocols.

use isogrid_tests::harness::{Client, Server, Users, opcode, request, temporary};

use super::{PASSWORD, guarded};

/// Of about 1.1 KiB: three times as much as there is memory.
const KEYS: usize = 6_000;
const WHO: &str = "writer";
/// Who may ask for statistics.
const ADMIN: &str = "admin";

fn value(n: usize) -> String {
    format!("{n}:").repeat(200)
}

fn filled(users: &Users, data: &str) -> Server {
    users.add(WHO, PASSWORD, &["read,write,delete@default/app:"]);
    users.add(ADMIN, PASSWORD, &["all@*"]);
    let set = ["--set", "cache.default.memory=2MiB", "--set", "cache.default.eviction=fifo"];
    let server = guarded(users, &[&["--data-dir", data], &set[..]].concat());
    let mut client = text(&server, WHO);
    for from in (0..KEYS).step_by(100) {
        for n in from..from + 100 {
            let value = value(n);
            client.send(format!("set app:{n} {n} 0 {}\r\n{value}\r\n", value.len()));
        }
        (from..from + 100).for_each(|n| assert_eq!(client.line(), "STORED", "{n}"));
    }
    server
}

fn text(server: &Server, who: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.log_in(who, PASSWORD), "STORED");
    client
}

fn binary(server: &Server) -> Client {
    let mut client = server.connect();
    let token = format!("\0{WHO}\0{PASSWORD}");
    let auth = request(opcode::SASL_AUTH, 1, 0, &[], b"PLAIN", token.as_bytes());
    assert_eq!(client.call(&auth).value, b"Authenticated");
    client
}

fn hit(n: usize) -> String {
    let value = value(n);
    format!("VALUE app:{n} {n} {}\r\n{value}\r\n", value.len())
}

#[test]
fn a_role_reads_and_writes_what_is_on_disk() {
    let (users, data) = (Users::new(), temporary("guarded-overflow"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = text(&server, WHO);
    // In one piece: hits on disk, a miss, a denial, and writes whose condition is on disk.
    let away: Vec<usize> = (0..KEYS / 2).step_by(29).collect();
    let gets: String = away.iter().map(|n| format!("get app:{n}\r\n")).collect();
    let answers: String = away.iter().map(|n| hit(*n) + "END\r\n").collect();
    client.ask(gets, &answers);
    client.ask(
        "get app:1\r\nget other:1\r\nadd app:2 0 0 1\r\nx\r\nappend app:3 0 0 1\r\n+\r\n\
         get app:none\r\nset other:2 0 0 1\r\ny\r\ndelete app:4\r\nget app:4\r\nmg app:5 k\r\nmn\r\n",
        &format!(
            "{}END\r\nCLIENT_ERROR permission denied\r\nNOT_STORED\r\nSTORED\r\nEND\r\n\
             CLIENT_ERROR permission denied\r\nDELETED\r\nEND\r\nHD kapp:5\r\nMN\r\n",
            hit(1)
        ),
    );
    let appended = value(3) + "+";
    client.ask(
        "get app:3\r\n",
        &format!("VALUE app:3 3 {}\r\n{appended}\r\nEND\r\n", appended.len()),
    );
    let line: String = (100..140).map(|n| format!(" app:{n}")).collect();
    client.ask(format!("get{line}\r\n"), &((100..140).map(hit).collect::<String>() + "END\r\n"));
    assert!(text(&server, ADMIN).stat("storage_loaded") > 100, "nothing was on disk");
}

#[test]
fn a_role_of_a_binary_client_finds_what_is_on_disk() {
    let (users, data) = (Users::new(), temporary("guarded-overflow-binary"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = binary(&server);
    let get = |key: String, opaque| request(opcode::GET, opaque, 0, &[], key.as_bytes(), &[]);
    let asked: Vec<u32> = (0..200).collect();
    for opaque in &asked {
        let key =
            if opaque % 10 == 7 { format!("other:{opaque}") } else { format!("app:{opaque}") };
        client.send(get(key, *opaque));
    }
    for opaque in asked {
        let answer = client.packet();
        assert_eq!(answer.opaque, opaque);
        if opaque % 10 == 7 {
            assert_eq!(answer.status, 0x20, "{opaque}");
        } else {
            assert_eq!(answer.value, value(opaque as usize).into_bytes(), "{opaque}");
        }
    }
}
