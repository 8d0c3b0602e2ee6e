//! A connection that sends bytes and reads bytes, with a timeout on everything.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket as RawSocket, Type};

use super::PATIENCE;
use super::packet::{HEADER_LEN, Packet};

trait Socket: Read + Write + Send {
    fn shutdown_write(&self);
    fn set_patience(&self, patience: Duration);
}

macro_rules! socket {
    ($kind:ty) => {
        impl Socket for $kind {
            fn shutdown_write(&self) {
                // A server that has closed already is for the reader to find out.
                let _ = self.shutdown(Shutdown::Write);
            }
            fn set_patience(&self, patience: Duration) {
                self.set_read_timeout(Some(patience)).unwrap();
                self.set_write_timeout(Some(patience)).unwrap();
            }
        }
    };
}
socket!(TcpStream);
socket!(UnixStream);

impl Socket for StreamOwned<ClientConnection, TcpStream> {
    fn shutdown_write(&self) {
        let _ = self.sock.shutdown(Shutdown::Write);
    }
    fn set_patience(&self, patience: Duration) {
        self.sock.set_patience(patience);
    }
}

/// A raw client.
pub struct Client {
    socket: Box<dyn Socket>,
    received: Vec<u8>,
}

impl Client {
    /// Connects over TCP.
    pub fn tcp(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).unwrap();
        Client::new(Box::new(stream))
    }

    /// Connects over TCP from an address of this machine, e.g. 127.0.0.2.
    pub fn tcp_from(source: IpAddr, address: SocketAddr) -> Client {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap_or_else(|e| panic!("{source} to {address}: {e}"));
        Client::new(Box::new(TcpStream::from(socket)))
    }

    /// Connects over a unix socket.
    pub fn unix(path: &Path) -> Client {
        Client::new(Box::new(UnixStream::connect(path).unwrap()))
    }

    /// Speaks over TLS from now on, the handshake done.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
        super::tls::connect(address, config).map(Client::over)
    }

    /// Speaks over a stream whose handshake is done.
    pub fn over(stream: StreamOwned<ClientConnection, TcpStream>) -> Client {
        Client::new(Box::new(stream))
    }

    /// The same, by [`super::tls::connect_narrow`].
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn tls_narrow(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
        super::tls::connect_narrow(address, config).map(|stream| Client::new(Box::new(stream)))
    }

    fn new(socket: Box<dyn Socket>) -> Client {
        socket.set_patience(PATIENCE);
        Client { socket, received: Vec::new() }
    }

    /// Reads and writes fail when they take longer than this.
    pub fn set_patience(&mut self, patience: Duration) {
        self.socket.set_patience(patience);
    }

    /// Sends all bytes; the server has to take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends all bytes, or as many as a server takes that may close.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.socket.shutdown_write();
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            }
            self.receive("a line");
        }
    }

    /// The next lines up to and with one that is `last`.
    pub fn lines_to(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            lines.push(self.line());
        }
        lines
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            self.receive("bytes");
        }
        self.received.drain(..len).collect()
    }

    /// The next packet of the binary protocol.
    pub fn packet(&mut self) -> Packet {
        while self.received.len() < HEADER_LEN {
            self.receive("a packet");
        }
        let len = HEADER_LEN + Packet::body_len(&self.received);
        Packet::parse(&self.bytes(len))
    }

    /// Sends a packet and reads the answer.
    pub fn call(&mut self, request: &[u8]) -> Packet {
        self.send(request);
        self.packet()
    }

    /// Sends `request` and reads exactly `answer`.
    pub fn ask(&mut self, request: impl AsRef<[u8]>, answer: &str) {
        self.send(&request);
        let is = self.bytes_or_end(answer.len());
        let is = String::from_utf8_lossy(&is);
        assert_eq!(is, answer, "asked {:?}", String::from_utf8_lossy(request.as_ref()));
    }

    /// Everything until the server closes; None when it does not.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            match self.try_receive() {
                Ok(0) => return Some(std::mem::take(&mut self.received)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Whether the next that comes is this; false when the server closes instead.
    pub fn rest_after(&mut self, expected: &str) -> bool {
        self.bytes_or_end(expected.len()) == expected.as_bytes()
    }

    /// The server closes and says nothing more.
    pub fn closed(&mut self) {
        let rest = self.rest().expect("the server closes");
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more before the close");
    }

    /// The value of one `stats` line.
    pub fn stat(&mut self, name: &str) -> u64 {
        self.stats("stats")
            .iter()
            .find(|(key, _)| key == name)
            .unwrap_or_else(|| panic!("{name}"))
            .1
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    }

    /// The pairs that `stats` or another command of the family answers.
    pub fn stats(&mut self, command: &str) -> Vec<(String, String)> {
        self.send(format!("{command}\r\n"));
        let lines = self.lines_to("END");
        let pairs = lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn bytes_or_end(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len && matches!(self.try_receive(), Ok(1..)) {}
        let len = len.min(self.received.len());
        self.received.drain(..len).collect()
    }

    fn receive(&mut self, what: &str) {
        let got = self.try_receive().unwrap_or_else(|e| panic!("waiting for {what}: {e}"));
        let there = String::from_utf8_lossy(&self.received);
        assert!(got > 0, "the server closed before {what}; there is {there:?}");
    }

    /// Bytes that came: 0 when the server closed, in whichever way. A machine that is stopped and
    /// goes on interrupts a read that has a timeout; that is no answer.
    fn try_receive(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 64 << 10];
        let read = loop {
            match self.socket.read(&mut piece) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(len) => {
                self.received.extend_from_slice(&piece[..len]);
                Ok(len)
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(0),
            Err(e) => Err(e),
        }
    }
}
