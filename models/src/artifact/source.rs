use std::{io, rc::Rc};

use super::{ReadError, budget::Budget};

/// Hands out the next chunk of decompressed bytes, or nothing at the end. It is given the chunk before to fill anew.
pub(super) type NextChunk<'a> = dyn FnMut(Vec<u8>) -> io::Result<Option<Vec<u8>>> + 'a;

/// Decompressed bytes, read once from front to back, with their offset.
pub(super) struct Source<'a> {
    next_chunk: &'a mut NextChunk<'a>,
    chunk: Vec<u8>,
    /// How much of the chunk has been read.
    position: usize,
    /// The offset of the chunk's first byte.
    chunk_offset: u64,
    budget: Rc<Budget>,
}

impl<'a> Source<'a> {
    pub(super) fn new(next_chunk: &'a mut NextChunk<'a>, budget: Rc<Budget>) -> Self {
        Self { next_chunk, chunk: Vec::new(), position: 0, chunk_offset: 0, budget }
    }

    /// How many bytes have been read.
    pub(super) fn offset(&self) -> u64 {
        self.chunk_offset + self.position as u64
    }

    /// The unread bytes of this chunk, or of the next one if there are none; never empty.
    fn available(&mut self) -> Result<&[u8], ReadError> {
        while self.position >= self.chunk.len() {
            let offset = self.offset();
            self.chunk_offset = offset;
            self.position = 0;
            let used = std::mem::take(&mut self.chunk);
            match (self.next_chunk)(used) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Err(self.malformed("the file ends in the middle".to_owned())),
                Err(source) => return Err(ReadError::Io { offset, source }),
            }
            let decompressed = offset.saturating_add(self.chunk.len() as u64);
            self.budget.decompressed(decompressed).map_err(|over| over.at(offset))?;
        }
        Ok(self.chunk.get(self.position..).unwrap_or_default())
    }

    pub(super) fn malformed(&self, what: impl Into<String>) -> ReadError {
        ReadError::Malformed { offset: self.offset(), what: what.into() }
    }

    pub(super) fn byte(&mut self) -> Result<u8, ReadError> {
        if let Some(byte) = self.chunk.get(self.position) {
            self.position += 1;
            return Ok(*byte);
        }
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let available = self.available()?;
            let count = rest.len().min(available.len());
            for (to, from) in rest.iter_mut().zip(available) {
                *to = *from;
            }
            filled += count;
            self.position += count;
        }
        Ok(bytes)
    }

    /// The next `length` bytes. Memory grows, and is charged, only as bytes really come.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        const FIRST_ALLOCATION: usize = 1 << 20;
        let mut bytes = Vec::with_capacity(length.min(FIRST_ALLOCATION));
        while bytes.len() < length {
            let wanted = length - bytes.len();
            let available = self.available()?;
            let count = wanted.min(available.len());
            bytes.extend_from_slice(available.get(..count).unwrap_or_default());
            self.position += count;
            self.budget.hold(count).map_err(|over| over.at(self.offset()))?;
        }
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut length: usize) -> Result<(), ReadError> {
        while length > 0 {
            let count = self.available()?.len().min(length);
            self.position += count;
            length -= count;
        }
        Ok(())
    }

    /// The bytes up to the next line feed, without it.
    pub(super) fn line(&mut self) -> Result<String, ReadError> {
        const LONGEST: usize = 1024;
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < LONGEST => line.push(byte),
                _ => return Err(self.malformed("a name of more than 1024 bytes")),
            }
        }
        String::from_utf8(line).map_err(|_| self.malformed("a name that is not UTF-8"))
    }
}
