use super::*;
use crate::memcached::{Keys, Refusal};

/// The request of an input that is one command.
pub(in crate::memcached) fn only(input: &[u8]) -> Request<'_> {
    let decoded = Decoder::new(Limits::default(), Protocols::Auto).decode(input);
    assert_eq!(decoded.consumed, input.len());
    match decoded.step {
        Step::Request(request, _) => request,
        other => panic!("{} is {other:?}", String::from_utf8_lossy(input)),
    }
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default(), Protocols::Auto)
}

fn needed(decoder: &mut Decoder, input: &[u8]) -> usize {
    match decoder.decode(input) {
        Decoded { consumed: 0, step: Step::Incomplete { needed } } => needed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_byte_chooses_the_protocol_unless_the_port_does() {
    let mut noop = [0; 24];
    (noop[0], noop[1]) = (0x80, 0x0a);
    for (protocols, input, expect) in [
        (Protocols::Auto, &noop[..], "Noop"),
        (Protocols::Auto, b"mn\r\n", "Noop"),
        (Protocols::Binary, &noop, "Noop"),
        (Protocols::Binary, b"mn\r\n", "Close(\"wrong magic\")"),
        (Protocols::Ascii, b"mn\r\n", "Noop"),
        (Protocols::Ascii, b"\x80\x0a\r\n", "Refused(Unknown)"),
    ] {
        let step = Decoder::new(Limits::default(), protocols).decode(input).step;
        let is = match step {
            Step::Request(request, _) => format!("{request:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(is, expect, "{protocols:?} {input:?}");
    }
}

#[test]
fn half_a_command_says_how_much_it_needs() {
    for (input, expect) in [
        (&b"g"[..], 2),
        (b"get a\r", 7),
        (b"set a 0 0 10\r\n", 26),
        (b"set a 0 0 10\r\n0123456789\r", 26),
        (b"ms a 10 T60\n01", 24),
        (b"\x80", 24),
        (&[0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 0, 19], 24),
        (&[0x80, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 25),
    ] {
        assert_eq!(needed(&mut decoder(), input), expect, "{input:?}");
    }
}

#[test]
fn a_refused_block_is_swallowed_as_it_comes() {
    let mut decoder = decoder();
    let line = b"set a 0 0 2000000\r\nxxxx";
    let decoded = decoder.decode(line);
    assert_eq!(decoded.consumed, line.len());
    assert!(matches!(decoded.step, Step::Request(Request::StoreTooLarge { .. }, _)));
    let piece = [b'\n'; 1000];
    for _ in 0..1999 {
        let decoded = decoder.decode(&piece);
        assert_eq!((decoded.consumed, decoded.step), (1000, Step::Incomplete { needed: 1 }));
    }
    let last = [&[b'x'; 998][..], b"mn\r\n"].concat();
    let decoded = decoder.decode(&last);
    assert_eq!(decoded.consumed, last.len());
    assert!(matches!(decoded.step, Step::Request(Request::Noop, _)));
}

#[test]
fn a_closed_connection_stays_closed() {
    for input in [&b"quit\r\nversion\r\n"[..], b"GET / HTTP/1.0\r\nmn\r\n", &[b'x'; 3000]] {
        let mut decoder = decoder();
        let first = decoder.decode(input).step;
        assert!(matches!(first, Step::Close(_) | Step::Request(Request::Quit, _)), "{first:?}");
        assert!(matches!(decoder.decode(b"version\r\n").step, Step::Close(_)));
        assert!(matches!(decoder.decode(b"").step, Step::Close(_)));
    }
}

#[test]
fn a_line_may_be_as_long_as_its_limit() {
    let limits = Limits { line_len_max: 20, get_line_len_max: 40, ..Limits::default() };
    for (command, len, closes) in [
        ("version ", 20, false),
        ("version ", 21, true),
        ("get ", 40, false),
        ("get ", 41, true),
        ("gats 1 ", 40, false),
        ("gats 1 ", 41, true),
        ("getx ", 21, true),
    ] {
        for end in ["\n", "\r\n"] {
            let line = format!("{command}{}{end}", "k".repeat(len - command.len()));
            let step = Decoder::new(limits, Protocols::Auto).decode(line.as_bytes()).step;
            assert_eq!(matches!(step, Step::Close(_)), closes, "{line:?}");
        }
    }
}

#[test]
fn a_mebibyte_without_a_line_end_is_refused_early() {
    for (start, read) in [(&b"x"[..], 2049), (b"get ", Limits::default().get_line_len_max + 1)] {
        let line = [start, &[b'k'; 1 << 20]].concat();
        let mut decoder = decoder();
        let end = (1..=line.len())
            .step_by(512)
            .find(|len| matches!(decoder.decode(&line[..*len]).step, Step::Close(_)));
        assert!(end.is_some_and(|end| (read..read + 512).contains(&end)), "{end:?}");
    }
}

/// Were any of it done once for each byte of the rest, this would take minutes.
#[test]
fn a_hundred_thousand_gets_in_one_buffer_take_linear_time() {
    let input = b"get key\r\n".repeat(100_000);
    let (mut decoder, mut rest, mut count) = (decoder(), &input[..], 0);
    while let Decoded { consumed, step: Step::Request(Request::Get(get), _) } = decoder.decode(rest)
    {
        assert_eq!(get.keys, Keys::One(b"key".into()));
        rest = &rest[consumed..];
        count += 1;
    }
    assert_eq!((count, rest.len()), (100_000, 0));
}

#[test]
fn the_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 80);
}

#[test]
fn bad_lines_are_refused() {
    for (line, expect) in [
        ("cas foo", Refusal::Client("bad command line format")),
        (" ", Refusal::Client("bad command line format")),
        ("incr a x", Refusal::Client("invalid numeric delta argument")),
        ("touch a x", Refusal::Client("invalid exptime argument")),
        ("config get cluster", Refusal::Unknown),
    ] {
        assert_eq!(only(format!("{line}\r\n").as_bytes()), Request::Refused(expect), "{line}");
    }
}
