//! The pickle machine: a stack, a memo, and one branch per opcode (CPython's `Lib/pickletools.py` describes them).
//!
//! Where Python imports and calls, this looks the name up in a closed list and describes what would have been made.

use std::collections::HashMap;

use super::{
    Array, Dtype, Graph, Handle, MOST_FORBIDDEN_NAMES, Object, OverBudget, ReadError, Value,
    known::{self, Known, Role},
    numpy::{Data, count},
    source::Source,
};
use crate::tree::{self, Tree};

/// Object arrays are a pickle inside the pickle; an object array inside of one is written in place.
const DEEPEST_NESTING: u32 = 4;
/// No stack of a real pickle comes near.
const LARGEST_STACK: usize = 1 << 20;
/// An entry of the memo's hash map, with its share of the empty ones.
const MEMO_ENTRY_BYTES: usize = 18;
const MOST_DIMENSIONS: usize = 32;
const MOST_EMPTY_ELEMENTS: usize = 1 << 16;

pub(super) struct Machine<'a> {
    source: Source<'a>,
    graph: Graph,
    /// How many pickles are open, one inside the other.
    nesting: u32,
    forbidden: Forbidden,
}

/// The classes and functions that are not on the list. The rest is read all the same, so that all are named at once.
#[derive(Default)]
struct Forbidden {
    /// Where the first of them is named.
    offset: u64,
    names: Vec<String>,
}

/// One pickle stream's stack and memo.
#[derive(Default)]
struct Frame {
    stack: Vec<Handle>,
    /// Where the stack stood at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Handle>,
}

