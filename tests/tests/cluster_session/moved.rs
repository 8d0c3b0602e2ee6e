//! What a save of one attribute of a large session moves to each copy.

use isogrid_wire::client::session::{Change, Saved, Sessions};

use super::{SPACE, behind_all, id, loaded, node_of, set, start, three};
use crate::dev::Dev;

const SAVES: usize = 100;
/// Two of them make a session of 64 KiB, with other attributes before, between and behind.
const ATTRIBUTE: usize = 100;
const OTHERS: usize = 64;
const OTHER_LEN: usize = 1_000;
/// What one save may move to a copy, bytes, with everything around it but TCP.
const MOVED_MAX: u64 = 300;
const COPIES: u64 = 2;

/// Bytes that no other round has, in printable characters.
fn noise(round: usize, len: usize) -> Vec<u8> {
    let mut state = round as u64 + 1;
    let mut next = || isogrid_engine::env::split_mix(&mut state).to_le_bytes()[0] % 64 + 48;
    (0..len).map(|_| next()).collect()
}

/// Bytes that a node has sent to the copies of others, and those that it has got of them.
fn of_copies(dev: &Dev, node: usize) -> [u64; 2] {
    let text = dev.http(node, "/metrics").text();
    ["sent", "received"].map(|direction| {
        let series =
            format!("isogrid_cluster_bytes_total{{lane=\"data\",direction=\"{direction}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    })
}

/// Saves attributes one after the other, all of the same length or not: what that moves.
async fn moves(dev: &Dev, primary: usize, web: &Sessions, names: &[&str]) -> u64 {
    let before = of_copies(dev, primary);
    for round in 0..SAVES {
        let name = names[round % names.len()];
        let change = Change::default().set(name, noise(round, ATTRIBUTE + round % 3));
        let saved = web.save(&id(1), &change).await.unwrap();
        assert!(matches!(saved, Saved::Done { .. }), "{saved:?}");
    }
    // What is committed is said some time later.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let after = of_copies(dev, primary);
    let [sent, got] = [0, 1].map(|at| (after[at] - before[at]) / COPIES / SAVES as u64);
    println!(
        "a save of one attribute of {ATTRIBUTE} B, {names:?}: {sent} B to each copy, {got} B back"
    );
    sent
}

/// The session has 64 KiB, and a copy gets what was changed of it, whichever node is asked.
#[tokio::test]
async fn a_save_moves_what_it_changes() {
    let dev = three();
    let all = behind_all(&dev, SPACE).await;
    let mut start = start();
    for other in 0..OTHERS {
        start = start.set(&format!("other {other:02}"), noise(other, OTHER_LEN));
    }
    for name in ["a cart", "other 31 and a half", "the last"] {
        start = start.set(name, noise(0, ATTRIBUTE));
    }
    all[0].create(&id(1), &start).await.unwrap().unwrap();
    let primary = node_of(&dev, 1);
    // All attributes have the version of the beginning, which the first save writes down in each.
    set(&all[0], 1, "a cart", "1").await;
    for node in [primary, (primary + 1) % 3] {
        for names in [&["other 31 and a half"][..], &["the last"], &["a cart", "the last"]] {
            let moved = moves(&dev, primary, &all[node], names).await;
            assert!(moved <= MOVED_MAX, "{moved} B");
        }
    }
    // What it is now is the same at whoever serves it next.
    let session = loaded(&all[primary], 1).await;
    dev.kill(primary);
    let next = loaded(&all[(primary + 1) % 3], 1).await;
    assert_eq!(next.attributes, session.attributes);
    assert_eq!(next.attributes.len(), OTHERS + 3);
}
