//! What is written is what is read, and nothing that is read breaks the reader.

use proptest::prelude::*;

use super::{Item, Kind, Reader, Writer};

fn read_all(bytes: &[u8]) -> Result<Vec<(super::Entry, Vec<u8>)>, super::TarError> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next()? {
        let (mut content, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                got => content.extend_from_slice(&buffer[..got]),
            }
        }
        all.push((entry, content));
    }
    Ok(all)
}

fn archive(items: &[(Item<'_>, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (item, content) in items {
        writer.write(item, *content).unwrap();
    }
    writer.finish().unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        path in "[a-z/é]{1,300}", link in "[a-z]{0,200}", mode in 0_u32..0o7777, id in 0..u32::MAX,
        mtime in 0_u64..1 << 40, content in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let file = Item {
            mode, uid: id, gid: id / 2, mtime, size: content.len() as u64,
            attributes: vec![(b"user.x".to_vec(), content.clone())],
            ..Item::new(Kind::File, path.as_bytes())
        };
        let link = Item { link: link.as_bytes(), ..Item::new(Kind::Symlink, b"l") };
        let all = read_all(&archive(&[(file, &content), (link.clone(), b"")])).unwrap();
        let (entry, read) = &all[0];
        prop_assert_eq!(&entry.path, path.as_bytes());
        prop_assert_eq!((entry.mode, entry.uid, entry.gid), (mode, id, id / 2));
        prop_assert_eq!((entry.mtime.0, entry.size), (i64::try_from(mtime).unwrap(), content.len() as u64));
        prop_assert_eq!(&entry.attributes[0].1, &content);
        prop_assert_eq!(read, &content);
        prop_assert_eq!(&all[1].0.link, link.link);
    }

    /// Bytes of headers, changed anywhere, with their sums put right: errors, but never a panic or more than
    /// there is.
    #[test]
    fn nothing_breaks_the_reader(changes in prop::collection::vec((0..4096_usize, any::<u8>()), 1..12)) {
        let attributes = vec![(b"user.x".to_vec(), b"1".to_vec())];
        let file = Item { size: 600, attributes, ..Item::new(Kind::File, b"a") };
        let mut bytes = archive(&[(file, &[7; 600]), (Item::new(Kind::Directory, b"d/"), b"")]);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        for block in bytes.chunks_mut(super::BLOCK).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].fill(b' ');
            let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        }
        if let Ok(all) = read_all(&bytes) {
            let total: usize = all.iter().map(|(_, content)| content.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}

/// GNU's own sparse format, as `tar --sparse` writes it.
#[test]
fn holes_of_gnu_are_read() {
    let item = Item { size: 3, ..Item::new(Kind::File, b"hole") };
    let mut bytes = archive(&[(item, b"abc")]);
    bytes[156] = b'S';
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[386..398].copy_from_slice(b"00000001000\0");
    bytes[398..410].copy_from_slice(b"00000000003\0");
    bytes[483..495].copy_from_slice(b"00000002000\0");
    bytes[148..156].fill(b' ');
    let sum: u64 = bytes[..512].iter().map(|&b| u64::from(b)).sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let all = read_all(&bytes).unwrap();
    assert_eq!((all[0].0.size, all[0].1.as_slice()), (0o2000, &b"abc"[..]));
    let chunks = all[0].0.sparse.as_ref().unwrap();
    assert_eq!((chunks[0].offset, chunks[0].length), (0o1000, 3));
}
