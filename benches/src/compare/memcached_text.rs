//! memcached's classic text protocol, as much as the load needs.

use super::Result;
use super::protocol::{
    KEY_BYTES, Reply, key, parse_number, push_number, skip_value, split_line, unexpected,
};

/// `get K [K..]`
pub fn encode_get(ids: &[u64], out: &mut Vec<u8>) {
    out.extend_from_slice(b"get");
    for &id in ids {
        out.push(b' ');
        out.extend_from_slice(&key(id));
    }
    out.extend_from_slice(b"\r\n");
}

/// `set K 0 0 SIZE`, then the value.
pub fn encode_set(id: u64, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"set ");
    out.extend_from_slice(&key(id));
    out.extend_from_slice(b" 0 0 ");
    push_number(value.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `VALUE` blocks in the order of the request, some missing, then `END`.
pub fn decode_get(ids: &[u64], input: &[u8]) -> Result<Option<Reply>> {
    let (mut reply, mut rest, mut asked) = (Reply::default(), input, ids.iter());
    loop {
        let Some((line, after)) = split_line(rest) else { return Ok(None) };
        if line == b"END" {
            reply.length = input.len() - after.len();
            return Ok(Some(reply));
        }
        let (found, size) = parse_value_line(line)?;
        if !asked.any(|&id| key(id) == found) {
            return Err(unexpected(line));
        }
        let Some(next) = skip_value(after, size)? else { return Ok(None) };
        reply.hits += 1;
        reply.value_bytes += size;
        rest = next;
    }
}

/// `STORED`, or the complaint that there is no memory.
pub fn decode_set(input: &[u8]) -> Result<Option<Reply>> {
    let Some((line, after)) = split_line(input) else { return Ok(None) };
    let refused = line.starts_with(b"SERVER_ERROR out of memory");
    if line != b"STORED" && !refused {
        return Err(unexpected(line));
    }
    Ok(Some(Reply { length: input.len() - after.len(), refused, ..Reply::default() }))
}

/// `VALUE K 0 SIZE`
fn parse_value_line(line: &[u8]) -> Result<(&[u8], usize)> {
    let found = line.strip_prefix(b"VALUE ").and_then(|rest| rest.split_at_checked(KEY_BYTES));
    let Some((key, size)) = found else { return Err(unexpected(line)) };
    match size.strip_prefix(b" 0 ") {
        Some(digits) => Ok((key, parse_number(digits)?)),
        None => Err(unexpected(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"VALUE k000000000000007 0 3\r\nabc\r\nEND\r\n";

    #[test]
    fn a_reply_is_read_when_complete_and_not_before() {
        for cut in 0..ONE.len() {
            assert_eq!(decode_get(&[7], &ONE[..cut]).expect("no error"), None);
        }
        let reply = decode_get(&[5, 7], ONE).expect("no error").expect("complete");
        assert_eq!((reply.length, reply.hits, reply.value_bytes), (ONE.len(), 1, 3));
    }

    #[test]
    fn wrong_replies_are_errors() {
        assert!(decode_get(&[8], ONE).is_err(), "another key");
        assert!(decode_get(&[7], b"VALUE k000000000000007 0 2\r\nabc\r\nEND\r\n").is_err());
        assert!(decode_get(&[7], b"ERROR\r\n").is_err());
        assert!(decode_set(b"NOT_STORED\r\n").is_err());
    }
}
