//! Arrays and dtypes, as numpy pickles them (`numpy/core/src/multiarray/descriptor.c`, `methods.c`).

use std::sync::Arc;

use super::{Graph, Handle, OverBudget, Value};

/// scikit-learn's tree nodes have eight fields.
const MOST_FIELDS: usize = 64;

/// The type of an array's elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Dtype {
    Scalar(Scalar),
    /// Python objects.
    Object,
    /// Fields by name, each at its offset. Shared, because many arrays have one dtype.
    Record {
        fields: Arc<[Field]>,
        size: usize,
    },
    /// Bytes, dates and whatever else; of known size, so that they can be passed over.
    Other {
        size: usize,
    },
}

/// A number or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) kind: Kind,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    /// UCS-4, padded with zeros.
    Text,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    /// Nothing for a field that is neither a number nor a text.
    pub(crate) scalar: Option<Scalar>,
    pub(crate) offset: usize,
}

/// An array; its bytes in C order unless `fortran`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) fortran: bool,
    pub(crate) data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    Objects(Vec<Handle>),
}

impl Dtype {
    /// The dtype of a code such as `f8`, `O8`, `U12`, `V64`.
    pub(super) fn from_code(code: &str) -> Option<Self> {
        let (big_endian, code) = match code.strip_prefix(['<', '|', '=']) {
            Some(rest) => (false, rest),
            None => code.strip_prefix('>').map_or((false, code), |rest| (true, rest)),
        };
        let mut characters = code.chars();
        let kind = characters.next()?;
        let digits = characters.as_str();
        let size: usize = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let scalar = |kind, size| Some(Self::Scalar(Scalar { kind, size, big_endian }));
        match (kind, size) {
            ('O', _) => Some(Self::Object),
            ('b', 1) | ('?', 0) => scalar(Kind::Bool, 1),
            ('i', 1 | 2 | 4 | 8) => scalar(Kind::Int, size),
            ('u', 1 | 2 | 4 | 8) => scalar(Kind::Uint, size),
            ('f', 4 | 8) => scalar(Kind::Float, size),
            ('U', _) => scalar(Kind::Text, size.checked_mul(4)?),
            ('V' | 'S' | 'f' | 'c' | 'M' | 'm', _) => Some(Self::Other { size }),
            _ => None,
        }
    }

    /// The size of an element in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.size,
            Self::Object => 8,
            Self::Record { size, .. } | Self::Other { size } => *size,
        }
    }

    /// Applies the state that `numpy.dtype.__reduce__` gives: `(version, byte order, subarray, names, fields,
    /// itemsize, …)`. Gives nothing for a state that is not understood.
    pub(super) fn set_state(&mut self, graph: &Graph, state: Handle) -> Result<Option<()>, OverBudget> {
        let Some([_version, order, subarray, names, fields, size, ..]) = graph.elements(state) else {
            return Ok(None);
        };
        if !matches!(graph.get(*subarray), Value::None) {
            return Ok(None);
        }
        if let (Self::Scalar(scalar), Some(">")) = (&mut *self, graph.str(*order)) {
            scalar.big_endian = true;
        }
        if matches!(graph.get(*names), Value::None) {
            return Ok(Some(()));
        }
        let size = graph.int(*size).and_then(|size| usize::try_from(size).ok());
        let names = graph.elements(*names).filter(|names| names.len() <= MOST_FIELDS);
        let (Some(size), Some(names)) = (size, names) else { return Ok(None) };
        let mut read = Vec::with_capacity(names.len());
        for name in names {
            let Some(field) = Field::read(graph, *name, *fields, size)? else { return Ok(None) };
            read.push(field);
        }
        *self = Self::Record { fields: read.into(), size };
        Ok(Some(()))
    }
}

impl Field {
    /// Reads the field of that name of a record of `size` bytes. Gives nothing for one that is not understood.
    fn read(graph: &Graph, name: Handle, fields: Handle, size: usize) -> Result<Option<Self>, OverBudget> {
        let Some(name) = graph.str(name) else { return Ok(None) };
        let field = graph.item(fields, name)?.and_then(|field| graph.elements(field));
        let Some([dtype, offset, ..]) = field else { return Ok(None) };
        let Value::Dtype(dtype) = graph.get(*dtype) else { return Ok(None) };
        let offset = graph.int(*offset).and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.filter(|offset| offset.checked_add(dtype.size()).is_some_and(|end| end <= size));
        let Some(offset) = offset else { return Ok(None) };
        let scalar = match **dtype {
            Dtype::Scalar(scalar) => Some(scalar),
            _ => None,
        };
        graph.budget().hold(size_of::<Self>() + name.len())?;
        Ok(Some(Self { name: name.into(), scalar, offset }))
    }
}

