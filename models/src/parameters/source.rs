//! Where the bytes of a parameter file are, and its tensors.

use std::{collections::BTreeMap, fs::File, io, time::Instant};

use memmap2::{MmapOptions, MmapRaw};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{
    document::{Path, distinct},
    error::ParametersError,
};
use crate::artifact::{GIT_LFS_POINTER, Limits, is_git_lfs_pointer};

/// The bytes of a file. They are only ever copied out.
pub(super) enum Source<'a> {
    Bytes(&'a [u8]),
    /// A mapped file is not Rust's memory: another process may write to it at any time. So no reference to it is ever
    /// formed. Each byte is copied once, and what is checked and kept is the copy: a file that changes meanwhile is
    /// refused, or is a mixture of two files that has passed every check; the walk over trees relies on no byte of
    /// the map. A file that is *cut short* meanwhile ends the process (SIGBUS), as with every map, which is
    /// why whoever replaces a file has to do so by renaming.
    Mapped(MmapRaw),
}

impl Source<'_> {
    /// Maps a file.
    pub(super) fn map(file: &File) -> io::Result<Self> {
        MmapOptions::new().map_raw_read_only(file).map(Self::Mapped)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Mapped(map) => map.len(),
        }
    }

    /// Copies the bytes from `at` on.
    pub(super) fn copy(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        let range = at.checked_add(to.len()).filter(|end| *end <= self.len()).map(|end| at..end);
        let range = range.ok_or(io::ErrorKind::UnexpectedEof)?;
        match self {
            Self::Bytes(bytes) => to.copy_from_slice(bytes.get(range).unwrap_or_default()),
            // SAFETY: the range lies inside of the map, and the map cannot overlap with memory that is borrowed.
            // Should its bytes change while they are copied, any of their values will do.
            Self::Mapped(map) => unsafe {
                map.as_ptr().add(at).copy_to_nonoverlapping(to.as_mut_ptr(), to.len());
            },
        }
        Ok(())
    }
}

/// How much is copied at a time: what is made of it should find it in the first-level cache.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// The tensors that have not been asked for yet.
pub(super) struct Tensors<'a> {
    source: &'a Source<'a>,
    infos: BTreeMap<String, TensorInfo>,
    /// Where the tensors' bytes begin.
    start: usize,
    /// How many more bytes of texts and arrays may be held; trees do not count.
    allowance: usize,
    limits: &'a Limits,
}

/// A tensor whose type and shape are as asked for.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    /// Its elements in all.
    pub(super) length: usize,
    source: &'a Source<'a>,
    start: usize,
}

/// As many first bytes of a file as tell what it is.
const LONGEST_HEAD: usize = 64;

/// The text in the header's metadata that describes a pipeline.
pub(super) const DESCRIPTION: &str = "parameters";