impl Forbidden {
    fn note(&mut self, offset: u64, name: String) {
        if self.names.is_empty() {
            self.offset = offset;
        }
        if self.names.len() < MOST_FORBIDDEN_NAMES && !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

impl<'a> Machine<'a> {
    pub(super) fn new(source: Source<'a>, graph: Graph) -> Self {
        Self { source, graph, nesting: 0, forbidden: Forbidden::default() }
    }

    pub(super) fn run(mut self) -> Result<Graph, ReadError> {
        let root = self.pickle();
        // A fault behind an unknown name mostly follows from it. That the bytes did not come is a fault of its own.
        let is_read = !matches!(root, Err(ReadError::Io { .. } | ReadError::Deadline));
        if is_read && !self.forbidden.names.is_empty() {
            let Forbidden { offset, names } = self.forbidden;
            return Err(ReadError::Forbidden { offset, names });
        }
        self.graph.set_root(root?);
        Ok(self.graph)
    }

    /// Runs one pickle from its first opcode to STOP.
    fn pickle(&mut self) -> Result<Handle, ReadError> {
        self.nesting += 1;
        if self.nesting > DEEPEST_NESTING {
            return Err(self.limit(DEEPEST_NESTING.into(), "pickles inside each other"));
        }
        let mut frame = Frame::default();
        loop {
            let opcode = self.source.byte()?;
            if opcode == b'.' {
                self.nesting -= 1;
                return self.pop(&mut frame);
            }
            self.step(opcode, &mut frame)?;
            if frame.stack.len() > LARGEST_STACK || frame.marks.len() > LARGEST_STACK {
                return Err(self.limit(LARGEST_STACK as u64, "values on the stack"));
            }
        }
    }

    fn step(&mut self, opcode: u8, frame: &mut Frame) -> Result<(), ReadError> {
        match opcode {
            0x80 => {
                let protocol = self.source.byte()?;
                if !(2..=5).contains(&protocol) {
                    return Err(self.malformed(format!("pickle protocol {protocol}; 2 to 5 are understood")));
                }
            }
            // FRAME says how many bytes follow; they are read one after the other anyway.
            0x95 => drop(self.source.array::<8>()?),

            b'(' => frame.marks.push(frame.stack.len()),
            b'0' => drop(self.pop(frame)?),
            b'1' => drop(self.pop_mark(frame)?),
            b'2' => {
                let top = self.top(frame)?;
                frame.stack.push(top);
            }

            b'N' => self.push(frame, Value::None)?,
            0x88 => self.push(frame, Value::Bool(true))?,
            0x89 => self.push(frame, Value::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(self.source.array()?);
                self.push(frame, Value::Int(value.into()))?;
            }
            b'K' => {
                let value = self.source.byte()?;
                self.push(frame, Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.source.array()?);
                self.push(frame, Value::Int(value.into()))?;
            }
            0x8a => {
                let length = self.source.byte()?.into();
                self.long(frame, length)?;
            }
            0x8b => {
                let length = self.length4()?;
                self.long(frame, length)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.source.array()?);
                self.push(frame, Value::Float(value))?;
            }

            0x8c => {
                let length = self.source.byte()?.into();
                self.text(frame, length)?;
            }
            b'X' => {
                let length = self.length4()?;
                self.text(frame, length)?;
            }
            0x8d => {
                let length = self.length8()?;
                self.text(frame, length)?;
            }
            b'C' | b'U' => {
                let length = self.source.byte()?.into();
                self.bytes(frame, length)?;
            }
            b'B' | b'T' => {
                let length = self.length4()?;
                self.bytes(frame, length)?;
            }
            0x8e | 0x96 => {
                let length = self.length8()?;
                self.bytes(frame, length)?;
            }
            // READONLY_BUFFER changes nothing for a reader.
            0x98 => {}

            b')' => self.push(frame, Value::Tuple(Box::default()))?,
            0x85 => self.tuple(frame, 1)?,
            0x86 => self.tuple(frame, 2)?,
            0x87 => self.tuple(frame, 3)?,
            b't' => {
                let elements = self.pop_mark(frame)?;
                self.push(frame, Value::Tuple(elements.into()))?;
            }
            b']' | 0x8f => self.push(frame, Value::List(Vec::new()))?,
            b'l' | 0x91 => {
                let elements = self.pop_mark(frame)?;
                self.push(frame, Value::List(elements))?;
            }
            b'}' => self.push(frame, Value::Dict(Vec::new()))?,
            b'd' => {
                let elements = self.pop_mark(frame)?;
                self.push(frame, Value::Dict(Vec::new()))?;
                self.set_items(frame, &elements)?;
            }
            b'a' => {
                let element = self.pop(frame)?;
                self.append(frame, &[element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_mark(frame)?;
                self.append(frame, &elements)?;
            }
            b's' => {
                let value = self.pop(frame)?;
                let key = self.pop(frame)?;
                self.set_items(frame, &[key, value])?;
            }
            b'u' => {
                let elements = self.pop_mark(frame)?;
                self.set_items(frame, &elements)?;
            }

            b'h' => {
                let place = self.source.byte()?.into();
                self.recall(frame, place)?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.source.array()?);
                self.recall(frame, place)?;
            }
            b'q' => {
                let place = self.source.byte()?.into();
                self.memoize(frame, place)?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.source.array()?);
                self.memoize(frame, place)?;
            }
            0x94 => {
                let place = u32::try_from(frame.memo.len())
                    .map_err(|_| self.malformed("a memo beyond 2³² values"))?;
                self.memoize(frame, place)?;
            }

            b'c' => {
                let offset = self.source.offset();
                let module = self.source.line()?;
                let name = self.source.line()?;
                self.global(frame, offset, &module, &name)?;
            }
            0x93 => {
                let offset = self.source.offset();
                let (name, module) = (self.pop(frame)?, self.pop(frame)?);
                let text = |handle| self.graph.str(handle).map(str::to_owned);
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return Err(self.malformed("a class or function whose name is no text"));
                };
                self.global(frame, offset, &module, &name)?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop(frame)?;
                let callable = self.pop(frame)?;
                self.describe(frame, callable, arguments)?;
            }
            0x92 => {
                let _keywords = self.pop(frame)?;
                let arguments = self.pop(frame)?;
                let callable = self.pop(frame)?;
                self.describe(frame, callable, arguments)?;
            }
            b'b' => {
                let state = self.pop(frame)?;
                self.build(frame, state)?;
            }

            0x97 => return Err(self.malformed("an out-of-band buffer, which is not part of the file")),
            b'P' | b'Q' => {
                return Err(self.malformed("a persistent id, which refers to something outside of the file"));
            }
            0x82..=0x84 => return Err(self.malformed("a code of the extension registry")),
            _ => {
                return Err(
                    self.malformed(format!("opcode 0x{opcode:02x}, which protocols 2 to 5 do not write"))
                );
            }
        }
        Ok(())
    }

    // The stack and the memo.

    fn push(&mut self, frame: &mut Frame, value: Value) -> Result<(), ReadError> {
        let handle = self.add(value)?;
        frame.stack.push(handle);
        Ok(())
    }