impl Scalar {
    /// One element as a number.
    pub(crate) fn number(self, bytes: &[u8]) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "numpy converts the same way")]
        Some(match self.kind {
            Kind::Float if self.size == 4 => f64::from(f32::from_bits(u32::try_from(self.raw(bytes)?).ok()?)),
            Kind::Float => f64::from_bits(self.raw(bytes)?),
            Kind::Bool | Kind::Uint => self.raw(bytes)? as f64,
            Kind::Int => self.signed(bytes)? as f64,
            Kind::Text => return None,
        })
    }

    /// One element as a value of Python's.
    pub(super) fn value(self, bytes: &[u8]) -> Option<Value> {
        Some(match self.kind {
            Kind::Float => Value::Float(self.number(bytes)?),
            Kind::Bool => Value::Bool(self.raw(bytes)? != 0),
            Kind::Int => Value::Int(self.signed(bytes)?),
            Kind::Uint => Value::Int(i64::try_from(self.raw(bytes)?).ok()?),
            Kind::Text => Value::Str(self.text(bytes)?.into()),
        })
    }

    fn raw(self, bytes: &[u8]) -> Option<u64> {
        let mut wide = [0; 8];
        let bytes = bytes.get(..self.size)?;
        let wide_part = wide.get_mut(..self.size)?;
        wide_part.copy_from_slice(bytes);
        if self.big_endian {
            wide_part.reverse();
        }
        Some(u64::from_le_bytes(wide))
    }

    pub(crate) fn signed(self, bytes: &[u8]) -> Option<i64> {
        let unused_bits = 64 - 8 * u32::try_from(self.size).ok()?;
        Some((self.raw(bytes)? << unused_bits).cast_signed() >> unused_bits)
    }

    fn text(self, bytes: &[u8]) -> Option<String> {
        let characters = bytes.get(..self.size)?.chunks_exact(4).map(|unit| {
            let unit: [u8; 4] = unit.try_into().ok()?;
            char::from_u32(if self.big_endian { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) })
        });
        let text: String = characters.collect::<Option<_>>()?;
        Some(text.trim_end_matches('\0').to_owned())
    }
}

impl Array {
    /// How many elements the shape has.
    pub(crate) fn count(&self) -> Option<usize> {
        count(&self.shape)
    }

    /// The elements as numbers, in C order.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        let (Dtype::Scalar(scalar), Data::Bytes(bytes)) = (&self.dtype, &self.data) else { return None };
        let numbers = bytes
            .chunks_exact(scalar.size.max(1))
            .map(|element| scalar.number(element))
            .collect::<Option<Vec<_>>>()?;
        self.in_c_order(numbers)
    }

    /// The elements as values of Python's, in C order; `push` stores a value.
    pub(crate) fn elements(&self) -> Option<Elements> {
        match (&self.dtype, &self.data) {
            (Dtype::Object, Data::Objects(handles)) => {
                Some(Elements::Handles(self.in_c_order(handles.clone())?))
            }
            (Dtype::Scalar(scalar), Data::Bytes(bytes)) => {
                let values = bytes.chunks_exact(scalar.size.max(1)).map(|element| scalar.value(element));
                let mut values = values.collect::<Option<Vec<_>>>()?;
                if scalar.size == 0 {
                    // Texts of length zero take no bytes at all.
                    values.extend((0..self.count()?).map(|_| Value::Str(Box::default())));
                }
                Some(Elements::Values(self.in_c_order(values)?))
            }
            _ => None,
        }
    }

    fn in_c_order<T>(&self, elements: Vec<T>) -> Option<Vec<T>> {
        if elements.len() != self.count()? {
            return None;
        }
        if !self.fortran || self.shape.len() < 2 {
            return Some(elements);
        }
        let [rows, columns] = *self.shape.as_slice() else { return None };
        let mut elements: Vec<Option<T>> = elements.into_iter().map(Some).collect();
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
        places.map(|place| elements.get_mut(place)?.take()).collect()
    }
}

/// The elements of an array, by the way they are held.
pub(crate) enum Elements {
    Handles(Vec<Handle>),
    Values(Vec<Value>),
}

/// The number of elements of a shape, if it does not overflow.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, dimension| count.checked_mul(*dimension))
}