impl<'a> Tensors<'a> {
    /// Reads a safetensors header, and gives the JSON in it with the tensors.
    pub(super) fn open(
        source: &'a Source<'a>,
        limits: &'a Limits,
    ) -> Result<(String, Self), ParametersError> {
        let damaged = |what: &str| ParametersError::Container(what.to_owned());
        if source.len() as u64 > limits.decompressed_bytes {
            return Err(ParametersError::Limit { limit: limits.decompressed_bytes, what: "bytes" });
        }
        let mut head = [0; LONGEST_HEAD];
        let head_length = head.len().min(source.len());
        source.copy(0, &mut head[..head_length])?;
        if is_git_lfs_pointer(&head) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, GIT_LFS_POINTER).into());
        }
        let mut length = [0; 8];
        source.copy(0, &mut length).map_err(|_| damaged("it is shorter than a header"))?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        let start = length.checked_add(8).filter(|start| *start <= source.len());
        let start = start.ok_or_else(|| damaged("its header is longer than the file"))?;
        if length > limits.retained_bytes {
            return Err(retained(limits));
        }
        let mut header = vec![0; length];
        source.copy(8, &mut header)?;
        check_value_count(&header, limits)?;
        check_names(&header)?;
        // Checks that the tensors' bytes follow each other without gaps, and that sizes fit types and shapes.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| damaged(&error.to_string()))?;
        if start.checked_add(metadata.data_len()) != Some(source.len()) {
            return Err(damaged("its tensors do not end where the file ends"));
        }
        let description = metadata.metadata().as_ref().and_then(|texts| texts.get(DESCRIPTION));
        let description = description
            .cloned()
            .ok_or_else(|| damaged("its metadata has no text \"parameters\": it is no parameter file"))?;
        check_value_count(description.as_bytes(), limits)?;
        let infos = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let overhead = limits.overhead_bytes.saturating_add(source.len());
        let allowance = limits.retained_bytes.min(overhead).saturating_sub(length);
        Ok((description, Self { source, infos, start, allowance, limits }))
    }

    /// The tensor of an object, of that type and as many dimensions; the sizes are returned.
    pub(super) fn take<const DIMENSIONS: usize>(
        &mut self,
        object: &Path,
        name: &str,
        dtype: Dtype,
    ) -> Result<(Tensor<'a>, [usize; DIMENSIONS]), ParametersError> {
        let name = object.member(name).as_str().to_owned();
        let Some(info) = self.infos.remove(&name) else {
            return Err(ParametersError::Tensor { name, index: None, what: "it is not there".to_owned() });
        };
        let wrong = |what| ParametersError::Tensor { name: name.clone(), index: None, what };
        if info.dtype != dtype {
            return Err(wrong(format!("its type is {}, not {dtype}", info.dtype)));
        }
        let shape: [usize; DIMENSIONS] = info.shape.as_slice().try_into().map_err(|_| {
            wrong(format!("it has {} dimensions where {DIMENSIONS} are expected", info.shape.len()))
        })?;
        // The header's check left no product or sum that could overflow.
        let length = shape.iter().product();
        let start = self.start + info.data_offsets.0;
        Ok((Tensor { name, length, source: self.source, start }, shape))
    }

    /// A tensor of one dimension and known length.
    pub(super) fn vector(
        &mut self,
        object: &Path,
        name: &str,
        dtype: Dtype,
        length: usize,
    ) -> Result<Tensor<'a>, ParametersError> {
        let (tensor, [found]) = self.take(object, name, dtype)?;
        if found == length {
            return Ok(tensor);
        }
        Err(tensor.wrong(None, format!("it has {found} elements where {length} are expected")))
    }

    /// The numbers of such a tensor.
    pub(super) fn numbers(
        &mut self,
        object: &Path,
        name: &str,
        length: usize,
    ) -> Result<Vec<f64>, ParametersError> {
        let tensor = self.vector(object, name, Dtype::F64, length)?;
        self.hold(tensor.length.saturating_mul(8))?;
        tensor.numbers(0, tensor.length)
    }

    /// Numbers none of which is infinite or NaN.
    pub(super) fn finite_numbers(
        &mut self,
        object: &Path,
        name: &str,
        length: usize,
    ) -> Result<Vec<f64>, ParametersError> {
        let numbers = self.numbers(object, name, length)?;
        check_finite(&numbers, 0, |index, what| ParametersError::Tensor {
            name: object.member(name).as_str().to_owned(),
            index: Some(index),
            what,
        })?;
        Ok(numbers)
    }

    /// One number.
    pub(super) fn number(&mut self, object: &Path, name: &str) -> Result<f64, ParametersError> {
        self.numbers(object, name, 1).map(|numbers| numbers.first().copied().unwrap_or(f64::NAN))
    }

    /// Accounts for memory that will be held.
    ///
    /// # Errors
    /// It is more than allowed, or the deadline has passed.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), ParametersError> {
        if self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(ParametersError::Deadline);
        }
        self.allowance = self.allowance.checked_sub(bytes).ok_or_else(|| retained(self.limits))?;
        Ok(())
    }

    /// Refuses tensors that nothing asked for: they may change the meaning of the others.
    pub(super) fn finish(self) -> Result<(), ParametersError> {
        match self.infos.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ParametersError::Tensor {
                name,
                index: None,
                what: "it belongs to nothing that is described".to_owned(),
            }),
        }
    }
}

