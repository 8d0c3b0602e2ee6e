use super::*;

/// Two caches, of which the second has two blocks, behind each other from byte 64 on.
fn footer() -> (Footer, u64) {
    let shape = [(0, 0, 50), (0, 3, 100), (1, 0, 50), (1, 4, 200), (1, 5, 300)];
    let (mut blocks, mut at) = (Vec::new(), HEADER_BYTES as u64);
    for (cache, entries, len) in shape {
        let kind = if entries == 0 { BlockKind::Section } else { BlockKind::Entries };
        let block = BlockInfo { kind, cache, entries, offset: at, len };
        at = block.end();
        blocks.push(block);
    }
    let cache = |name: &str, entries, blocks| CacheSection {
        name: name.to_owned(),
        segments: 2,
        seed_independent: true,
        epoch: 7,
        highest: vec![(1 << 40) - 1, 0],
        entries,
        bytes: 9,
        blocks,
    };
    (Footer { caches: vec![cache("a", 3, 1..2), cache("b", 9, 3..5)], blocks }, at)
}

#[test]
fn a_footer_reads_back() {
    let (footer, offset) = footer();
    assert_eq!(Footer::decode(&footer.encode(), 2, offset), Some(footer.clone()));
    for len in 0..footer.encode().len() {
        assert_eq!(Footer::decode(&footer.encode()[..len], 2, offset), None, "{len} bytes");
    }
    for (caches, offset) in [(1, offset), (3, offset), (2, offset - 1), (2, offset + 1)] {
        assert_eq!(Footer::decode(&footer.encode(), caches, offset), None, "{caches} {offset}");
    }
}

#[test]
fn what_does_not_add_up_is_refused() {
    type Change = fn(&mut Footer);
    let changes: [(&str, Change); 10] = [
        ("a gap", |f| f.blocks[2].offset += 1),
        ("an overlap", |f| f.blocks[1].len += 1),
        ("no end", |f| f.blocks[4].len = u64::MAX),
        ("an entry less", |f| f.blocks[3].entries -= 1),
        ("an entry more", |f| f.caches[0].entries += 1),
        ("a block of another cache", |f| f.blocks[3].cache = 0),
        ("no section", |f| f.blocks[0].kind = BlockKind::Entries),
        ("a section in the middle", |f| f.blocks[4].kind = BlockKind::Section),
        ("the blocks of another", |f| f.caches[1].blocks = 1..3),
        ("a block that nobody has", |f| f.caches[1].blocks = 3..4),
    ];
    for (what, change) in changes {
        let (mut footer, offset) = footer();
        change(&mut footer);
        assert_eq!(Footer::decode(&footer.encode(), 2, offset), None, "{what}");
    }
}
