//! What an artifact can cost: an error, never a panic, a hang or memory.
//!
//! The artifacts of `fuzz/seeds` are truncated and mutated; the rest is written by hand, opcode by opcode.

#![expect(clippy::unwrap_used, reason = "tests")]

mod costs;
mod pickle;

use std::{
    fs,
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

use models::{Limits, Model, ReadError};

fn limits() -> Limits {
    Limits { decompressed_bytes: 64 << 20, values: 1 << 20, retained_bytes: 16 << 20, ..Limits::default() }
}

fn read(bytes: &[u8]) -> Result<Model, ReadError> {
    let began = Instant::now();
    let result = Model::read(bytes, &limits());
    // A reading takes milliseconds. One without a budget would take hours, also on a machine that has nothing else to do.
    assert!(began.elapsed() < Duration::from_secs(60), "reading took {:?}", began.elapsed());
    result
}

fn error(bytes: &[u8]) -> String {
    read(bytes).map(|model| model.describe().to_string()).unwrap_err().to_string()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/read");
    let mut seeds: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().display().to_string(), fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() > 20, "the seed corpus is there");
    seeds
}

/// A small generator of random numbers (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

#[test]
fn every_seed_is_a_model() {
    for (name, bytes) in seeds() {
        if let Err(error) = read(&bytes) {
            unreachable!("{name}: {error}");
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for (name, bytes) in seeds() {
        let step = (bytes.len() / 400).max(1);
        for length in (0..bytes.len()).step_by(step) {
            // A compressed stream may end a few bytes early and have given all of the pickle.
            if read(&bytes[..length]).is_ok() {
                assert!(
                    length + 32 >= bytes.len(),
                    "{name}: accepted after {length} of {} bytes",
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn mutations_cost_at_most_an_error() {
    let mut random = Random(42);
    for (_, original) in seeds() {
        for _ in 0..400 {
            let mut bytes = original.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.drain(at..(at + random.below(64)).min(bytes.len()))),
                    _ => {
                        let from = random.below(original.len());
                        let piece = original[from..(from + random.below(64)).min(original.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let _ = read(&bytes);
        }
    }
}

#[test]
fn declared_lengths_are_believed_only_as_far_as_bytes_follow() {
    let huge = (1_u64 << 62).to_le_bytes();
    for opcode in [0x8d_u8, 0x8e, 0x96] {
        let bytes = [&[0x80, 5, opcode], &huge[..], b"few"].concat();
        assert!(error(&bytes).contains("bytes of values"), "{}", error(&bytes));
    }
    // LONG4, whose length is skipped and not held.
    assert!(error(b"\x80\x04\x8b\xff\xff\xff\x7fxyz").contains("ends in the middle"));
    // 2⁶⁰ elements of eight bytes in an array wrapper.
    let wrapper = b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\x00\x00\x00shape\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x10\x85X\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RX\x05\x00\x00\x00orderX\x01\x00\x00\x00Cub.";
    let message = error(wrapper);
    assert!(message.contains("address space") || message.contains("bytes of values"), "{message}");
}

#[test]
fn endless_and_deep_structures_reach_a_limit() {
    // Lists in lists: no recursion anywhere, so only the number of values counts.
    let deep = [&b"\x80\x02"[..], &b"]".repeat(2 << 20), b"."].concat();
    assert!(error(&deep).contains("more than"), "{}", error(&deep));
    // Marks without end.
    let marks = [&b"\x80\x02"[..], &b"(".repeat(2 << 20), b"."].concat();
    assert!(error(&marks).contains("on the stack"));
    // A text recalled from the memo and appended again and again.
    let mut again = b"\x80\x02]X\x01\x00\x00\x00aq\x000".to_vec();
    again.extend(b"h\x00a".repeat(8 << 20));
    again.push(b'.');
    assert!(error(&again).contains("more than"), "{}", error(&again));
    // Object arrays are pickles inside the pickle; these never end.
    let wrapper = b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\x00\x00\x00shapeK\x01\x85X\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00O8\x85RX\x05\x00\x00\x00orderX\x01\x00\x00\x00Cub";
    assert!(error(&wrapper.repeat(100)).contains("inside each other"));
}

#[test]
fn a_pipeline_that_contains_itself_is_refused() {
    let pipeline = b"\x80\x02csklearn.pipeline\nPipeline\n)\x81q\x00}(X\x05\x00\x00\x00steps](X\x01\x00\x00\x00ah\x00\x86eX\x10\x00\x00\x00_sklearn_versionX\x05\x00\x00\x001.9.1ub.";
    let message = error(pipeline);
    assert!(message.contains("too deeply") || message.contains("not understood"), "{message}");
}

#[test]
fn nothing_that_is_not_on_the_list_gets_past_its_name() {
    let message = error(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.");
    assert_eq!(message, "byte 3: posix.system is not among the classes and functions that are understood");
    // The rest is read all the same, so that all names are told at once.
    let message = error(
        b"\x80\x02(cposix\nsystem\nX\x04\x00\x00\x00true\x85Rcsklearn.svm._classes\nSVC\n)\x81}X\x01\x00\x00\x00acposix\nsystem\nsbt.",
    );
    assert_eq!(
        message,
        "byte 4: posix.system, sklearn.svm._classes.SVC are not among the classes and functions that are understood"
    );
    // A name on the list in another module is another name.
    let message = error(b"\x80\x02cevil\nPipeline\n)\x81.");
    assert!(message.contains("evil.Pipeline"), "{message}");
}

#[test]
fn a_reader_that_fails_is_an_error_with_its_cause() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the network went away"));
            }
            let count = to.len().min(self.0);
            to[..count].fill(b'N');
            to.get_mut(..2).into_iter().for_each(|head| head.copy_from_slice(b"\x80\x02"));
            self.0 -= count;
            Ok(count)
        }
    }
    let error = Model::read(Fails(100), &Limits::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("the network went away"), "{error}");
}

#[test]
fn a_reader_may_give_its_bytes_one_by_one() {
    struct OneByOne<'a>(&'a [u8]);
    impl Read for OneByOne<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = to.len().min(1);
            self.0.read(&mut to[..count])
        }
    }
    for (name, bytes) in seeds() {
        if let Err(error) = Model::read(OneByOne(&bytes), &limits()) {
            unreachable!("{name}: {error}");
        }
    }
}