fn retained(limits: &Limits) -> ParametersError {
    ParametersError::Limit { limit: limits.retained_bytes as u64, what: "bytes of texts and arrays" }
}

/// Bounds what parsing a JSON text can cost: every value but the first follows one of these characters.
fn check_value_count(json: &[u8], limits: &Limits) -> Result<(), ParametersError> {
    let separators = json.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    if separators > limits.values {
        return Err(ParametersError::Limit { limit: limits.values as u64, what: "values" });
    }
    Ok(())
}

/// Refuses names that occur twice, of which the library keeps one.
fn check_names(header: &[u8]) -> Result<(), ParametersError> {
    /// The members of a tensor's entry or of the metadata.
    struct Entry;

    impl<'de> Deserialize<'de> for Entry {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            distinct::<D, IgnoredAny>(deserializer).map(|_| Self)
        }
    }

    let mut header = serde_json::Deserializer::from_slice(header);
    let check = distinct::<_, Entry>(&mut header);
    check.map(drop).map_err(|error| ParametersError::Container(format!("its header: {error}")))
}

/// Refuses numbers that are infinite or NaN; `first` is the place of the first one in its tensor.
pub(super) fn check_finite(
    numbers: &[f64],
    first: usize,
    wrong: impl FnOnce(usize, String) -> ParametersError,
) -> Result<(), ParametersError> {
    // Without a branch for each number, so that it takes no time.
    if numbers.iter().fold(true, |all, number| all & number.is_finite()) {
        return Ok(());
    }
    let place = numbers.iter().position(|number| !number.is_finite()).unwrap_or(0);
    let number = numbers.get(place).copied().unwrap_or(f64::NAN);
    Err(wrong(first + place, format!("{number} where a finite number is expected")))
}

impl Tensor<'_> {
    pub(super) fn wrong(&self, index: impl Into<Option<usize>>, what: impl Into<String>) -> ParametersError {
        ParametersError::Tensor { name: self.name.clone(), index: index.into(), what: what.into() }
    }

    /// Copies the elements from `at` on, `SIZE` bytes each.
    pub(super) fn copy<const SIZE: usize>(
        &self,
        at: usize,
        to: &mut [[u8; SIZE]],
    ) -> Result<(), ParametersError> {
        at.checked_add(to.len())
            .filter(|end| *end <= self.length)
            .ok_or_else(|| self.wrong(None, "it is too short"))?;
        Ok(self.source.copy(self.start + at * SIZE, to.as_flattened_mut())?)
    }

    /// The 64-bit numbers from `at` on.
    pub(super) fn numbers(&self, at: usize, count: usize) -> Result<Vec<f64>, ParametersError> {
        let mut numbers = Vec::with_capacity(count);
        self.words(at, count, |words| numbers.extend(words.iter().map(|word| f64::from_le_bytes(*word))))?;
        Ok(numbers)
    }

    /// The whole numbers of 64 bits.
    pub(super) fn integers(&self) -> Result<Vec<u64>, ParametersError> {
        let mut integers = Vec::with_capacity(self.length);
        self.words(0, self.length, |words| {
            integers.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        })?;
        Ok(integers)
    }

    fn words(
        &self,
        at: usize,
        count: usize,
        mut take: impl FnMut(&[[u8; 8]]),
    ) -> Result<(), ParametersError> {
        let mut chunk = [[0; 8]; CHUNK_BYTES / 8];
        let mut done = 0;
        while done < count {
            let length = (count - done).min(chunk.len());
            let part = chunk.get_mut(..length).unwrap_or_default();
            self.copy(at.saturating_add(done), part)?;
            take(part);
            done += length;
        }
        Ok(())
    }
}