    fn add(&mut self, value: Value) -> Result<Handle, ReadError> {
        self.graph.push(value).map_err(|over| over.at(self.source.offset()))
    }

    fn pop(&self, frame: &mut Frame) -> Result<Handle, ReadError> {
        let below = frame.marks.last().copied().unwrap_or(0);
        if frame.stack.len() <= below {
            return Err(self.malformed("an opcode that takes more from the stack than there is"));
        }
        frame.stack.pop().ok_or_else(|| self.malformed("an empty stack"))
    }

    fn top(&self, frame: &Frame) -> Result<Handle, ReadError> {
        frame.stack.last().copied().ok_or_else(|| self.malformed("an empty stack"))
    }

    fn pop_mark(&self, frame: &mut Frame) -> Result<Vec<Handle>, ReadError> {
        match frame.marks.pop() {
            Some(mark) if mark <= frame.stack.len() => Ok(frame.stack.split_off(mark)),
            _ => Err(self.malformed("an opcode that needs a mark on the stack")),
        }
    }

    fn memoize(&mut self, frame: &mut Frame, place: u32) -> Result<(), ReadError> {
        let top = self.top(frame)?;
        self.hold(MEMO_ENTRY_BYTES)?;
        frame.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, frame: &mut Frame, place: u32) -> Result<(), ReadError> {
        let value = frame.memo.get(&place).copied();
        frame.stack.push(value.ok_or_else(|| self.malformed("a reference to a value that was not stored"))?);
        Ok(())
    }

    // Values.

    fn length4(&mut self) -> Result<usize, ReadError> {
        let length = u32::from_le_bytes(self.source.array()?);
        usize::try_from(length).map_err(|_| self.malformed("a length beyond the address space"))
    }

    fn length8(&mut self) -> Result<usize, ReadError> {
        let length = u64::from_le_bytes(self.source.array()?);
        usize::try_from(length).map_err(|_| self.malformed("a length beyond the address space"))
    }

