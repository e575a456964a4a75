//! Recognises the compression by content and decompresses on a second thread, so that decoding costs no time
//! beside it.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Cursor, Read},
    panic::resume_unwind,
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread,
};

use liblzma::stream::{Action, Status, Stream};

use super::{ReadError, source::NextChunk};

/// Number of first bytes by which compressions are recognised, and files that are no artifacts.
const HEAD_BYTES: usize = 64;
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks on their way from one thread to the other: enough to smooth both, little beside the model.
const CHUNKS_IN_FLIGHT: usize = 4;
/// xz's highest preset needs 65 MiB.
const LZMA_MEMORY_LIMIT: u64 = 80 << 20;

/// The compressions that joblib writes, by their first bytes (joblib 1.5 `compressor.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Zlib,
    Gzip,
    Bzip2,
    /// The `.lzma` format before xz.
    LzmaAlone,
    Xz,
    Lz4,
}

impl Compression {
    fn detect(head: &[u8]) -> io::Result<Self> {
        Ok(match head {
            [0x80, 2..=5, ..] => Self::None,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x5d, 0, 0, ..] => Self::LzmaAlone,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            [0x78, ..] => Self::Zlib,
            [b'Z', b'F', ..] => {
                return Err(unsupported("a joblib file of before version 0.10 (\"ZF\"); save it again"));
            }
            [] => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")),
            head if is_git_lfs_pointer(head) => return Err(unsupported(GIT_LFS_POINTER)),
            [0x80, protocol, ..] => {
                return Err(unsupported(&format!(
                    "pickle protocol {protocol}; protocols 2 to 5 are understood"
                )));
            }
            _ => {
                return Err(unsupported(
                    "neither a joblib file nor a pickle of protocol 2 to 5, compressed with zlib, gzip, bz2, lzma, xz, lz4 or not",
                ));
            }
        })
    }
}

/// How far a format may expand what was compressed: `floor` bytes in any case, and `ratio` bytes for each that was read.
///
/// Forests compress by a factor of 5 to 10. The bounds keep the decompression of 10 MB below two seconds.
struct Expansion {
    floor: u64,
    ratio: u64,
}

impl Compression {
    fn expansion(self) -> Expansion {
        match self {
            // bzip2 decodes some 60 MB a second, the others several hundred.
            Self::Bzip2 => Expansion { floor: 32 << 20, ratio: 12 },
            _ => Expansion { floor: 64 << 20, ratio: 32 },
        }
    }
}

/// Counts what has been read of the compressed bytes.
struct Counted<'a, R> {
    reader: R,
    count: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(to)?;
        self.count.set(self.count.get().saturating_add(read as u64));
        Ok(read)
    }
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// Advice about a file that [is a pointer](is_git_lfs_pointer).
pub const GIT_LFS_POINTER: &str =
    "a Git LFS pointer instead of the file itself; run `git lfs pull` and upload the file again";

/// Whether a file, by its first bytes, is a pointer that Git LFS leaves in the place of a large file.
///
/// <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>
#[must_use]
pub fn is_git_lfs_pointer(head: &[u8]) -> bool {
    head.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Calls `decode` with the decompressed chunks of `reader`, which a second thread reads and decompresses meanwhile.
pub(super) fn with_chunks<T>(
    reader: impl Read + Send,
    decode: impl FnOnce(&mut NextChunk<'_>) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let (full_sender, full) = mpsc::sync_channel(CHUNKS_IN_FLIGHT);
    let (empty, empty_receiver) = mpsc::channel();
    thread::scope(|scope| {
        // Chunks that stop coming are the end of the stream; the thread ends by itself when nobody takes them.
        let thread = thread::Builder::new()
            .name("decompress".to_owned())
            .spawn_scoped(scope, move || decompress(reader, &full_sender, &empty_receiver))
            .map_err(|source| ReadError::Io { offset: 0, source })?;
        let mut next_chunk = receive(full, empty);
        let decoded = decode(&mut next_chunk);
        drop(next_chunk);
        // The scope alone waits for the thread's work, and not until the system has taken the thread back.
        if let Err(panic) = thread.join() {
            resume_unwind(panic);
        }
        decoded
    })
}

fn receive(
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
) -> impl FnMut(Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    move |used| {
        if used.capacity() > 0 {
            // The other thread may have ended already, and needs no more chunks then.
            let _ = empty.send(used);
        }
        full.recv().ok().transpose()
    }
}

fn decompress(reader: impl Read, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    let count = Cell::new(0);
    let counted = Counted { reader, count: &count };
    let (mut decompressed, expansion) = match decompressor(BufReader::with_capacity(CHUNK_BYTES, counted)) {
        Ok(decompressed) => decompressed,
        Err(error) => {
            let _ = full.send(Err(error));
            return;
        }
    };
    let mut total = 0_u64;
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.clear();
        chunk.reserve_exact(CHUNK_BYTES);
        match (&mut decompressed).take(CHUNK_BYTES as u64).read_to_end(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                total = total.saturating_add(read as u64);
                let most = count.get().saturating_mul(expansion.ratio).saturating_add(expansion.floor);
                let message = if total > most { Err(expands_too_much(count.get(), most)) } else { Ok(chunk) };
                let ends = message.is_err();
                if full.send(message).is_err() || ends {
                    return;
                }
            }
            Err(error) => {
                let _ = full.send(Err(error));
                return;
            }
        }
    }
}

fn expands_too_much(compressed: u64, most: u64) -> io::Error {
    unsupported(&format!(
        "{compressed} compressed bytes expand to more than {most} bytes, which no model does; save it with less compression"
    ))
}

/// Returns the decompressor of a stream, and how far the stream may expand.
fn decompressor<'a>(mut reader: impl BufRead + 'a) -> io::Result<(Box<dyn Read + 'a>, Expansion)> {
    // A reader may give its first bytes one by one.
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let compression = Compression::detect(&head)?;
    let reader = Cursor::new(head).chain(reader);
    let decompressed: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(reader),
        Compression::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(reader)),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
        Compression::Xz => {
            Box::new(LzmaReader::new(reader, Stream::new_stream_decoder(LZMA_MEMORY_LIMIT, 0)?))
        }
        Compression::LzmaAlone => {
            Box::new(LzmaReader::new(reader, Stream::new_lzma_decoder(LZMA_MEMORY_LIMIT)?))
        }
    };
    Ok((decompressed, compression.expansion()))
}

/// liblzma over a reader, without a copy in between.
struct LzmaReader<R> {
    reader: R,
    stream: Stream,
    ended: bool,
}

impl<R> LzmaReader<R> {
    fn new(reader: R, stream: Stream) -> Self {
        Self { reader, stream, ended: false }
    }
}

impl<R: BufRead> Read for LzmaReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !to.is_empty() {
            let input = self.reader.fill_buf()?;
            let at_end = input.is_empty();
            let action = if at_end { Action::Finish } else { Action::Run };
            let (read_before, written_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.process(input, to, action)?;
            let read = usize::try_from(self.stream.total_in() - read_before).map_err(io::Error::other)?;
            let written =
                usize::try_from(self.stream.total_out() - written_before).map_err(io::Error::other)?;
            self.reader.consume(read);
            match status {
                Status::StreamEnd => self.ended = true,
                _ if at_end && written == 0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the compressed data ends in the middle",
                    ));
                }
                _ => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
