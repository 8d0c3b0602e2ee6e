use super::*;

fn hello() -> Hello {
    let (cluster, address) = ("ünder".to_owned(), "host:7401".to_owned());
    Hello { versions: (1, 1), lane: 2, cluster, address }
}

/// Reads what comes in one piece and ends then.
fn read<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The bytes of version 1, as they have to stay.
#[test]
fn the_bytes_of_a_hello_and_of_answers_are_frozen() {
    let body = b"\x01\x00\x01\x00\x02\x06\x00\xc3\xbcnder\x09\x00host:7401";
    let bytes = hello().encode();
    assert_eq!(bytes[..12], *b"ISOPEER\n\x18\0\0\0");
    assert_eq!(bytes[12..16], crc32c::crc32c(body).to_le_bytes());
    assert_eq!(bytes[16..], *body);
    assert_eq!(read(Hello::read(&mut &bytes[..])).unwrap(), hello());

    let bytes = Answer::welcome(1, 0x0102_0304);
    assert_eq!(bytes[16..], *b"\x00\x01\x00\x04\x03\x02\x01");
    let welcome = Answer::Welcome { version: 1, window: 0x0102_0304 };
    assert_eq!(read(Answer::read(&mut &bytes[..])).unwrap(), welcome);

    for (refusal, code, text) in [
        (
            Refusal::OtherCluster { ours: "a".to_owned(), theirs: "b".to_owned() },
            1,
            "this is cluster \"a\", and \"b\" is another one",
        ),
        (Refusal::NoCommonVersion((3, 4)), 2, "versions 1 to 2 are spoken here, 3 to 4 there"),
        (Refusal::UnknownLane(9), 3, "there is no lane 9 here"),
        (Refusal::Crowded, 4, "too many connections of peers"),
    ] {
        let bytes = Answer::refused(&refusal);
        assert_eq!(bytes[16], code);
        let refused = Answer::Refused(text.to_owned());
        assert_eq!(read(Answer::read(&mut &bytes[..])).unwrap(), refused);
    }
}

#[test]
fn the_lanes_have_their_numbers() {
    for (code, lane) in [
        (0, None),
        (1, Some(Lane::Control)),
        (2, Some(Lane::Data)),
        (3, Some(Lane::Requests)),
        (4, None),
    ] {
        assert_eq!(Lane::of_code(code), lane);
    }
}

/// Who may come: versions that overlap, our cluster, a lane that we know.
#[test]
fn a_hello_is_judged_by_version_cluster_and_lane() {
    let ours = "ünder";
    for (versions, cluster, lane, judged) in [
        ((1, 1), ours, 1, Ok((1, Lane::Control))),
        ((1, 2), ours, 2, Ok((2, Lane::Data))),
        ((1, 9), ours, 3, Ok((2, Lane::Requests))),
        ((3, 9), ours, 1, Err(Refusal::NoCommonVersion((3, 9)))),
        ((0, 0), ours, 1, Err(Refusal::NoCommonVersion((0, 0)))),
        ((9, 1), ours, 1, Err(Refusal::NoCommonVersion((9, 1)))),
        ((1, 1), ours, 7, Err(Refusal::UnknownLane(7))),
        (
            (1, 1),
            "other",
            1,
            Err(Refusal::OtherCluster { ours: ours.to_owned(), theirs: "other".to_owned() }),
        ),
    ] {
        let hello = Hello { versions, lane, cluster: cluster.to_owned(), ..hello() };
        assert_eq!(hello.judge(ours), judged, "{hello:?}");
    }
}

/// Fields of versions to come are behind those of today.
#[test]
fn what_is_behind_the_fields_is_left_alone() {
    let bytes = hello().encode();
    let longer = seal(&[&bytes[16..], b"more"].concat());
    assert_eq!(read(Hello::read(&mut &longer[..])).unwrap(), hello());
}

#[test]
fn whatever_is_cut_or_changed_is_no_handshake() {
    for bytes in [hello().encode(), Answer::welcome(1, 5)] {
        for len in 0..bytes.len() {
            let cut = read(Hello::read(&mut &bytes[..len]));
            assert!(matches!(cut, Err(NoHandshake::Io(_))), "{len}: {cut:?}");
            let mut changed = bytes.clone();
            changed[len] ^= 0x10;
            assert!(read(Hello::read(&mut &changed[..])).is_err(), "byte {len}");
            assert!(read(Answer::read(&mut &changed[..])).is_err(), "byte {len}");
        }
    }
    for body in [&[][..], &[0; 4], &[0, 0, 0, 0, 1, 9, 0, 1], &[1, 0, 1, 0, 1, 1, 0, 0xff, 0, 0]] {
        let read = read(Hello::read(&mut &seal(body)[..]));
        assert!(matches!(read, Err(NoHandshake::Damaged)), "{body:?}: {read:?}");
    }
}

#[test]
fn other_protocols_are_told_at_their_first_byte() {
    for (bytes, what) in [
        (&b"get a\r\n"[..], "it began with \"get a\\r\\n\""),
        (b"GET / HTTP/1.1\r\n", "it began with \"GET / HT\""),
        (b"\x16\x03\x01\x02\x00", "it speaks TLS"),
        (b"ISOPEERS", "it began with \"ISOPEERS\""),
    ] {
        let why = read(Hello::read(&mut &bytes[..])).unwrap_err().to_string();
        assert!(why.contains(what), "{why}");
    }
    let mut long = seal(&[0; 8]);
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(Hello::read(&mut &long[..])), Err(NoHandshake::Damaged)));
}