    /// Counts bytes that are about to be held.
    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        self.within(self.graph.budget().hold(bytes))
    }

    /// Refuses lengths that could never be held, before any of the bytes is read.
    fn check_length(&self, length: usize) -> Result<(), ReadError> {
        let limit = self.graph.budget().limits().retained_bytes;
        if length > limit {
            return Err(self.limit(limit as u64, "bytes of values at a time"));
        }
        Ok(())
    }

    /// Adds the place where a budget was exceeded.
    fn within<T>(&self, result: Result<T, OverBudget>) -> Result<T, ReadError> {
        result.map_err(|over| over.at(self.source.offset()))
    }

    fn long(&mut self, frame: &mut Frame, length: usize) -> Result<(), ReadError> {
        if length > 8 {
            self.source.skip(length)?;
            return self.push(frame, Value::Opaque);
        }
        let bytes = self.source.bytes(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        self.push(frame, Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, frame: &mut Frame, length: usize) -> Result<(), ReadError> {
        self.check_length(length)?;
        let bytes = self.source.bytes(length)?;
        // Python writes lone surrogates too, which no column or category of a model needs.
        let text = String::from_utf8(bytes).map_err(|_| self.malformed("a text that is not UTF-8"))?;
        self.push(frame, Value::Str(text.into()))
    }

    fn bytes(&mut self, frame: &mut Frame, length: usize) -> Result<(), ReadError> {
        self.check_length(length)?;
        let bytes = self.source.bytes(length)?;
        self.push(frame, Value::Bytes(bytes))
    }

    fn tuple(&mut self, frame: &mut Frame, length: usize) -> Result<(), ReadError> {
        let mut elements = vec![self.graph.root(); length];
        for element in elements.iter_mut().rev() {
            *element = self.pop(frame)?;
        }
        self.push(frame, Value::Tuple(elements.into()))
    }

    fn append(&mut self, frame: &Frame, elements: &[Handle]) -> Result<(), ReadError> {
        let list = self.top(frame)?;
        match self.graph.get_mut(list) {
            Some(Value::List(list)) => list.extend_from_slice(elements),
            Some(Value::Unknown) => {}
            _ => return Err(self.malformed("elements for something that is no list")),
        }
        // A vector leaves room for as much again.
        self.hold(2 * size_of_val(elements))
    }

    fn set_items(&mut self, frame: &Frame, elements: &[Handle]) -> Result<(), ReadError> {
        let dict = self.top(frame)?;
        let (pairs, rest) = elements.as_chunks::<2>();
        match self.graph.get_mut(dict) {
            Some(Value::Dict(items)) if rest.is_empty() => {
                items.extend(pairs.iter().map(|[key, value]| (*key, *value)))
            }
            Some(Value::Unknown) => {}
            _ => return Err(self.malformed("items for something that is no dict")),
        }
        // A vector leaves room for as much again.
        self.hold(2 * size_of_val(elements))
    }

    // Classes, functions and what they would make.

    fn global(&mut self, frame: &mut Frame, offset: u64, module: &str, name: &str) -> Result<(), ReadError> {
        let Some(known) = known::find(module, name) else {
            self.forbidden.note(offset, format!("{module}.{name}"));
            return self.push(frame, Value::Unknown);
        };
        self.push(frame, Value::Global(known))
    }

    /// Describes what `callable(*arguments)` would make.
    fn describe(&mut self, frame: &mut Frame, callable: Handle, arguments: Handle) -> Result<(), ReadError> {
        let known = match *self.graph.get(callable) {
            Value::Global(known) => known,
            Value::Unknown => return self.push(frame, Value::Unknown),
            _ => return Err(self.malformed("a call of something that is no class or function")),
        };
        let value = self.described(known, arguments)?;
        let value = value.ok_or_else(|| {
            self.malformed(format!("{}.{} with unexpected arguments", known.module, known.name))
        })?;
        self.push(frame, value)
    }

    fn described(&mut self, known: &'static Known, arguments: Handle) -> Result<Option<Value>, ReadError> {
        let graph = &self.graph;
        let elements = graph.elements(arguments).unwrap_or_default();
        let first = elements.first().copied();
        Ok(match known.role {
            Role::Estimator | Role::Inert | Role::Tree | Role::ArrayWrapper | Role::Slice => {
                Some(Value::Object(Box::new(Object { class: known, arguments, state: None })))
            }
            Role::Reconstructor => first.and_then(|class| match graph.get(class) {
                Value::Global(class) => {
                    Some(Value::Object(Box::new(Object { class, arguments, state: None })))
                }
                Value::Unknown => Some(Value::Unknown),
                _ => None,
            }),
            // The shape and the elements come with the state.
            Role::Reconstruct => {
                let is_array = first.is_some_and(
                    |class| matches!(graph.get(class), Value::Global(class) if class.role == Role::NdArray),
                );
                let data = Data::Objects(Vec::new());
                is_array.then(|| {
                    Value::Array(Box::new(Array {
                        dtype: Dtype::Object,
                        shape: vec![0],
                        fortran: false,
                        data,
                    }))
                })
            }
            Role::Dtype => first
                .and_then(|code| match graph.get(code) {
                    Value::Str(code) => Dtype::from_code(code),
                    // dtype(dtype) and dtype(numpy.float64) are not written by pickle.
                    _ => None,
                })
                .map(|dtype| Value::Dtype(Box::new(dtype))),
            Role::Scalar => match elements {
                [dtype, value] => match (graph.get(*dtype), graph.get(*value)) {
                    (Value::Dtype(dtype), Value::Bytes(bytes)) => match &**dtype {
                        Dtype::Scalar(scalar) => {
                            self.hold(bytes.len())?;
                            scalar.value(bytes)
                        }
                        _ => Some(Value::Opaque),
                    },
                    _ => None,
                },
                _ => None,
            },
            Role::FromBuffer => {
                let [buffer, dtype, shape, order] = *elements else { return Ok(None) };
                let (Value::Dtype(dtype), Some(shape), Some(order)) =
                    (graph.get(dtype), self.shape(shape), graph.str(order))
                else {
                    return Ok(None);
                };
                let (dtype, fortran) = ((**dtype).clone(), order == "F");
                let Value::Bytes(bytes) = self.graph.take(buffer) else { return Ok(None) };
                return self.array(dtype, shape, fortran, bytes).map(Some);
            }
            Role::Encode => match first.and_then(|text| graph.str(text)) {
                Some(text) => {
                    self.hold(text.len())?;
                    latin1(text).map(Value::Bytes)
                }
                None => None,
            },
            Role::Bytes => match first.map(|first| graph.get(first)) {
                None => Some(Value::Bytes(Vec::new())),
                Some(Value::Bytes(bytes)) => {
                    let copy = bytes.clone();
                    self.hold(copy.len())?;
                    Some(Value::Bytes(copy))
                }
                Some(Value::Str(text)) => {
                    self.hold(text.len())?;
                    latin1(text).map(Value::Bytes)
                }
                Some(_) => None,
            },
            Role::List => match first {
                None => Some(Value::List(Vec::new())),
                Some(elements) => {
                    let copy = graph.elements(elements).map(<[_]>::to_vec);
                    self.hold(copy.as_deref().map_or(0, size_of_val::<[Handle]>))?;
                    copy.map(Value::List)
                }
            },
            Role::Dict => elements.is_empty().then(|| Value::Dict(Vec::new())),
            Role::NdArray | Role::Type => None,
        })
    }

    /// Gives the value on top of the stack its state.
    fn build(&mut self, frame: &mut Frame, state: Handle) -> Result<(), ReadError> {
        let target = self.top(frame)?;
        // Taken out while it changes, so that its state can be looked at.
        match self.graph.take(target) {
            Value::Object(mut object) => {
                object.state = Some(state);
                match object.class.role {
                    Role::ArrayWrapper => {
                        // The wrapper is what the memo keeps, as in joblib; nothing refers to it again.
                        frame.stack.pop();
                        let array = self.wrapped_array(state)?;
                        return self.push(frame, array);
                    }
                    // Not an error here, so that the forest can be refused by its name.
                    Role::Tree if self.has_several_outputs(state)? => self.restore(target, Value::Opaque),
                    Role::Tree => {
                        let tree = self.tree(&object, state)?;
                        self.restore(target, Value::Tree(Box::new(tree)));
                    }
                    _ => self.restore(target, Value::Object(object)),
                }
            }
            Value::Dtype(mut dtype) => {
                if self.within(dtype.set_state(&self.graph, state))?.is_none() {
                    return Err(self.malformed("a dtype that is not understood"));
                }
                self.restore(target, Value::Dtype(dtype));
            }
            Value::Array(_) => {
                let array = self.pickled_array(state)?;
                self.restore(target, array);
            }
            Value::Unknown => self.restore(target, Value::Unknown),
            _ => return Err(self.malformed("a state for something that has none")),
        }
        Ok(())
    }

    fn restore(&mut self, handle: Handle, value: Value) {
        if let Some(place) = self.graph.get_mut(handle) {
            *place = value;
        }
    }

    fn has_several_outputs(&self, state: Handle) -> Result<bool, ReadError> {
        let values = self.within(self.graph.item(state, "values"))?.map(|values| self.graph.get(values));
        let shape = match values {
            Some(Value::Array(values)) => values.shape.as_slice(),
            _ => &[],
        };
        Ok(matches!(*shape, [_, outputs, _] if outputs > 1))
    }

    /// A tree's arrays become a compact tree at once.
    fn tree(&mut self, object: &Object, state: Handle) -> Result<Tree, ReadError> {
        let mut array = |key| -> Result<Option<Value>, ReadError> {
            let handle = self.within(self.graph.item(state, key))?;
            Ok(handle.map(|handle| self.graph.take(handle)))
        };
        let (Some(Value::Array(nodes)), Some(Value::Array(values))) = (array("nodes")?, array("values")?)
        else {
            return Err(self.malformed("a tree without nodes or values"));
        };
        let features = match self.graph.elements(object.arguments) {
            Some([features, ..]) => self.graph.int(*features).and_then(|count| usize::try_from(count).ok()),
            _ => None,
        };
        let features = features.ok_or_else(|| self.malformed("a tree without a number of features"))?;
        let declared = self.within(self.graph.item(state, "node_count"))?;
        let declared = declared.and_then(|count| self.graph.int(count));
        let found = nodes.shape.first().copied().unwrap_or(0);
        if declared.is_some_and(|declared| usize::try_from(declared) != Ok(found)) {
            let declared = declared.unwrap_or_default();
            return Err(self.malformed(format!("a tree of {declared} nodes that has {found}")));
        }
        let held = [&nodes, &values].map(|array| match &array.data {
            Data::Bytes(bytes) => bytes.len(),
            Data::Objects(_) => 0,
        });
        let compaction = tree::compaction_bytes(&nodes, &values);
        self.hold(compaction)?;
        let tree = Tree::compact(&nodes, &values, features).map_err(|what| self.malformed(what))?;
        self.graph.budget().release(held.iter().sum::<usize>().saturating_add(compaction));
        Ok(tree)
    }

    // Arrays.

    fn shape(&self, handle: Handle) -> Option<Vec<usize>> {
        let dimensions = match self.graph.get(handle) {
            Value::Int(_) => std::slice::from_ref(&handle),
            _ => self.graph.elements(handle)?,
        };
        if dimensions.len() > MOST_DIMENSIONS {
            return None;
        }
        dimensions.iter().map(|dimension| usize::try_from(self.graph.int(*dimension)?).ok()).collect()
    }

    fn array(
        &self,
        dtype: Dtype,
        shape: Vec<usize>,
        fortran: bool,
        bytes: Vec<u8>,
    ) -> Result<Value, ReadError> {
        // Elements of no size, such as empty texts, could be as many as they like.
        let count = count(&shape).filter(|count| dtype.size() > 0 || *count <= MOST_EMPTY_ELEMENTS);
        let expected = count.and_then(|count| count.checked_mul(dtype.size()));
        if matches!(dtype, Dtype::Object) || expected != Some(bytes.len()) {
            return Err(self.malformed("an array whose bytes do not fit its shape"));
        }
        Ok(Value::Array(Box::new(Array { dtype, shape, fortran, data: Data::Bytes(bytes) })))
    }

    /// The state of numpy's own pickles: `(version, shape, dtype, is_fortran, bytes or list)`.
    fn pickled_array(&mut self, state: Handle) -> Result<Value, ReadError> {
        let graph = &self.graph;
        let Some([_version, shape, dtype, fortran, data]) = graph.elements(state) else {
            return Err(self.malformed("an array with an unexpected state"));
        };
        let (Some(shape), Value::Dtype(dtype), Some(fortran)) =
            (self.shape(*shape), graph.get(*dtype), graph.int(*fortran))
        else {
            return Err(self.malformed("an array with an unexpected state"));
        };
        let (dtype, fortran, data) = ((**dtype).clone(), fortran != 0, *data);
        match self.graph.take(data) {
            Value::Bytes(bytes) => self.array(dtype, shape, fortran, bytes),
            Value::List(elements) if dtype == Dtype::Object && count(&shape) == Some(elements.len()) => {
                // numpy lists an object array's elements in C order whatever the flag says.
                Ok(Value::Array(Box::new(Array {
                    dtype,
                    shape,
                    fortran: false,
                    data: Data::Objects(elements),
                })))
            }
            _ => Err(self.malformed("an array whose elements do not fit its shape")),
        }
    }

    /// The array behind a `NumpyArrayWrapper` (joblib 1.5 `numpy_pickle.py`, `read_array`).
    fn wrapped_array(&mut self, state: Handle) -> Result<Value, ReadError> {
        let field = |name| self.within(self.graph.item(state, name));
        let shape = field("shape")?.and_then(|shape| self.shape(shape));
        let (Some(shape), Some(dtype)) = (shape, field("dtype")?) else {
            return Err(self.malformed("an array without shape or dtype"));
        };
        let Value::Dtype(dtype) = self.graph.get(dtype) else {
            return Err(self.malformed("an array without a dtype"));
        };
        let dtype = (**dtype).clone();
        let fortran = field("order")?.and_then(|order| self.graph.str(order)) == Some("F");
        // joblib before 1.2 knows no alignment, and compressed files have none.
        let alignment = field("numpy_array_alignment_bytes")?;
        let aligned = alignment.is_some_and(|bytes| self.graph.int(bytes).is_some());
        if dtype == Dtype::Object {
            let inner = self.pickle()?;
            return match self.graph.take(inner) {
                array @ Value::Array(_) => Ok(array),
                _ => Err(self.malformed("an object array that is no array")),
            };
        }
        let Some(length) = count(&shape).and_then(|count| count.checked_mul(dtype.size())) else {
            return Err(self.malformed("an array beyond the address space"));
        };
        if aligned {
            let padding = self.source.byte()?;
            self.source.skip(padding.into())?;
        }
        self.check_length(length)?;
        let bytes = self.source.bytes(length)?;
        self.array(dtype, shape, fortran, bytes)
    }

    // Errors.

    fn malformed(&self, what: impl Into<String>) -> ReadError {
        self.source.malformed(what)
    }

    fn limit(&self, limit: u64, what: &'static str) -> ReadError {
        ReadError::Limit { offset: self.source.offset(), limit, what }
    }
}

/// The bytes of a text that stands for bytes.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}
