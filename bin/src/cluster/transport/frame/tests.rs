use super::*;

fn encoded(payloads: &[&[u8]]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| [&header(payload), *payload].concat()).collect()
}

/// Everything that a decoder makes of `bytes` that come in pieces of `step`.
fn decode(bytes: &[u8], step: usize, encoded_len_max: usize) -> (Vec<Vec<u8>>, Option<BadFrame>) {
    let mut decoder = Decoder::new(encoded_len_max);
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let room = decoder.room();
        let len = room.len().min(step).min(rest.len());
        room[..len].copy_from_slice(&rest[..len]);
        rest = &rest[len..];
        let mut frames = decoder.frames(len);
        found.extend(frames.by_ref().map(<[u8]>::to_vec));
        let taken = frames.taken;
        if taken.bad.is_some() {
            return (found, taken.bad);
        }
        decoder.advance(&taken);
    }
    (found, None)
}

#[test]
fn the_sign_of_life_is_the_header_of_nothing() {
    assert_eq!(KEEP_ALIVE, header(&[]));
}

#[test]
fn frames_come_out_as_they_went_in_however_they_are_cut() {
    let large = vec![7; 3 * BUFFER_LEN];
    let payloads: [&[u8]; 5] = [b"a", b"bc", &large, b"", b"last"];
    let bytes = encoded(&payloads);
    let whole: Vec<_> = payloads.iter().filter(|p| !p.is_empty()).map(|p| p.to_vec()).collect();
    for step in [1, 11, 12, 13, 4_096, bytes.len()] {
        assert_eq!(decode(&bytes, step, 1 << 20), (whole.clone(), None), "step {step}");
    }
}

#[test]
fn whatever_byte_is_changed_is_found_and_what_was_before_is_kept() {
    let bytes = encoded(&[b"first", b"second"]);
    let first = encoded(&[b"first"]).len();
    for at in first..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        let bad = if at < first + HEADER_LEN { BadFrame::Header } else { BadFrame::Payload };
        assert_eq!(decode(&changed, 5, 1 << 20), (vec![b"first".to_vec()], Some(bad)), "{at}");
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_comes() {
    let bytes = encoded(&[&[1; 101]]);
    let refused = (Vec::new(), Some(BadFrame::TooLong(101)));
    assert_eq!(decode(&bytes[..HEADER_LEN], 64, 100 + HEADER_LEN), refused);
    assert_eq!(decode(&bytes, 64, 101 + HEADER_LEN).1, None);
}

#[test]
fn memory_grows_with_what_came_and_is_given_back() {
    let (max, payload) = (8 << 20, vec![3; 4 << 20]);
    let bytes = encoded(&[&payload]);
    let mut decoder = Decoder::new(max);
    let mut came = 0;
    while came < bytes.len() {
        let room = decoder.room();
        let len = room.len().min(bytes.len() - came);
        room[..len].copy_from_slice(&bytes[came..came + len]);
        came += len;
        let mut frames = decoder.frames(len);
        frames.by_ref().for_each(drop);
        let taken = frames.taken;
        decoder.advance(&taken);
        assert!(decoder.buffer.len() <= BUFFER_LEN.max(2 * came), "after {came} bytes");
    }
    assert_eq!((decoder.filled, decoder.buffer.len()), (0, BUFFER_LEN));
}
