//! Answers cut into what must be the same and what may differ.

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// The same bytes on both sides.
    Bytes(Vec<u8>),
    /// A cas unique: another number on each side. With the key, where the answer tells it.
    Cas(u64, Option<Vec<u8>>),
    /// Seconds, which may tick between the two servers' turns.
    Seconds(i64),
    /// Anything.
    Any,
}

const HEADER_LEN: usize = 24;
const RESPONSE: u8 = 0x81;
const VERSION: u8 = 0x0b;

/// Cuts what one server answered. What is not understood is compared as it is.
pub fn tokens(mut answer: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while !answer.is_empty() {
        let len = match answer {
            [RESPONSE, ..] => packet(answer, &mut tokens),
            _ => line(answer, &mut tokens),
        };
        answer = &answer[len..];
    }
    tokens
}

/// The length of the first packet.
fn packet_len(answer: &[u8]) -> usize {
    let Some(header) = answer.get(..HEADER_LEN) else { return answer.len() };
    let body = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
    answer.len().min(HEADER_LEN + body)
}

fn packet(answer: &[u8], tokens: &mut Vec<Token>) -> usize {
    let len = packet_len(answer);
    if len < HEADER_LEN {
        tokens.push(Token::Bytes(answer.to_vec()));
    } else if answer[1] == VERSION {
        tokens.push(Token::Bytes(answer[..8].to_vec()));
        tokens.push(Token::Any);
    } else {
        tokens.push(Token::Bytes(answer[..16].to_vec()));
        let cas = u64::from_be_bytes(answer[16..24].try_into().unwrap());
        tokens.push(Token::Cas(cas, None));
        tokens.push(Token::Bytes(answer[24..len].to_vec()));
    }
    len
}

fn line(answer: &[u8], tokens: &mut Vec<Token>) -> usize {
    let end = answer.iter().position(|byte| *byte == b'\n').map_or(answer.len(), |at| at + 1);
    let (line, behind) = answer.split_at(end);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.trim().parse::<usize>().ok();
    let data_len = match words[..] {
        [b"VALUE", _, _, len, ..] => number(len),
        [b"VA", len, ..] => number(len),
        _ => None,
    };
    match words[..] {
        [b"VALUE", key, _, _, cas] => {
            tokens.push(Token::Bytes(line[..line.len() - cas.len()].to_vec()));
            tokens.push(cas_token(cas, Some(key)));
        }
        [b"VERSION", ..] => tokens.extend([Token::Bytes(b"VERSION".to_vec()), Token::Any]),
        [b"VA" | b"HD" | b"EN" | b"NF" | b"NS" | b"EX", ..] => {
            tokens.extend(words.iter().map(|word| flag(word)));
        }
        [b"ME", ..] => tokens.extend(words.iter().map(|word| debug_figure(word))),
        _ => tokens.push(Token::Bytes(line.to_vec())),
    }
    let Some(data_len) = data_len else { return end };
    let data_len = behind.len().min(data_len + 2);
    tokens.push(Token::Bytes(behind[..data_len].to_vec()));
    end + data_len
}

fn cas_token(word: &[u8], key: Option<&[u8]>) -> Token {
    let text = String::from_utf8_lossy(word);
    match text.trim().parse() {
        Ok(cas) => Token::Cas(cas, key.map(<[u8]>::to_vec)),
        Err(_) => Token::Bytes(word.to_vec()),
    }
}

/// A flag of a meta answer.
fn flag(word: &[u8]) -> Token {
    let text = String::from_utf8_lossy(word);
    let seconds = |text: &str| text.trim().parse::<i64>().ok();
    match word.first() {
        Some(b'c') => cas_token(&word[1..], None),
        Some(b't' | b'l') => match seconds(&text[1..]) {
            Some(seconds) if seconds >= 0 => Token::Seconds(seconds),
            _ => Token::Bytes(word.to_vec()),
        },
        _ => Token::Bytes(word.to_vec()),
    }
}

/// A figure of `me`.
fn debug_figure(word: &[u8]) -> Token {
    let text = String::from_utf8_lossy(word);
    let Some((name, value)) = text.split_once('=') else { return Token::Bytes(word.to_vec()) };
    match (name, value.trim().parse::<i64>()) {
        // 1.6.18 counts from the expiry on, and so below zero.
        ("exp", Ok(seconds)) if seconds != -1 => Token::Seconds(seconds.abs()),
        ("la", Ok(seconds)) => Token::Seconds(seconds),
        ("cas", _) => cas_token(value.as_bytes(), None),
        // The slab class and the size in it: isogrid has no slabs.
        ("cls" | "size", _) => Token::Any,
        _ => Token::Bytes(word.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut() {
        let bytes = |text: &str| Token::Bytes(text.as_bytes().to_vec());
        let cas = |cas, key: Option<&str>| Token::Cas(cas, key.map(|key| key.as_bytes().to_vec()));
        for (answer, expect) in [
            ("END\r\n", vec![bytes("END\r\n")]),
            (
                "VALUE a 5 2 77\r\nhi\r\nEND\r\n",
                vec![bytes("VALUE a 5 2 "), cas(77, Some("a")), bytes("hi\r\n"), bytes("END\r\n")],
            ),
            ("VALUE a 5 2\r\n\nc\r\n", vec![bytes("VALUE a 5 2\r\n"), bytes("\nc\r\n")]),
            (
                "VA 1 t9 c3 W\r\nx\r\n",
                vec![
                    bytes("VA"),
                    bytes("1"),
                    Token::Seconds(9),
                    cas(3, None),
                    bytes("W\r\n"),
                    bytes("x\r\n"),
                ],
            ),
            ("HD t-1\r\n", vec![bytes("HD"), bytes("t-1\r\n")]),
            ("VERSION 1.6.18\r\n", vec![bytes("VERSION"), Token::Any]),
        ] {
            assert_eq!(tokens(answer.as_bytes()), expect, "{answer}");
        }
    }
}
