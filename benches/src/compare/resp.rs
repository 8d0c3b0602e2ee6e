//! Redis's RESP2, as much as the load needs.

use super::Result;
use super::protocol::{Reply, key, parse_number, push_number, skip_value, split_line, unexpected};

/// `GET K`, or `MGET K K..` for several.
pub fn encode_get(ids: &[u64], out: &mut Vec<u8>) {
    push_header(b'*', ids.len() + 1, out);
    push_bulk(if ids.len() == 1 { b"GET" } else { b"MGET" }, out);
    for &id in ids {
        push_bulk(&key(id), out);
    }
}

/// `SET K V`
pub fn encode_set(id: u64, value: &[u8], out: &mut Vec<u8>) {
    push_header(b'*', 3, out);
    push_bulk(b"SET", out);
    push_bulk(&key(id), out);
    push_bulk(value, out);
}

/// `WAIT 1 1000`: until a replica has what was set on the connection, for a second at most.
pub fn encode_wait(out: &mut Vec<u8>) {
    push_header(b'*', 3, out);
    [&b"WAIT"[..], b"1", b"1000"].into_iter().for_each(|word| push_bulk(word, out));
}

/// How many replicas have it; none is an error.
pub fn decode_wait(input: &[u8]) -> Result<Option<Reply>> {
    let Some((line, after)) = split_line(input) else { return Ok(None) };
    match line.strip_prefix(b":").map(parse_number).transpose()? {
        Some(1..) => Ok(Some(Reply { length: input.len() - after.len(), ..Reply::default() })),
        _ => Err(unexpected(line)),
    }
}

/// A bulk string, or an array with one for each key; null where the key is missing.
pub fn decode_get(ids: &[u64], input: &[u8]) -> Result<Option<Reply>> {
    let (mut reply, mut rest) = (Reply::default(), input);
    if ids.len() > 1 {
        let Some((line, after)) = split_line(rest) else { return Ok(None) };
        match line.strip_prefix(b"*") {
            Some(digits) if parse_number(digits)? == ids.len() => rest = after,
            _ => return Err(unexpected(line)),
        }
    }
    for _ in ids {
        let Some(next) = decode_bulk(rest, &mut reply)? else { return Ok(None) };
        rest = next;
    }
    reply.length = input.len() - rest.len();
    Ok(Some(reply))
}

/// `+OK`, or the complaint that there is no memory.
pub fn decode_set(input: &[u8]) -> Result<Option<Reply>> {
    let Some((line, after)) = split_line(input) else { return Ok(None) };
    let refused = line.starts_with(b"-OOM");
    if line != b"+OK" && !refused {
        return Err(unexpected(line));
    }
    Ok(Some(Reply { length: input.len() - after.len(), refused, ..Reply::default() }))
}

/// Counts one bulk string and gives what follows it.
fn decode_bulk<'a>(input: &'a [u8], reply: &mut Reply) -> Result<Option<&'a [u8]>> {
    let Some((line, after)) = split_line(input) else { return Ok(None) };
    if line == b"$-1" {
        return Ok(Some(after));
    }
    let Some(digits) = line.strip_prefix(b"$") else { return Err(unexpected(line)) };
    let size = parse_number(digits)?;
    let next = skip_value(after, size)?;
    if next.is_some() {
        reply.hits += 1;
        reply.value_bytes += size;
    }
    Ok(next)
}

fn push_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    push_header(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn push_header(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    push_number(count, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"*2\r\n$3\r\nabc\r\n$-1\r\n";

    #[test]
    fn a_reply_is_read_when_complete_and_not_before() {
        for cut in 0..TWO.len() {
            assert_eq!(decode_get(&[1, 2], &TWO[..cut]).expect("no error"), None);
        }
        let reply = decode_get(&[1, 2], TWO).expect("no error").expect("complete");
        assert_eq!((reply.length, reply.hits, reply.value_bytes), (TWO.len(), 1, 3));
    }

    #[test]
    fn a_wait_is_over_when_a_replica_has_it() {
        assert_eq!(decode_wait(b":1\r").expect("no error"), None);
        let reply = decode_wait(b":2\r\n+OK").expect("no error").expect("complete");
        assert_eq!(reply, Reply { length: 4, ..Reply::default() });
    }

    #[test]
    fn wrong_replies_are_errors() {
        assert!(decode_get(&[1, 2, 3], TWO).is_err(), "two values for three keys");
        assert!(decode_get(&[1], b"-ERR no\r\n").is_err());
        assert!(decode_set(b"$-1\r\n").is_err());
        assert!(decode_wait(b":0\r\n").is_err(), "no replica has it");
    }
}
