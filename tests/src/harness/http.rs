//! A plain HTTP client: one request, one answer, on a connection of its own or on one that stays.

use super::{Client, Server};

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The bytes of a request; a body gets its length.
pub fn http_request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

impl Client {
    /// Sends a request and reads its answer; the connection stays.
    pub fn http(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.send(http_request(method, path, headers, body));
        self.http_answer(method == "HEAD")
    }

    /// Reads an answer.
    pub fn http_answer(&mut self, without_body: bool) -> Answer {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("a status line, not {line:?}")),
            ..Answer::default()
        };
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if without_body || [204, 304].contains(&answer.status) {
            return answer;
        }
        if answer.header("transfer-encoding") == "chunked" {
            loop {
                let len = usize::from_str_radix(&self.line(), 16).unwrap();
                answer.body.extend(self.bytes(len));
                self.line();
                if len == 0 {
                    return answer;
                }
            }
        }
        let len = answer.header("content-length").parse().unwrap_or(0);
        answer.body = self.bytes(len);
        answer
    }
}

impl Server {
    /// A connection to where the server speaks HTTP.
    pub fn connect_http(&self) -> Client {
        Server::connect_to(&self.bound_for("http")[0])
    }

    /// One request on a connection of its own.
    pub fn http(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.connect_http().http(method, path, headers, body)
    }
}
