//! One client of a look-aside cache: get, and on a miss set.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Result;
use super::protocol::{KEY_BYTES, Protocol, Reply};
use super::values::Values;
use crate::hit_ratio::Trace;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection that plays traces.
pub struct LookAside {
    stream: TcpStream,
    protocol: Protocol,
    values: Values,
    output: Vec<u8>,
    input: Vec<u8>,
    /// Where the replies that are not read yet begin in `input`.
    unread: usize,
}

impl LookAside {
    /// Takes over a connection.
    pub fn new(stream: TcpStream, protocol: Protocol) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (output, input) = (Vec::new(), Vec::new());
        Ok(Self { stream, protocol, values: Values::new(), output, input, unread: 0 })
    }

    /// Plays a trace and counts the hits. The gets of up to `batch` keys travel together, then
    /// the sets of those that missed; a key that comes again ends the batch, so each get sees the
    /// set that an earlier miss of its key caused.
    pub fn play(&mut self, trace: &Trace, batch: usize) -> Result<u64> {
        let (mut together, mut hits) = (Vec::with_capacity(batch), 0);
        for &id in &trace.accesses {
            if together.len() >= batch || together.contains(&id) {
                hits += self.ask(trace, &together)?;
                together.clear();
            }
            together.push(id);
        }
        Ok(hits + self.ask(trace, &together)?)
    }

    /// Gets each of these, sets those that missed, and counts the others.
    fn ask(&mut self, trace: &Trace, ids: &[u32]) -> Result<u64> {
        let protocol = self.protocol;
        self.output.clear();
        for &id in ids {
            protocol.encode_get(&[id.into()], &mut self.output);
        }
        self.stream.write_all(&self.output)?;
        let mut missed = Vec::new();
        for &id in ids {
            let reply = self.reply(|input| protocol.decode_get(&[id.into()], input))?;
            match reply.hits {
                0 => missed.push(id),
                _ if reply.value_bytes == value_bytes(trace, id) => {}
                _ => return Err(format!("a value has {} bytes", reply.value_bytes).into()),
            }
        }
        self.set(trace, &missed)?;
        Ok((ids.len() - missed.len()) as u64)
    }

    /// A set that is refused for want of memory is like one that is evicted at once.
    fn set(&mut self, trace: &Trace, ids: &[u32]) -> Result<()> {
        let protocol = self.protocol;
        self.output.clear();
        for &id in ids {
            let value = self.values.of(value_bytes(trace, id));
            protocol.encode_set(id.into(), value, &mut self.output);
        }
        self.stream.write_all(&self.output)?;
        for _ in ids {
            self.reply(|input| protocol.decode_set(input))?;
        }
        Ok(())
    }

    /// The next reply, read as far as it takes.
    fn reply(&mut self, decode: impl Fn(&[u8]) -> Result<Option<Reply>>) -> Result<Reply> {
        loop {
            let unread = self.input.get(self.unread..).unwrap_or_default();
            if let Some(reply) = decode(unread)? {
                self.unread += reply.length;
                return Ok(reply);
            }
            self.read()?;
        }
    }

    /// Drops what was read before and reads once more.
    fn read(&mut self) -> Result<()> {
        self.input.drain(..self.unread);
        self.unread = 0;
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let count = self.stream.read(self.input.get_mut(filled..).unwrap_or_default())?;
        self.input.truncate(filled + count);
        match count {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// Bytes of an object's value: key and value together weigh what the trace says.
pub fn value_bytes(trace: &Trace, id: u32) -> usize {
    let object = trace.objects.get(id as usize);
    object.map_or(0, |object| (object.size as usize).saturating_sub(KEY_BYTES))
}
