use super::*;

fn queue(lane: Lane) -> Queue {
    let bounds = Bounds { queue_len_max: 100, control_waiting_max: 50, ..Bounds::default() };
    Queue::new(lane, &Bounds { frame_len_max: 300, ..bounds })
}

/// The first bytes of the frames in a batch.
fn firsts(batch: &Batch) -> Vec<u8> {
    let (mut rest, mut found) = (batch.rest(), Vec::new());
    while !rest.is_empty() {
        found.push(rest[HEADER_LEN]);
        rest = &rest[frame::first_len(rest)..];
    }
    found
}

fn taken(queue: &Queue) -> Vec<u8> {
    let mut batch = Batch::default();
    queue.take(&mut batch);
    firsts(&batch)
}

/// Frames of 8 bytes take 20.
fn push(queue: &Queue, frames: std::ops::Range<u8>) -> Vec<Result<usize, NotSent>> {
    frames.map(|n| queue.push(&[n; 8])).collect()
}

#[test]
fn data_and_requests_are_full_and_control_drops_what_is_oldest() {
    use NotSent::Full;
    for (lane, connected, pushed, kept) in [
        (Lane::Data, false, [Ok(0), Ok(0), Ok(0), Ok(0), Ok(0), Err(Full)], &[0, 1, 2, 3, 4][..]),
        (Lane::Requests, true, [Ok(0), Ok(0), Ok(0), Ok(0), Ok(0), Err(Full)], &[0, 1, 2, 3, 4]),
        (Lane::Control, true, [Ok(0), Ok(0), Ok(0), Ok(0), Ok(0), Ok(1)], &[1, 2, 3, 4, 5]),
        (Lane::Control, false, [Ok(0), Ok(0), Ok(1), Ok(1), Ok(1), Ok(1)], &[4, 5]),
    ] {
        let queue = queue(lane);
        if connected {
            queue.connected();
        }
        assert_eq!(push(&queue, 0..6), pushed, "{lane:?} connected: {connected}");
        assert_eq!(taken(&queue), kept, "{lane:?} connected: {connected}");
    }
}

#[test]
fn a_long_frame_waits_alone_and_a_longer_one_not_at_all() {
    for lane in Lane::ALL {
        let queue = queue(lane);
        assert_eq!(queue.push(&[1; 301]), Err(NotSent::TooLong));
        assert_eq!(queue.push(&[1; 300]), Ok(0));
        let second = if lane == Lane::Control { Ok(1) } else { Err(NotSent::Full) };
        assert_eq!(queue.push(&[2; 300]), second);
        assert_eq!(taken(&queue), [if lane == Lane::Control { 2 } else { 1 }]);
    }
}

#[test]
fn what_was_taken_counts_until_it_is_written() {
    let (queue, mut batch) = (queue(Lane::Data), Batch::default());
    push(&queue, 0..5);
    queue.take(&mut batch);
    assert_eq!(queue.push(&[5; 8]), Err(NotSent::Full));
    queue.written(19);
    assert_eq!(queue.push(&[5; 8]), Err(NotSent::Full));
    queue.written(1);
    assert_eq!(queue.push(&[5; 8]), Ok(0));
}

/// Of a frame that was cut off, and of those behind it, the peer has nothing: they come first.
#[test]
fn what_had_not_gone_goes_again_in_its_place() {
    for (written, frames, left) in
        [(0, 0, &[0, 1, 2, 3][..]), (19, 0, &[0, 1, 2, 3]), (20, 1, &[1, 2, 3]), (45, 2, &[2, 3])]
    {
        let (queue, mut batch) = (queue(Lane::Data), Batch::default());
        push(&queue, 0..3);
        queue.take(&mut batch);
        assert_eq!(batch.next(3).len(), 3);
        assert_eq!(batch.advance(written), frames);
        push(&queue, 3..4);
        assert_eq!(queue.disconnected(&mut batch), 0);
        assert!(batch.is_empty());
        assert_eq!(taken(&queue), left, "{written} bytes were written");
    }
    let (queue, mut batch) = (queue(Lane::Control), Batch::default());
    queue.connected();
    push(&queue, 0..5);
    queue.take(&mut batch);
    assert_eq!(queue.disconnected(&mut batch), 3);
    assert_eq!(taken(&queue), [3, 4]);
}

#[test]
fn whole_frames_go_as_far_as_credit_goes() {
    let (queue, mut batch) = (queue(Lane::Data), Batch::default());
    push(&queue, 0..3);
    queue.take(&mut batch);
    for (credit, one_more, due) in [
        (0, false, 0),
        (0, true, 20),
        (19, false, 0),
        (20, false, 20),
        (39, true, 20),
        (59, false, 40),
        (60, false, 60),
        (1_000, false, 60),
    ] {
        assert_eq!(batch.due(credit, one_more), due, "{credit} {one_more}");
    }
}

#[test]
fn memory_is_given_back_when_nothing_is_to_be_done() {
    let queue = Queue::new(Lane::Data, &Bounds::default());
    let mut batch = Batch::default();
    queue.push(&[1; 1 << 20]).unwrap();
    queue.take(&mut batch);
    queue.shrink(&mut batch);
    assert!(batch.bytes.capacity() > 1 << 20, "there is something to be done");
    batch.advance(HEADER_LEN + (1 << 20));
    queue.take(&mut batch);
    queue.shrink(&mut batch);
    let kept = batch.bytes.capacity() + queue.inside.lock().waiting.bytes.capacity();
    assert!(kept <= 2 * BUFFER_KEPT_MAX, "{kept} bytes");
}
